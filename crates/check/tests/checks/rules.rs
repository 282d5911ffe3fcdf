//! Each rule: a definition at which it fires, and one beside it at which it doesn't.

use freehold_check::Diagnostic;
use freehold_problem::Code;

/// A good app; `{…}` is what a test adds.
pub(crate) const GOOD: &str = r#"[app]
name = "shop"

[database.main]
[secret.key]
generate = {}

[service.web]
image   = "ghcr.io/acme/shop"
command = ["shop"]
port    = 8080

[service.web.env]
DATABASE_URL = "${database.main.url}"
SESSION_KEY  = "${secret.key}"

[route.web]
service = "web"
hosts   = ["${stack.name}.${target.domain}"]
"#;

/// What is found, but for what is asked of production, which has tests of its own.
pub(crate) fn found(definition: &str) -> Vec<Diagnostic> {
    not_of_production(freehold_check::source(definition).1)
}

pub(crate) fn not_of_production(mut found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    found.retain(|found| !matches!(found.code, Code::NoBackup | Code::OneCopy));
    found
}

pub(crate) fn codes(definition: &str) -> Vec<Code> {
    found(definition).into_iter().map(|found| found.code).collect()
}

/// The good app with one more variable for `web`.
pub(crate) fn env(line: &str) -> String {
    GOOD.replace("[service.web.env]\n", &format!("[service.web.env]\n{line}\n"))
}

/// The good app with one more key for `web`.
pub(crate) fn web(line: &str) -> String {
    GOOD.replace("port    = 8080\n", &format!("port    = 8080\n{line}\n"))
}

/// The good app with something more behind it.
pub(crate) fn and(more: &str) -> String {
    format!("{GOOD}\n{more}\n")
}

/// The good app with something in another's place.
pub(crate) fn but(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from));
    GOOD.replace(from, to)
}

#[track_caller]
pub(crate) fn only(code: Code, definition: &str) {
    assert_eq!(codes(definition), [code], "{definition}");
}

#[track_caller]
pub(crate) fn fine(definition: &str) {
    assert_eq!(codes(definition), [], "{definition}");
}

#[test]
fn a_good_app_has_nothing_to_complain_about() {
    fine(GOOD);
}

#[test]
fn references_lead_somewhere() {
    for reference in ["database.other.url", "service.other.url", "route.other.url", "secret.other"] {
        only(Code::Dangling, &env(&format!("A = \"${{{reference}}}\"")));
    }
    for reference in ["database.main.name", "service.web.url", "route.web.url", "secret.key", "stack.id", "tier.name"] {
        fine(&env(&format!("A = \"${{{reference}}}\"")));
    }
}

#[test]
fn routes_are_not_made_from_each_other() {
    let route =
        |name: &str, host: &str| format!("[route.{name}]\nservice = \"web\"\nhosts = [\"{host}-${{stack.name}}\"]\n");
    let found = codes(&and(&(route("a", "${route.b.url}") + &route("b", "${route.a.url}"))));
    assert_eq!(found.iter().filter(|code| **code == Code::Cycle).count(), 1, "{found:?}");
    assert!(codes(&and(&route("a", "${route.a.url}"))).contains(&Code::Cycle));
    assert!(!codes(&and(&route("a", "${route.web.url}"))).contains(&Code::Cycle));
    // Services may know each other, and a service its own address.
    fine(&env("A = \"${service.web.url} ${route.web.url}\""));
}

#[test]
fn jobs_and_routes_name_services_that_exist() {
    only(Code::UnknownService, &and("[job.a]\nservice = \"wep\"\ncommand = [\"a\"]"));
    only(Code::UnknownService, &and("[route.a]\nservice = \"wep\"\nhosts = [\"a-${stack.name}\"]"));
    fine(&and("[job.a]\nservice = \"web\"\ncommand = [\"a\"]"));
}

#[test]
fn no_secret_gets_into_a_host_name() {
    only(Code::SecretMadePublic, &and("[route.a]\nservice = \"web\"\nhosts = [\"${secret.key}-${stack.name}\"]"));
    only(
        Code::SecretMadePublic,
        &and("[route.a]\nservice = \"web\"\nhosts = [\"${database.main.url}-${stack.name}\"]"),
    );
    fine(&and("[route.a]\nservice = \"web\"\nhosts = [\"a-${stack.id}.${tier.name}.${target.domain}\"]"));
}

