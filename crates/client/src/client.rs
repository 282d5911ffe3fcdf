//! The client of `/api/v1`.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use uuid::Uuid;

use crate::connection::{Connection, default_data_directory};
use crate::error::ClientError;
use crate::events::EventStream;
use crate::logs::{CommandStream, LogStream};
use crate::request::Deployment;
use crate::wire::{
    ApplyRequest, CommandRequest, DatabaseAccess, DeployRequest, EventKind, Finding, Operation, OperationState, Page,
    PlanResponse, Platform, Problem, Revision, SecretStatus, SecretValue, SecretValues, Stack, StackPlanRequest,
    Target, TargetRequest, Timings,
};

/// How long a platform that is away is waited for while an operation is followed.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long after a stream broke it is asked for again.
const AGAIN: Duration = Duration::from_millis(250);
/// How long a connection is kept for the next call: less than the 30 s after which the server closes one that rests. Between two calls the
/// command line may build for minutes, and would then send the next one into a connection that is gone.
const IDLE: Duration = Duration::from_secs(10);

/// A deployed and verified stack.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployed {
    /// The stack's id, which never changes.
    pub stack: Uuid,
    /// The operation; `None` if there was nothing to change.
    pub operation: Option<Uuid>,
    /// The revision that serves.
    pub revision: u64,
    /// URLs and the like: `outputs["routes"]["web"]["url"]`.
    pub outputs: Json,
    /// Milliseconds by phase and step.
    pub timings: Timings,
}

/// A client of one platform. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    connection: Connection,
}

/// The stack whose secrets are set.
fn secret_query<'q>(
    target: Option<&'q str>,
    (app, kind, stack): (&'q str, &'q str, &'q str),
    force: bool,
) -> Vec<(&'static str, &'q str)> {
    let mut query = vec![("app", app), ("kind", kind), ("name", stack)];
    query.extend(target.map(|target| ("target", target)));
    query.extend(force.then_some(("force", "true")));
    query
}

impl Client {
    /// The platform that `FREEHOLD_URL` and `FREEHOLD_TOKEN` name, else the one that runs on the default data directory.
    ///
    /// # Errors
    /// There is none.
    pub fn connect() -> Result<Self, ClientError> {
        match Connection::from_environment()? {
            Some(connection) => Self::to(connection),
            None => Self::connect_to(&default_data_directory()?),
        }
    }

    /// The platform that runs on this data directory.
    ///
    /// # Errors
    /// There is none.
    pub fn connect_to(data_directory: &Path) -> Result<Self, ClientError> {
        Self::to(Connection::read(data_directory)?)
    }

