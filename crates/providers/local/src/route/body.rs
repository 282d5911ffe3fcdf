//! A route's body, as the router has it.

use std::collections::BTreeMap;
use std::time::Duration;

use freehold_graph::{StackId, StackKey, Value};
use freehold_router::{Action, Cors, HeaderChanges, PasswordHash, Patience, Policies, RateLimit, Route, Rule};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::launch::seconds;
use crate::machine::endpoint;

/// Who is let in, by user name.
pub(super) type Users = BTreeMap<String, PasswordHash>;

/// What the router is told of a route. Resources that were stored before routes had several hosts have a `host`, and one `service` for all
/// paths.
///
/// # Errors
/// What of it no message can hold.
pub(super) fn route(stack: StackId, key: &StackKey, body: &Value, users: Users) -> Result<Route, String> {
    let service = text(body, "service");
    let rules: Result<Vec<Rule>, String> = list(body, "paths").iter().map(|path| rule(stack, path, service)).collect();
    let hosts = match text(body, "host") {
        Some(host) => vec![host.to_owned()],
        None => texts(body, "hosts"),
    };
    Ok(Route {
        hosts,
        redirect_from: texts(body, "redirect_from"),
        rules: rules?,
        policies: policies(body, users)?,
        label: key.to_string(),
    })
}

fn rule(stack: StackId, path: &Value, of_all: Option<&str>) -> Result<Rule, String> {
    let action = if let Some(redirect) = path.get("redirect") {
        Action::Redirect {
            to: text(redirect, "to").unwrap_or("/").to_owned(),
            keep_path: redirect.get("keep_path") == Some(&Value::Bool(true)),
            status: status(redirect)?,
        }
    } else if let Some(respond) = path.get("respond") {
        Action::Respond {
            status: status(respond)?,
            body: text(respond, "body").unwrap_or_default().to_owned().into(),
            content_type: header(text(respond, "content_type").unwrap_or("text/plain"))?,
        }
    } else {
        let service = text(path, "service").or(of_all).unwrap_or_default();
        let limited = path.get("attempt_timeout_seconds").is_some();
        let patience = Patience {
            timeout: seconds(path, "timeout_seconds", 30),
            attempt_timeout: limited.then(|| seconds(path, "attempt_timeout_seconds", 30)),
            retries: number(path, "retries"),
        };
        Action::Forward { endpoint: endpoint(stack, service), patience }
    };
    Ok(Rule { prefix: text(path, "prefix").unwrap_or("/").to_owned(), action })
}

fn policies(body: &Value, users: Users) -> Result<Policies, String> {
    let networks: Result<_, _> = texts(body, "allow_from").iter().map(|network| network.parse()).collect();
    let rate =
        |limit: &Value| RateLimit { requests: number(limit, "requests").max(1), per: seconds(limit, "seconds", 1) };
    Ok(Policies {
        request_headers: changes(body.get("request_headers"))?,
        response_headers: changes(body.get("response_headers"))?,
        cors: body.get("cors").map(cors).transpose()?,
        max_body: body.get("max_body_bytes").and_then(Value::as_integer).and_then(|size| u64::try_from(size).ok()),
        users,
        allow_from: networks.map_err(|_| "a network can't be read".to_owned())?,
        rate_limit: body.get("rate_limit").map(rate),
    })
}

fn cors(cors: &Value) -> Result<Cors, String> {
    let joined = |field: &str| header(&texts(cors, field).join(", "));
    Ok(Cors {
        origins: texts(cors, "origins").iter().map(|origin| origin.to_ascii_lowercase()).collect(),
        methods: joined("methods")?,
        headers: joined("headers")?,
        expose: joined("expose")?,
        credentials: cors.get("credentials") == Some(&Value::Bool(true)),
        max_age: Duration::from_secs(number(cors, "max_age_seconds").into()),
    })
}

fn changes(changes: Option<&Value>) -> Result<HeaderChanges, String> {
    let Some(changes) = changes else { return Ok(HeaderChanges::default()) };
    let name = |name: &str| name.parse::<HeaderName>().map_err(|_| format!("{name:?} is no header field"));
    let fields = |field: &str| -> Result<Vec<_>, String> {
        let fields = changes.get(field).and_then(Value::as_map);
        let pair = |(key, value): (&String, &Value)| Ok((name(key)?, header(value.as_text().unwrap_or_default())?));
        fields.into_iter().flatten().map(pair).collect()
    };
    let remove: Result<Vec<_>, String> = texts(changes, "remove").iter().map(|key| name(key)).collect();
    Ok(HeaderChanges { set: fields("set")?, add: fields("add")?, remove: remove? })
}

fn header(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|_| format!("{text:?} can't stand in a header"))
}

fn status(answer: &Value) -> Result<StatusCode, String> {
    let number = u16::try_from(number(answer, "status")).unwrap_or_default();
    StatusCode::from_u16(number).map_err(|_| format!("{number} is no status"))
}

fn text<'a>(body: &'a Value, field: &str) -> Option<&'a str> {
    body.get(field).and_then(Value::as_text)
}

fn list<'a>(body: &'a Value, field: &str) -> &'a [Value] {
    body.get(field).and_then(Value::as_list).unwrap_or_default()
}

fn texts(body: &Value, field: &str) -> Vec<String> {
    list(body, field).iter().filter_map(Value::as_text).map(str::to_owned).collect()
}

fn number(body: &Value, field: &str) -> u32 {
    body.get(field).and_then(Value::as_integer).and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
}
