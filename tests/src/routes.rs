//! A route with all that one can have, and the requests that prove it, for whatever serves it.

use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::Method;
use reqwest::blocking::Client;
use reqwest::redirect::Policy;

use crate::app::App;

/// The password of the user `ops`.
pub const PASSWORD: &str = "bR4ss-d00r-kn0b";

const HOSTS: &str = "hosts   = [\"${stack.name}.${target.domain}\"]";

/// All that a route can have, for an app with a route `web` at its usual host to a service `web`. The secret `door` has to be set.
///
/// # Errors
/// The app's definition can't be changed.
pub fn give(app: &App) -> Result<()> {
    app.redefine(
        HOSTS,
        "hosts   = [\"${stack.name}.${target.domain}\", \"shop-${stack.name}.${target.domain}\"]\n\
         redirect_from = [\"www-${stack.name}.${target.domain}\"]\n\
         response_headers = { set = { X-Frame-Options = \"DENY\", X-Stack = \"${stack.name}\" } }\n\
         cors     = { origins = [\"https://app.example.org\"] }\n\
         max_body = \"1Ki\"\n\
         paths = [\n\
         { prefix = \"/\", timeout = \"30s\", attempt_timeout = \"10s\", retries = 3 },\n\
         { prefix = \"/old\", redirect = { to = \"/health/ready\" } },\n\
         { prefix = \"/docs\", redirect = { to = \"https://docs.example.org/v2\", keep_path = true, status = 308 } },\n\
         { prefix = \"/admin\", respond = { status = 403, body = \"not from here\" } },\n\
         ]\n\
         \n\
         [route.health]\n\
         service = \"web\"\n\
         hosts = [\"${stack.name}.${target.domain}\"]\n\
         paths = [{ prefix = \"/health\" }]\n\
         response_headers = { set = { X-Route = \"health\" } }\n\
         \n\
         [route.ops]\n\
         service = \"web\"\n\
         hosts = [\"ops-${stack.name}.${target.domain}\"]\n\
         basic_auth = { ops = \"${secret.door}\" }\n\
         \n\
         [route.few]\n\
         service = \"web\"\n\
         hosts = [\"few-${stack.name}.${target.domain}\"]\n\
         rate_limit = { requests = 3, per = \"hour\" }\n\
         \n\
         [route.shut]\n\
         service = \"web\"\n\
         hosts = [\"shut-${stack.name}.${target.domain}\"]\n\
         allow_from = [\"192.0.2.0/24\"]\n\
         \n\
         [secret.door]",
    )
}

/// What came of a request.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Asks for everything that the routes of [`give`] say, of a tenant whose host is `host`; `entrance` is where they come in:
/// `http://127.0.0.1:7080`.
///
/// # Errors
/// What isn't so.
pub fn prove(entrance: &str, host: &str) -> Result<()> {
    let client = Client::builder().no_proxy().redirect(Policy::none()).timeout(Duration::from_secs(30)).build()?;
    let port = entrance.rsplit_once(':').map(|(_, port)| port).unwrap_or_default();
    let ask = |method: Method, host: &str, path: &str, more: &[(&str, &str)], body: &str| -> Result<Answer> {
        let mut request = client.request(method, format!("{entrance}{path}")).header("host", format!("{host}:{port}"));
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let response = request.body(body.to_owned()).send()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body: response.text()? })
    };
    let get = |host: &str, path: &str| ask(Method::GET, host, path, &[], "");

    for one in [host.to_owned(), format!("shop-{host}")] {
        let page = get(&one, "/")?;
        ensure!(page.status == 200 && page.header("x-frame-options") == "DENY", "{one}: {page:?}");
        ensure!(host.starts_with(page.header("x-stack")) && !page.header("x-stack").is_empty(), "{one}: {page:?}");
    }
    let moved = get(&format!("www-{host}"), "/a?b=c")?;
    let to = format!("http://{host}:{port}/a?b=c");
    ensure!((moved.status, moved.header("location")) == (301, to.as_str()), "redirect_from: {moved:?}");
    let health = get(host, "/health/ready")?;
    ensure!((health.status, health.header("x-route")) == (200, "health"), "another route of the host: {health:?}");
    let old = get(host, "/old?limit=1")?;
    ensure!(old.status == 302 && old.header("location").ends_with("/health/ready?limit=1"), "redirect: {old:?}");
    let docs = get(host, "/docs/a/b")?;
    ensure!((docs.status, docs.header("location")) == (308, "https://docs.example.org/v2/a/b"), "redirect: {docs:?}");
    let admin = get(host, "/admin/users")?;
    ensure!((admin.status, admin.body.as_str()) == (403, "not from here"), "respond: {admin:?}");

    let asked = [("origin", "https://app.example.org"), ("access-control-request-method", "POST")];
    let preflight = ask(Method::OPTIONS, host, "/", &asked, "")?;
    ensure!(preflight.status < 300, "cors: {preflight:?}");
    ensure!(preflight.header("access-control-allow-origin") == "https://app.example.org", "cors: {preflight:?}");
    let page = ask(Method::GET, host, "/", &[("origin", "https://app.example.org")], "")?;
    ensure!(page.header("access-control-allow-origin") == "https://app.example.org", "cors: {page:?}");
    let page = ask(Method::GET, host, "/", &[("origin", "https://evil.example")], "")?;
    ensure!(page.header("access-control-allow-origin").is_empty(), "cors: {page:?}");

    let large = ask(Method::POST, host, "/", &[("content-type", "text/plain")], &"x".repeat(2000))?;
    ensure!(large.status == 413, "max_body: {large:?}");

    let ops = format!("ops-{host}");
    ensure!(get(&ops, "/")?.status == 401, "basic_auth: {:?}", get(&ops, "/")?);
    let with = |password: &str| {
        let request = client.get(format!("{entrance}/")).header("host", format!("{ops}:{port}"));
        request.basic_auth("ops", Some(password)).send().map(|response| response.status().as_u16())
    };
    ensure!((with(PASSWORD)?, with("wrong")?) == (200, 401), "basic_auth: {} {}", with(PASSWORD)?, with("wrong")?);

    let few = format!("few-{host}");
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(get(&few, "/")?.status);
    }
    // Whoever asked before has fewer left.
    let let_in = statuses.iter().take_while(|status| **status == 200).count();
    ensure!(let_in <= 3 && statuses.iter().skip(let_in).all(|status| *status == 429), "rate_limit: {statuses:?}");
    let shut = get(&format!("shut-{host}"), "/")?;
    ensure!(shut.status == 403, "allow_from: {shut:?}");
    Ok(())
}