#[test]
fn what_is_read_is_set() {
    let set = "\"DATABASE_URL\", \"SESSION_KEY\"";
    only(Code::VariableNotSet, &web(&format!("reads = [{set}, \"APP_WEB_URL\"]")));
    fine(&web(&format!("reads = [{set}, \"APP_WEB_URL?\", \"PORT\"]")));
    only(Code::VariableNotSet, &and("[job.a]\nservice = \"web\"\ncommand = [\"a\"]\nreads = [\"PORT\"]"));
    fine(&and("[job.a]\nservice = \"web\"\ncommand = [\"a\"]\nreads = [\"A\"]\nenv = { A = \"1\" }"));
}

#[test]
fn port_is_only_set_for_services_with_a_port() {
    let worker = |port: &str| format!("[service.w]\nimage = \"w\"\ncommand = [\"w\"]\nreads = [\"PORT\"]\n{port}");
    only(Code::VariableNotSet, &and(&worker("")));
    fine(&and(&worker("port = 1\ningress = [\"monitoring:1\"]")));
}

#[test]
fn what_is_set_is_read() {
    only(Code::VariableNotRead, &web("reads = [\"DATABASE_URL\"]"));
    fine(&web("reads = [\"DATABASE_URL\", \"SESSION_KEY?\"]"));
    // Without a contract there is nothing to compare.
    fine(GOOD);
}

#[test]
fn a_variable_under_another_name_is_told_with_both_names() {
    let definition = env("WEB_URL = \"x\"")
        .replace("port    = 8080\n", "port = 8080\nreads = [\"APP_WEB_URL\", \"DATABASE_URL\", \"SESSION_KEY\"]\n");
    let found = found(&definition);
    assert_eq!(found.iter().map(|found| found.code).collect::<Vec<_>>(), [Code::VariableNotSet, Code::VariableNotRead]);
    assert_eq!(found[1].message, "`WEB_URL` is set, the app reads `APP_WEB_URL`");
    assert!(found[0].help.as_ref().unwrap().contains("`WEB_URL` is set"));
}

#[test]
fn one_mistake_is_told_once_with_what_is_missing() {
    let reads =
        |name: &str, more: &str| web(&format!("reads = [\"DATABASE_URL\", \"SESSION_KEY\", \"{name}\"]")) + more;
    let help = |definition: &str| {
        only(Code::VariableNotSet, definition);
        found(definition)[0].help.clone().unwrap()
    };
    let secret = reads("API_TOKEN", "[secret.api-token]\n");
    assert_eq!(help(&secret), "set API_TOKEN = \"${secret.api-token}\" in `[service.web.env]`");
    assert!(found(&secret)[0].labels[1].message.contains("nothing uses"));
    assert!(help(&reads("POSTGRES_URL", "[database.other]\n")).contains("${database.other.url}"));
    assert!(help(&reads("REDIS_URL", "[cache.sessions]\n")).contains("${cache.sessions.url}"));
    // Of two it isn't clear which one is meant.
    let two = reads("REDIS_URL", "[cache.a]\n[cache.b]\n");
    assert_eq!(codes(&two), [Code::VariableNotSet, Code::UnusedCache, Code::UnusedCache]);
    for (name, said) in [
        ("KEY", "${secret.key}"),
        ("WEB_URL", "${service.web.url}"),
        ("POD_NAME", "${pod.name}"),
        ("DB_HOST", "${database.main.host}"),
        ("PGPASSWORD", "${database.main.password}"),
        ("APP_PORT", "read PORT"),
        ("HOME", "leave it out of `reads`"),
        ("FREEHOLD_STACK", "leave it out of `reads`"),
        ("ELSEWHERE", "set it in `[service.web.env]`"),
    ] {
        let help = help(&reads(name, ""));
        assert!(help.contains(said), "{name}: {help}");
    }
}

#[test]
fn what_freehold_sets_is_not_set_by_hand() {
    only(Code::ReservedVariable, &env("PORT = \"8080\""));
    only(Code::ReservedVariable, &env("FREEHOLD_STACK = \"x\""));
    fine(&env("APP_PORT = \"8080\""));
}

#[test]
fn placeholders_are_refused() {
    for text in ["changeme", "CHANGE_ME", "change-me", "xxx", "XXXXXX", "TODO", "<your key>", "replace-me"] {
        only(Code::PlaceholderSecret, &env(&format!("A = \"{text}\"")));
    }
    for text in ["password", "secret", "123456"] {
        only(Code::PlaceholderSecret, &env(&format!("API_TOKEN = \"{text}\"")));
        fine(&env(&format!("AUTHENTICATION = \"{text}\"")));
    }
    for text in ["sk_test_placeholder_update_before_billing", "REPLACE_WITH_SEALED_SECRET", "your-key-here", "xxx-xxx"]
    {
        only(Code::PlaceholderSecret, &env(&format!("STRIPE_SECRET_KEY = \"{text}\"")));
    }
    fine(&env("A = \"nothing to change\""));
    fine(&env("TITLE = \"Your own todo list\""));
}