    /// The platform at this address.
    ///
    /// # Errors
    /// The HTTP client can't be made.
    pub fn to(connection: Connection) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .pool_idle_timeout(IDLE)
            .build()?;
        Ok(Self { http, connection })
    }

    /// How the platform is reached.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}/api/v1{path}", self.connection.url)).bearer_auth(&self.connection.token)
    }

    async fn send(request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await?;
        match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
            Err(_) => Err(ClientError::Answer(format!("{status}: {text}"))),
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, ClientError> {
        Ok(Self::send(self.request(Method::GET, path).query(query)).await?.json().await?)
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        Ok(Self::send(self.request(Method::POST, path).json(body)).await?.json().await?)
    }

    /// Deploys and waits until the stack is verified. If there is nothing to change, that is a success.
    ///
    /// # Errors
    /// The request or the definition is wrong, the work failed, or the platform can't be reached. If the connection breaks
    /// the work goes on, and is followed again for a minute at the most; after that, call again.
    pub async fn deploy(&self, deployment: impl Into<Deployment>) -> Result<Deployed, ClientError> {
        let operation = self.apply(&ApplyRequest::Deploy(Box::new(deployment.into().0))).await?;
        self.wait(operation.id).await
    }

    /// Follows an operation to its end.
    ///
    /// # Errors
    /// It failed or was cancelled, or the platform can't be reached.
    pub async fn wait(&self, operation: Uuid) -> Result<Deployed, ClientError> {
        let mut after = 0;
        let mut events = self.events(operation, after).await?;
        loop {
            let event = match events.next().await {
                Ok(Some(event)) => event,
                // The server was stopped, or one of several was: the stream goes on at the next.
                Ok(None) | Err(ClientError::Broken(_)) => {
                    events = self.events_again(operation, after).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            after = event.sequence;
            let EventKind::Finished { stack, operation, revision, state, outputs, timings, failure, .. } = event.kind
            else {
                continue;
            };
            return match failure {
                Some(problem) => Err(ClientError::Problem(Box::new(problem))),
                None if state == OperationState::Succeeded => {
                    Ok(Deployed { stack, operation: Some(operation), revision, outputs, timings })
                }
                None => Err(ClientError::Answer(format!("the operation was {state}"))),
            };
        }
    }

    /// The events of an operation whose stream broke, as soon as there is somebody again who tells them.
    async fn events_again(&self, operation: Uuid, after: u64) -> Result<EventStream, ClientError> {
        let begin = Instant::now();
        loop {
            tokio::time::sleep(AGAIN).await;
            match self.events(operation, after).await {
                Err(ClientError::Unreachable { .. } | ClientError::Broken(_)) if begin.elapsed() < PATIENCE => {}
                answer => return answer,
            }
        }
    }

    /// Makes a plan and changes nothing.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn plan(&self, request: &DeployRequest) -> Result<PlanResponse, ClientError> {
        self.post("/plans", request).await
    }

    /// Makes a plan to roll back, repair or destroy.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn plan_for(&self, stack: Uuid, request: &StackPlanRequest) -> Result<PlanResponse, ClientError> {
        self.post(&format!("/stacks/{stack}/plans"), request).await
    }

    /// Starts an operation. A plan to destroy isn't accepted here: see [`Client::destroy`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn apply(&self, request: &ApplyRequest) -> Result<Operation, ClientError> {
        let request = self.request(Method::POST, "/stacks").json(request);
        Ok(Self::send(request.header("Idempotency-Key", Uuid::new_v4().to_string())).await?.json().await?)
    }

    /// Starts the destruction of a stack as a plan of [`Client::plan_for`] says; `confirm` is the stack's name.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn destroy(&self, stack: Uuid, confirm: &str, plan: Uuid) -> Result<Operation, ClientError> {
        let plan = plan.to_string();
        let query = [("confirm", confirm), ("plan", &plan)];
        let request = self.request(Method::DELETE, &format!("/stacks/{stack}")).query(&query);
        Ok(Self::send(request).await?.json().await?)
    }

    /// The events of an operation, from behind `after` on (0: all).
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events(&self, operation: Uuid, after: u64) -> Result<EventStream, ClientError> {
        let request = self.request(Method::GET, &format!("/operations/{operation}/events"));
        Ok(EventStream::new(Self::send(request.header("Last-Event-ID", after.to_string())).await?))
    }

    /// An operation as it is now, with what it waits for.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn operation(&self, operation: Uuid) -> Result<Operation, ClientError> {
        self.get(&format!("/operations/{operation}"), &[]).await
    }

    /// Asks an operation to stop: running steps are finished, nothing new is begun.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn cancel(&self, operation: Uuid) -> Result<Operation, ClientError> {
        self.post(&format!("/operations/{operation}/cancel"), &Json::Null).await
    }

    /// All stacks that fit; `query` may have `target`, `app`, `kind`, `name`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stacks(&self, query: &[(&str, &str)]) -> Result<Vec<Stack>, ClientError> {
        let mut stacks = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            // What is behind the stacks is looked at page by page.
            let mut query = [query, &[("limit", "1000")]].concat();
            if let Some(cursor) = &cursor {
                query.push(("cursor", cursor));
            }
            let page: Page<Stack> = self.get("/stacks", &query).await?;
            stacks.extend(page.items);
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(stacks),
            }
        }
    }

    /// One stack, with the state of its resources.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stack(&self, stack: Uuid) -> Result<Stack, ClientError> {
        self.get(&format!("/stacks/{stack}"), &[]).await
    }

    /// The revisions of a stack, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn revisions(&self, stack: Uuid) -> Result<Vec<Revision>, ClientError> {
        let page: Page<Revision> = self.get(&format!("/stacks/{stack}/revisions"), &[]).await?;
        Ok(page.items)
    }

    /// The log of a service (`service.web`) or a job (`job.migrate`), as it comes: its last `lines`, and with `follow`
    /// what is written from now on.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn logs(&self, stack: Uuid, of: &str, lines: usize, follow: bool) -> Result<LogStream, ClientError> {
        let lines = lines.to_string();
        let query = [("of", of), ("lines", &lines), ("follow", if follow { "true" } else { "false" })];
        let request = self.request(Method::GET, &format!("/stacks/{stack}/logs")).query(&query);
        Self::send(request).await.map(LogStream::new)
    }

    /// Runs a command in a stack's environment. It ends when the stream is dropped.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn run(&self, stack: Uuid, command: &CommandRequest) -> Result<CommandStream, ClientError> {
        let request = self.request(Method::POST, &format!("/stacks/{stack}/commands")).json(command);
        Self::send(request).await.map(CommandStream::new)
    }

    /// The secrets of a stack, without their values.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn secrets(&self, stack: Uuid) -> Result<Vec<SecretStatus>, ClientError> {
        let page: Page<SecretStatus> = self.get(&format!("/stacks/{stack}/secrets"), &[]).await?;
        Ok(page.items)
    }

    /// Sets a secret. The stack need not exist yet: it is named by its target (`None`: the one that a deploy would go to), app, kind
    /// and name. `force`: also a placeholder, or a key for tests where production runs.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_secret(
        &self,
        target: Option<&str>,
        (app, kind, stack): (&str, &str, &str),
        name: &str,
        value: &SecretValue,
        force: bool,
    ) -> Result<SecretStatus, ClientError> {
        let query = secret_query(target, (app, kind, stack), force);
        let request = self.request(Method::PUT, &format!("/secrets/{name}")).query(&query).json(value);
        Ok(Self::send(request).await?.json().await?)
    }

    /// Sets several secrets as [`Self::set_secret`] does: all of them, or none.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_secrets(
        &self,
        target: Option<&str>,
        stack: (&str, &str, &str),
        values: &SecretValues,
        force: bool,
    ) -> Result<Vec<SecretStatus>, ClientError> {
        let request = self.request(Method::PUT, "/secrets").query(&secret_query(target, stack, force)).json(values);
        let page: Page<SecretStatus> = Self::send(request).await?.json().await?;
        Ok(page.items)
    }

    /// Gives a generated secret or a database's credentials (`database.main`) a new value; consumers restart at the next deploy.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn rotate_secret(&self, stack: Uuid, name: &str) -> Result<SecretStatus, ClientError> {
        self.post(&format!("/stacks/{stack}/secrets/{name}/rotate"), &Json::Null).await
    }

    /// Credentials for a session on a stack's database, as `app` or `migrator`. Audited.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn database_access(
        &self,
        stack: Uuid,
        database: &str,
        role: &str,
    ) -> Result<DatabaseAccess, ClientError> {
        self.post(&format!("/stacks/{stack}/databases/{database}/access"), &serde_json::json!({ "role": role })).await
    }

    /// Whether the server has an artifact.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn has_artifact(&self, artifact: &str) -> Result<bool, ClientError> {
        let response = self.request(Method::HEAD, &format!("/artifacts/{artifact}")).send().await?;
        Ok(response.status() == StatusCode::OK)
    }

    /// Sends an artifact as a tar stream; the server checks that its content is what its name says.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn send_artifact(&self, artifact: &str, tar: impl Into<reqwest::Body>) -> Result<(), ClientError> {
        Self::send(self.request(Method::PUT, &format!("/artifacts/{artifact}")).body(tar)).await.map(|_| ())
    }

    /// The platform itself.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn platform(&self) -> Result<Platform, ClientError> {
        self.get("/platform", &[]).await
    }

    /// Looks for problems: environment, orphans, drift. With `all_groups`, for orphans of every API group of each cluster, which needs
    /// an administrator's permissions there.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn doctor(&self, all_groups: bool) -> Result<Vec<Finding>, ClientError> {
        let query: &[(&str, &str)] = if all_groups { &[("all_groups", "true")] } else { &[] };
        let page: Page<Finding> = self.get("/doctor", query).await?;
        Ok(page.items)
    }

    /// The targets, this machine included where the platform runs on one.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn targets(&self) -> Result<Vec<Target>, ClientError> {
        let page: Page<Target> = self.get("/targets", &[]).await?;
        Ok(page.items)
    }

    /// Adds a target, or changes it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn put_target(&self, name: &str, request: &TargetRequest) -> Result<Target, ClientError> {
        Ok(Self::send(self.request(Method::PUT, &format!("/targets/{name}")).json(request)).await?.json().await?)
    }

    /// Looks whether a target has what deploys need.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn check_target(&self, name: &str) -> Result<Vec<Finding>, ClientError> {
        let page: Page<Finding> = self.post(&format!("/targets/{name}/check"), &Json::Null).await?;
        Ok(page.items)
    }

    /// Forgets a target that has no stacks. What the platform made there for itself is removed.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn remove_target(&self, name: &str) -> Result<(), ClientError> {
        Self::send(self.request(Method::DELETE, &format!("/targets/{name}"))).await.map(|_| ())
    }
}
