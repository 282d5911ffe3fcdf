//! Between the provider and the API server: passes requests on, and does to some what a network or a busy server does.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use freehold_graph::SecretText;
use freehold_provider_kubernetes::Access;
use freehold_testkit::kubernetes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use tokio::net::TcpListener;

type Answer = UnsyncBoxBody<Bytes, kube::Error>;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What is done to a request.
pub(crate) enum ProxyAction {
    /// Passed on.
    Pass,
    /// Something happens first.
    After(Work),
    /// Passed on, and the answer is lost with the connection.
    LoseAnswer,
    /// The server is too busy.
    Busy,
    /// The server doesn't know the token any more.
    Withdrawn,
    /// The server lets whoever has the token do nothing any more.
    Forbidden,
    /// The server has a fault.
    Fault(&'static str),
    /// The server says that what is asked for is no longer kept.
    Gone,
    /// Another path is asked for.
    Instead(String),
}

type Rule = Box<dyn FnMut(&str, &str) -> ProxyAction + Send>;

type Dependencies = (Client, Arc<Mutex<Rule>>, Arc<Mutex<Vec<String>>>);

/// A running proxy. It ends with the test's runtime.
pub(crate) struct Proxy {
    address: String,
    token: String,
    rule: Arc<Mutex<Rule>>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub(crate) async fn start(to: &kubernetes::Access) -> Self {
        let kubeconfig = Kubeconfig::from_yaml(&to.kubeconfig()).unwrap();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        config.default_retry = false;
        let client = Client::try_from(config).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Box::new(|_, _| ProxyAction::Pass)));
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let parts = (client, Arc::clone(&rule), Arc::clone(&seen));
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let parts = parts.clone();
                let service = service_fn(move |request| exchange(request, parts.clone()));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, token: to.token.clone(), rule, seen }
    }

    /// From now on, for each request by its method and path.
    pub(crate) fn rule(&self, rule: impl FnMut(&str, &str) -> ProxyAction + Send + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
        self.seen.lock().unwrap().clear();
    }

    /// `PATCH /api/v1/…` of all requests since the last rule. Which cluster it is asks the provider every few seconds, by the clock: that is
    /// left out.
    pub(crate) fn seen(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|request| *request != "GET /api/v1/namespaces/kube-system").cloned().collect()
    }

    pub(crate) fn access(&self) -> Access {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": self.address}}],
            "users": [{"name": "u", "user": {"token": self.token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        });
        Access::Kubeconfig(SecretText::new(config.to_string()))
    }
}

async fn exchange(request: Request<Incoming>, (client, rule, seen): Dependencies) -> Result<Response<Answer>, Lost> {
    let (method, path) = (request.method().to_string(), request.uri().to_string());
    let action = rule.lock().unwrap()(&method, &path);
    seen.lock().unwrap().push(format!("{method} {path}"));
    let answer = |status: u16, message: &str| {
        let body =
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": status});
        Response::builder()
            .status(status)
            .header("retry-after", "1")
            .body(whole(Bytes::from(body.to_string())))
            .unwrap()
    };
    match &action {
        ProxyAction::Busy => return Ok(answer(429, "too many requests, please try again later")),
        ProxyAction::Withdrawn => return Ok(answer(401, "Unauthorized")),
        ProxyAction::Forbidden => return Ok(answer(403, "forbidden: User \"u\" cannot do this")),
        ProxyAction::Fault(message) => return Ok(answer(500, message)),
        ProxyAction::Gone => return Ok(answer(410, "The provided continue parameter is too old")),
        ProxyAction::Pass | ProxyAction::After(_) | ProxyAction::LoseAnswer | ProxyAction::Instead(_) => {}
    }
    let (lose, is_watch) = (matches!(action, ProxyAction::LoseAnswer), path.contains("watch=true"));
    let (mut parts, body) = request.into_parts();
    match action {
        ProxyAction::After(work) => work.await,
        ProxyAction::Instead(path) => parts.uri = path.parse().unwrap(),
        _ => {}
    }
    for header in ["host", "authorization", "content-length"] {
        parts.headers.remove(header);
    }
    let body = body.collect().await.unwrap().to_bytes();
    let response = client.send(Request::from_parts(parts, Body::from(body.to_vec()))).await.unwrap();
    let (mut parts, body) = response.into_parts();
    parts.headers.remove("transfer-encoding");
    parts.headers.remove("content-length");
    if is_watch {
        return Ok(Response::from_parts(parts, body.boxed_unsync()));
    }
    let body = body.collect().await.unwrap().to_bytes();
    if lose {
        return Err(Lost);
    }
    Ok(Response::from_parts(parts, whole(body)))
}

fn whole(body: Bytes) -> Answer {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// Ends the connection without an answer.
#[derive(Debug)]
struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("lost on purpose")
    }
}

impl std::error::Error for Lost {}

impl From<Infallible> for Lost {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