#[test]
fn keys_that_are_no_secret_are_not_taken_for_one() {
    for line in [
        "SORT_KEY = \"created\"",
        "CACHE_KEY = \"v2\"",
        "POSTHOG_KEY = \"phc_1234\"",
        "STRIPE_KEY = \"pk_live_1234\"",
        "STRIPE_PUBLISHABLE_KEY = \"1234\"",
        "NEXT_PUBLIC_MAPS_KEY = \"1234\"",
    ] {
        fine(&env(line));
    }
    only(Code::PlaintextSecret, &env("MAPS_KEY = \"1234\""));
}

#[test]
fn no_secret_is_compiled_into_what_browsers_load() {
    for name in ["VITE_API_KEY", "NEXT_PUBLIC_TOKEN", "REACT_APP_KEY", "VUE_APP_KEY", "NG_APP_KEY", "PUBLIC_API_KEY"] {
        only(Code::SecretMadePublic, &env(&format!("{name} = \"${{secret.key}}\"")));
        only(Code::SecretMadePublic, &env(&format!("{name} = \"${{database.main.url}}\"")));
        fine(&env(&format!("{name} = \"${{route.web.url}}\"")));
    }
    fine(&env("INVITE_KEY = \"${secret.key}\""));
    fine(&env("PUBLIC_KEY = \"${secret.key}\""));
    for line in [
        "VITE_API_SECRET = \"sk_live_51Habc\"",
        "VITE_STRIPE = \"rk_live_51Habc\"",
        "NEXT_PUBLIC_HOOK = \"whsec_51Habc\"",
        "PUBLIC_SIGNER = \"-----BEGIN EC PRIVATE KEY-----\"",
        "REACT_APP_DB_PASSWORD = \"hunter2\"",
    ] {
        only(Code::SecretMadePublic, &env(line));
    }
    for line in [
        "VITE_LANGUAGE = \"sk_SK\"",
        "VITE_SHOW_PASSWORD = \"true\"",
        "VITE_STRIPE_KEY = \"pk_live_1234567\"",
        "PUBLIC_VERIFIER = \"-----BEGIN PUBLIC KEY-----\"",
    ] {
        fine(&env(line));
    }
}

#[test]
fn secrets_in_the_open_are_pointed_out() {
    only(Code::PlaintextSecret, &env("STRIPE_SECRET_KEY = \"sk_live_1234\""));
    only(Code::PlaintextSecret, &env("CACHE = \"https://shop:hunter2@cache.example.org/0\""));
    fine(&env("STRIPE_PUBLIC_KEY = \"pk_live_1234\""));
    fine(&env("CACHE = \"https://shop@cache.example.org/0?q=a:b@c\""));
    fine(&env("STRIPE_SECRET_KEY = \"${secret.key}\""));
    fine(&env("STRIPE_SECRET_KEY = \"\""));
    fine(&env("MONKEY = \"banana\""));
}

#[test]
fn secrets_and_databases_are_used() {
    only(Code::UnusedSecret, &and("[secret.other]"));
    only(Code::UnusedDatabase, &and("[database.other]"));
    fine(&(env("A = \"${secret.other} ${database.other.name}\"") + "[secret.other]\n[database.other]"));
}

#[test]
fn a_service_that_is_asked_has_a_port() {
    let worker = "[service.w]\nimage = \"w\"\ncommand = [\"w\"]\n";
    only(Code::NoPortToReach, &(env("A = \"${service.w.url}\"") + worker));
    only(Code::NoPortToReach, &(env("A = \"${service.w.host}\"") + worker));
    fine(&(env("A = \"${service.w.image_digest}\"") + worker));
    fine(&(env("A = \"${service.w.url}\"") + worker + "port = 1"));
    only(Code::NoPortToReach, &and(&format!("{worker}health = {{ ready = \"/\" }}")));
    fine(&and(&format!("{worker}port = 1\nhealth = {{ ready = \"/\" }}")));
}

#[test]
fn an_app_has_a_service() {
    only(Code::NoService, "[app]\nname = \"a\"");
}

#[test]
fn services_do_not_get_the_migrator() {
    only(Code::MigratorInService, &env("A = \"${database.main.migration_url}\""));
    only(Code::MigratorInService, &env("A = \"${database.main.migration_password}\""));
    fine(&env("A = \"${database.main.migration_host}:${database.main.migration_port}\""));
}

#[test]
fn only_programs_know_the_pod_that_they_are_in() {
    fine(&env("A = \"${pod.name} of ${stack.revision}\""));
    let answered = |by: &str| and(&format!("[route.web.response_headers.set]\nX-Served-By = \"{by}\""));
    only(Code::RouteSetting, &answered("${pod.name}"));
    fine(&answered("${stack.revision}"));
    fine(&and("[job.a]\nservice = \"web\"\ncommand = [\"a\"]\nenv = { A = \"${database.main.migration_url}\" }"));
}

#[test]
fn tiers_and_stages_speak_of_what_exists() {
    only(Code::UnknownOverride, &and("[tier.a]\nservice.wep.replicas = 2"));
    only(Code::UnknownOverride, &and("[tier.a]\ndatabase.web.connections = 2"));
    only(Code::UnknownOverride, &and("[stage.a]\nservice.wep.replicas = 2"));
    fine(&and(
        "[tier.a]\nservice.web.replicas = 2\ndatabase.main.connections = 2\n[stage.a]\nservice.web.replicas = 2",
    ));
}

#[test]
fn extensions_are_trusted_ones() {
    only(Code::ExtensionNotAllowed, &but("[database.main]\n", "[database.main]\nextensions = [\"dblink\"]\n"));
    fine(&but("[database.main]\n", "[database.main]\nextensions = [\"pgcrypto\", \"uuid-ossp\"]\n"));
    fine(&but("[database.main]\n", "[database.main]\nextensions = [\"pg_partman\"]\ntemplate = \"reports\"\n"));
}

#[test]
fn parameters_of_a_server_are_postgresqls_and_the_definitions_own() {
    let server = |keys: &str| but("[database.main]\n", &format!("[database.main]\nserver = {{ {keys} }}\n"));
    fine(&server(
        "parameters = { work_mem = \"32MB\", jit = false, max_connections = 200, \"pg_stat_statements.track\" = \"all\" }",
    ));
    only(Code::UnknownParameter, &server("parameters = { worked_mem = \"32MB\" }"));
    only(Code::UnknownParameter, &server("version = \"17\", parameters = { io_workers = 3 }"));
    fine(&server("version = \"18\", parameters = { io_workers = 3 }"));
    only(Code::ParameterValue, &server("parameters = { work_mem = \"32mb\" }"));
    only(Code::OperatorsParameter, &server("parameters = { archive_command = \"cp %p /tmp\" }"));
    only(Code::OperatorsParameter, &server("parameters = { shared_preload_libraries = \"/tmp/evil\" }"));
}

#[test]
fn a_server_has_what_its_parameters_promise() {
    let server =
        |keys: &str| but("[database.main]\n", &format!("[database.main]\nconnections = 50\nserver = {{ {keys} }}\n"));
    only(Code::ServerTooSmall, &server("memory = \"512Mi..4Gi\", parameters = { shared_buffers = \"1GB\" }"));
    only(Code::ServerTooSmall, &server("parameters = { shared_buffers = \"65MB\" }"));
    fine(&server("memory = \"4Gi\", parameters = { shared_buffers = \"1GB\" }"));
    only(Code::ServerTooSmall, &server("parameters = { max_connections = 60 }"));
    fine(&server("parameters = { max_connections = 65 }"));
}

#[test]
fn a_collation_is_for_the_encoding() {
    let database = |keys: &str| but("[database.main]\n", &format!("[database.main]\n{keys}\n"));
    for good in [
        "collation = \"C\"",
        "collation = \"de_DE.UTF-8\"",
        "collation = \"icu:de-AT\"",
        "collation = \"de_DE.ISO-8859-1\"\nencoding = \"LATIN1\"",
        "collation = \"icu:de\"\nencoding = \"LATIN1\"",
        "collation = \"C\"\nencoding = \"SQL_ASCII\"",
    ] {
        fine(&database(good));
    }
    for bad in [
        "collation = \"de_DE.ISO-8859-1\"",
        "collation = \"de_DE.UTF-8@euro\"\nencoding = \"LATIN9\"",
        "collation = \"icu:de\"\nencoding = \"SQL_ASCII\"",
    ] {
        only(Code::CollationEncoding, &database(bad));
    }
}

#[test]
fn backups_on_a_schedule_are_not_promised() {
    only(Code::BackupNotMadeYet, &and("[stage.a]\nbackup = { schedule = \"0 2 * * *\" }"));
    fine(&and("[stage.a]"));
}

#[test]
fn a_host_leads_to_one_service() {
    let route = |host: &str| and(&format!("[route.x]\nservice = \"web\"\nhosts = [\"{host}\"]"));
    only(Code::RouteTwice, &route("${stack.name}.${target.domain}"));
    fine(&route("API-${stack.name}.${target.domain}"));
    let paths = |second: &str| and(&format!("paths = [{{ prefix = \"/\" }}, {{ prefix = \"{second}\" }}]"));
    only(Code::RouteTwice, &paths("/"));
    fine(&paths("/events"));
}

#[test]
fn a_path_of_a_host_is_claimed_once_whatever_the_route() {
    let route = |more: &str| and(&format!("[route.x]\nservice = \"web\"\n{more}"));
    let host = "hosts = [\"${stack.name}.${target.domain}\"]\n";
    fine(&route(&format!("{host}paths = [{{ prefix = \"/api\" }}]")));
    only(Code::RouteTwice, &route(&format!("{host}paths = [{{ prefix = \"/api\" }}, {{ prefix = \"/\" }}]")));
    let moved = "hosts = [\"x-${stack.name}.${target.domain}\"]\nredirect_from = [\"${stack.name}.${target.domain}\"]";
    only(Code::RouteTwice, &route(moved));
    let itself = "hosts = [\"x-${stack.name}\"]\nredirect_from = [\"X-${stack.name}\"]";
    only(Code::RouteTwice, &route(itself));
}

#[test]
fn a_path_leads_to_one_place() {
    let route = |more: &str| and(&format!("[route.x]\nhosts = [\"x-${{stack.name}}\"]\n{more}"));
    only(Code::PathUnclear, &route(""));
    only(Code::PathUnclear, &route("paths = [{ prefix = \"/\", service = \"web\" }, { prefix = \"/a\" }]"));
    only(Code::PathUnclear, &route("paths = [{ prefix = \"/\", service = \"web\", redirect = { to = \"/a\" } }]"));
    only(Code::UnknownService, &route("paths = [{ prefix = \"/\", service = \"wep\" }]"));
    fine(&route(
        "paths = [{ prefix = \"/\", service = \"web\" }, { prefix = \"/a\", redirect = { to = \"/\" } }, \
         { prefix = \"/b\", respond = { status = 403 } }]",
    ));
}

#[test]
fn a_retry_can_happen() {
    let path = |more: &str| and(&format!("paths = [{{ prefix = \"/\", timeout = \"30s\", {more} }}]"));
    only(Code::RetryNever, &path("attempt_timeout = \"30s\", retries = 1"));
    only(Code::RetryNever, &path("attempt_timeout = \"31s\""));
    fine(&path("attempt_timeout = \"10s\", retries = 1"));
    fine(&path("attempt_timeout = \"30s\""));
}

#[test]
fn what_the_entrance_says_can_be_said() {
    let route = |more: &str| and(more);
    let to = |to: &str| {
        route(&format!("paths = [{{ prefix = \"/\" }}, {{ prefix = \"/a\", redirect = {{ to = \"{to}\" }} }}]"))
    };
    for wrong in ["new", "//evil.example", "https://a.example/?q=1", "javascript:alert(1)", "/a b", "https://a_b/"] {
        only(Code::RouteSetting, &to(wrong));
    }
    for right in ["/new", "https://a.example/new", "${route.web.url}/new", "https://${stack.name}.example/x"] {
        fine(&to(right));
    }
    let field = |value: &str| route(&format!("response_headers = {{ set = {{ X-A = \"{value}\" }} }}"));
    for wrong in ["", "a\\r\\nSet-Cookie: b=c", "ü"] {
        only(Code::RouteSetting, &field(wrong));
    }
    only(Code::SecretMadePublic, &field("${secret.key}"));
    fine(&field("max-age=1; ${stack.name}"));
    let answer = |size: usize| {
        let body = "x".repeat(size);
        route(&format!(
            "paths = [{{ prefix = \"/\" }}, {{ prefix = \"/a\", respond = {{ status = 200, body = \"{body}\" }} }}]"
        ))
    };
    fine(&answer(4096));
    only(Code::RouteSetting, &answer(4097));
    let cors = |origin: &str, more: &str| route(&format!("cors = {{ origins = [\"{origin}\"]{more} }}"));
    for wrong in
        ["app.example.org", "https://a.example/", "https://a.example/x", "ftp://a.example", "https://*", "null"]
    {
        only(Code::RouteSetting, &cors(wrong, ""));
    }
    for right in ["https://a.example", "https://*.a.example", "http://localhost:5173", "${route.web.url}", "*"] {
        fine(&cors(right, ""));
    }
    only(Code::RouteSetting, &cors("*", ", credentials = true"));
    let users = |password: &str| route(&format!("basic_auth = {{ ops = \"{password}\" }}"));
    only(Code::PlaceholderSecret, &users("s3cret"));
    fine(&users("${secret.key}"));
}

#[test]
fn a_route_leads_to_a_service_with_a_port() {
    only(Code::RouteWithoutPort, &but("port    = 8080\n", ""));
}

#[test]
fn hosts_are_host_names() {
    let route = |host: &str| and(&format!("[route.x]\nservice = \"web\"\nhosts = [\"{host}\"]"));
    for host in [
        "my_${stack.name}",
        "${stack.name}/path",
        "*.${stack.name}",
        "${stack.name}..org",
        "${stack.name}-.org",
        ".${stack.name}",
    ] {
        only(Code::BadHost, &route(host));
    }
    only(Code::BadHost, &route("${stack.name}-${database.main.name}"));
    only(Code::BadHost, &route("${stack.name}${service.web.url}"));
    only(Code::BadHost, &route("${stack.name}-${pod.name}"));
    only(Code::BadHost, &route("${stack.name}-${stack.revision}"));
    fine(&route("x--${stack.name}.1.example.org"));
}

#[test]
fn hosts_that_are_too_long_for_every_name_are_refused() {
    let route = |host: &str| and(&format!("[route.x]\nservice = \"web\"\nhosts = [\"{host}\"]"));
    let (fits, too_long) = ("a".repeat(62), "a".repeat(63));
    fine(&route(&format!("{fits}${{stack.name}}.example.org")));
    only(Code::BadHost, &route(&format!("{too_long}${{stack.name}}.example.org")));
    // A UUID has 36 characters.
    fine(&route(&format!("{}${{stack.id}}.example.org", "a".repeat(27))));
    only(Code::BadHost, &route(&format!("{}${{stack.id}}.example.org", "a".repeat(28))));
    let labels = |count: usize| vec!["a".repeat(49); count].join(".");
    fine(&route(&format!("{}.${{stack.name}}", labels(5))));
    fine(&route(&format!("{}.${{stack.name}}.a", labels(5))));
    only(Code::BadHost, &route(&format!("{}.${{stack.name}}.{}", labels(5), "aa")));
}

#[test]
fn each_stack_has_its_own_host() {
    let said = but("${stack.name}.${target.domain}", "www.example.org");
    for several in
        ["[stage.dev]", "[tier.free]", "[preview]", "[route.b]\nservice = \"web\"\nhosts = [\"${stack.id}.a\"]"]
    {
        only(Code::HostSharedByStacks, &format!("{said}\n{several}"));
    }
    // An app of one stack, and hosts that are said where they hold.
    fine(&said);
    fine(&format!("{said}\n[stage.production]\nservice.web.replicas = 2"));
    let stages = "[stage.production]\nroute.web.hosts = [\"www.example.org\"]\n[stage.dev]\nroute.web.hosts = [\"dev.example.org\"]";
    fine(&and(stages));
    fine(&format!("{said}\n[stage.dev]\nroute.web.hosts = [\"dev.example.org\"]\n"));
    // Tenants belong to production, too.
    assert_eq!(codes(&and(&format!("{stages}\n[tier.free]"))), [Code::HostSharedByStacks; 2]);
    fine(&but("${stack.name}.${target.domain}", "${stack.id}.example.org"));
}

#[test]
fn images_have_no_tag() {
    let pinned = format!("ghcr.io/acme/shop@sha256:{}", "00".repeat(32));
    for image in ["shop:latest", "localhost:5000/shop:1", &pinned] {
        only(Code::ImageTag, &but("ghcr.io/acme/shop", image));
    }
    fine(&but("ghcr.io/acme/shop", "localhost:5000/shop"));
}

#[test]
fn services_have_something_to_run() {
    only(Code::NothingToRun, &but("image   = \"ghcr.io/acme/shop\"\n", ""));
    assert!(found(&but("image   = \"ghcr.io/acme/shop\"\n", ""))[0].is_error());
    fine(&but("image   = \"ghcr.io/acme/shop\"", "build = { artifact = [\"shop\"] }"));
    fine(&web("build = { artifact = [\"shop\"] }"));
    // An image says what it executes, files don't.
    let unsaid = but("command = [\"shop\"]\n", "");
    fine(&unsaid);
    only(Code::MissingKey, &unsaid.replace("image   = \"ghcr.io/acme/shop\"", "build = { artifact = [\"shop\"] }"));
    // There is one, and it is wrong.
    only(Code::WrongType, &but("image   = \"ghcr.io/acme/shop\"", "image = 1"));
}

#[test]
fn files_of_an_artifact_have_different_names() {
    only(Code::ListedTwice, &web("build = { artifact = [\"a/static\", \"b/static/\"] }"));
    fine(&web("build = { artifact = [\"a/static\", \"b/assets\"] }"));
}

#[test]
fn what_could_not_be_read_is_not_said_to_be_missing() {
    // The service is there, only its port and a variable are wrong.
    let definition =
        but("port    = 8080", "port = \"http\"\nreads = [\"PORT\", \"BAD\", \"DATABASE_URL\", \"SESSION_KEY\"]")
            .replace("[service.web.env]\n", "[service.web.env]\nBAD = \"${what.is.this}\"\n");
    assert_eq!(codes(&definition), [Code::WrongType, Code::UnknownReference]);
    // All of the service is unknown.
    assert_eq!(
        codes(&but("[service.web]\n", "[sevice.web]\n").replace("[service.web.env]", "[sevice.web.env]")),
        [Code::UnknownKey]
    );
}

#[test]
fn a_variable_or_an_argument_that_no_process_can_be_started_with_is_an_error() {
    let text = |length: usize| "many words ".chars().cycle().take(length).collect::<String>();
    // NAME=value and a NUL in 128 KiB.
    let fits = (128 << 10) - "LONG".len() - 2;
    fine(&env(&format!("LONG = \"{}\"", text(fits))));
    only(Code::TooLongForProcess, &env(&format!("LONG = \"{}\"", text(fits + 1))));
    let fits = (128 << 10) - 1;
    for place in [
        |argument: &str| but("command = [\"shop\"]", &format!("command = [\"shop\", \"{argument}\"]")),
        |argument: &str| web(&format!("build = {{ artifact = [\"shop\"], command = [\"make\", \"{argument}\"] }}")),
        |argument: &str| and(&format!("[job.once]\nservice = \"web\"\ncommand = [\"{argument}\"]")),
    ] {
        fine(&place(&text(fits)));
        only(Code::TooLongForProcess, &place(&text(fits + 1)));
    }
}

#[test]
fn a_prefix_that_no_request_s_path_has_is_an_error() {
    let prefix = |prefix: &str| and(&format!("paths = [{{ prefix = \"{prefix}\" }}]"));
    let fits = format!("/{}", "a".repeat(1023));
    for good in ["/", "/events", "/caf%C3%A9", "/a:b@c/~d", "/a.b/(c)", &fits] {
        fine(&prefix(good));
    }
    for bad in ["/café", "/a[b]", "/a%2Fb", "/a%2fb", "/a%zz", "/a%4", "/a//b", "//a", "/a|b", &format!("{fits}a")] {
        only(Code::BadPath, &prefix(bad));
    }
}

#[test]
fn a_variable_with_a_name_that_no_key_of_a_cluster_can_have_is_an_error() {
    fine(&env(&format!("{} = \"1\"", "A".repeat(253))));
    only(Code::BadName, &env(&format!("{} = \"1\"", "A".repeat(254))));
}

#[test]
fn caches() {
    let used = |keys: &str| {
        let more = format!(
            "[cache.sessions]\n{keys}\n[job.warm]\nservice = \"web\"\ncommand = [\"shop\"]\nenv = {{ URL = \"${{cache.sessions.url}}\" }}"
        );
        and(&more)
    };
    fine(&used(""));
    fine(&used("memory = \"1Gi\"\neviction = \"volatile-ttl\"\npersist = true\nstorage = \"3Gi\""));
    only(Code::UnusedCache, &and("[cache.sessions]"));
    only(Code::StorageNotKept, &used("storage = \"1Gi\""));
    only(Code::VolumeTooSmall, &used("memory = \"1Gi\"\npersist = true\nstorage = \"2Gi\""));
    only(Code::OutOfRange, &used("memory = \"4Mi\""));
    only(Code::BadQuantity, &used("memory = \"256MB\""));
    only(Code::UnknownWord, &used("eviction = \"allkeys-lur\""));
    only(Code::Dangling, &env("CACHE = \"${cache.sessions.url}\""));
    only(Code::UnknownReference, &used("").replace("sessions.url}", "sessions.uri}"));
    // In a public place.
    only(Code::SecretMadePublic, &used("").replace("${stack.name}.", "${stack.name}.${cache.sessions.password}."));
}

/// The good app with jobs: a name, and what else it says.
fn jobs(jobs: &[(&str, &str)]) -> String {
    let table = |(name, more): &(&str, &str)| format!("[job.{name}]\nservice = \"web\"\ncommand = [\"j\"]\n{more}\n");
    and(&jobs.iter().map(table).collect::<String>())
}

#[test]
fn a_job_says_once_when_it_runs() {
    let schedule = "schedule = \"0 6 * * *\"";
    for when in ["revision", "once", "demand"] {
        only(Code::WhenContradicts, &jobs(&[("a", &format!("when = \"{when}\"\n{schedule}"))]));
        fine(&jobs(&[("a", &format!("when = \"{when}\""))]));
    }
    only(Code::WhenContradicts, &jobs(&[("a", "when = \"schedule\"")]));
    fine(&jobs(&[("a", &format!("when = \"schedule\"\n{schedule}"))]));
    fine(&jobs(&[("a", schedule)]));
}

#[test]
fn a_job_is_after_jobs_of_the_same_deploy() {
    only(Code::Dangling, &jobs(&[("migrate", ""), ("seed", "after = [\"migrat\"]")]));
    fine(&jobs(&[("migrate", ""), ("seed", "when = \"once\"\nafter = [\"migrate\"]"), ("c", "after = [\"seed\"]")]));
    for other in ["when = \"demand\"", "schedule = \"0 6 * * *\""] {
        only(Code::NotInDeploy, &jobs(&[("a", other), ("b", "after = [\"a\"]")]));
        only(Code::NotInDeploy, &jobs(&[("a", &format!("{other}\nafter = [\"b\"]")), ("b", "")]));
    }
}

#[test]
fn jobs_that_wait_for_each_other_are_told_as_a_circle() {
    only(Code::Cycle, &jobs(&[("a", "after = [\"a\"]")]));
    let circle =
        jobs(&[("a", "after = [\"b\"]"), ("b", "after = [\"d\", \"c\"]"), ("c", "after = [\"b\"]"), ("d", "")]);
    only(Code::Cycle, &circle);
    assert_eq!(found(&circle)[0].notes, ["job.b is after job.c is after job.b"]);
    fine(&jobs(&[("a", "after = [\"b\", \"c\"]"), ("b", "after = [\"d\"]"), ("c", "after = [\"d\"]"), ("d", "")]));
}

#[test]
fn jobs_that_write_to_one_database_have_an_order() {
    let writes = "env = { A = \"${database.main.url}\" }";
    let owns = "env = { A = \"${database.main.migration_url}\" }";
    let after = |more: &str, other: &str| format!("{more}\nafter = [\"{other}\"]");
    only(Code::JobsMeet, &jobs(&[("migrate", owns), ("seed", writes)]));
    fine(&jobs(&[("migrate", owns), ("seed", &after(writes, "migrate"))]));
    // By way of one that doesn't write.
    fine(&jobs(&[("migrate", owns), ("between", &after("", "migrate")), ("a-seed", &after(writes, "between"))]));
    // Both are after the first, and meet.
    let meet = jobs(&[("a", owns), ("b", &after(writes, "a")), ("c", &after(writes, "a"))]);
    only(Code::JobsMeet, &meet);
    assert!(found(&meet)[0].message.starts_with("jobs b and c "), "{:?}", found(&meet));
    fine(&jobs(&[("migrate", owns), ("seed", "env = { A = \"${database.main.name}\" }")]));
    for other in ["when = \"demand\"", "schedule = \"0 6 * * *\""] {
        fine(&jobs(&[("migrate", owns), ("fix", &format!("{other}\n{writes}"))]));
    }
}

#[test]
fn image_references_can_be_read_wherever_they_stand() {
    for image in ["!!!", "https://ghcr.io/acme/web", "Ghcr.io/Acme/Web", "ghcr.io/acme/web@sha256:a1b2c3d4e5f6", "a b"]
    {
        only(Code::BadImageReference, &but("\"ghcr.io/acme/shop\"", &format!("{image:?}")));
        for part in ["sidecar", "init"] {
            only(Code::BadImageReference, &and(&format!("[service.web.{part}.a]\nimage = {image:?}")));
        }
    }
    fine(&and(&format!("[service.web.init.a]\nimage = \"ghcr.io/acme/web@sha256:{}\"", "a1".repeat(32))));
    fine(&and("[service.web.sidecar.a]\nimage = \"localhost:5000/proxy:1.2\""));
}
