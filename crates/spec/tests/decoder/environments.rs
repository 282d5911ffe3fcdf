//! What overrides what, and where each value comes from.

use freehold_spec::app::Quota;
use freehold_spec::{
    App, DecodeErrorKind, Document, Environment, Files, Language, Layer, Memory, Reading, Seconds, Segment, decode,
};

const SHOP: &str = r#"
[app]
name = "shop"

[quota]
cpu  = "8"
pods = 50

[service.web]
command   = ["shop", "serve"]
port      = 8080
replicas  = 1
memory    = "64Mi..128Mi"
autoscale = { max = 4 }
reads     = ["LOG_LEVEL", "MODE"]

[service.web.env]
LOG_LEVEL = "info"
MODE      = "base"

[database.main]
extensions  = ["pgcrypto", "citext"]
connections = 5

[stage.production]
quota.memory = "4Gi"
service.web.replicas = 2
service.web.env.LOG_LEVEL = "warning"
service.web.env.MODE = "production"
database.main.extensions = ["pg_trgm"]
backup.schedule = "0 2 * * *"

[stage.dev.service.web]
env = { LOG_LEVEL = "debug", EXTRA = "1" }

[tier.pro]
quota = { cpu = "4", pods = 20 }
service.web.replicas = 3
service.web.env.MODE = "pro"

[preview]
service.web.memory = "64Mi"
"#;

fn stage(name: &str) -> Environment {
    Environment::Stage(name.to_owned())
}

fn tenant(stage: &str, tier: Option<&str>) -> Environment {
    Environment::Tenant { stage: stage.to_owned(), tier: tier.map(str::to_owned) }
}

fn read(language: Language, source: &str, environment: Option<&Environment>) -> Reading {
    Document::parse(language, source, &Files::new()).read(environment)
}

fn app(source: &str, environment: &Environment) -> App {
    let reading = read(Language::NEWEST, source, Some(environment));
    assert_eq!(reading.errors, []);
    reading.app.unwrap()
}

fn variable(app: &App, name: &str) -> String {
    match app.services["web"].env[name].segments.as_slice() {
        [Segment::Text(text)] => text.clone(),
        other => panic!("{other:?}"),
    }
}

fn figures(quota: &Quota) -> (Option<u64>, Option<u64>, Option<u32>) {
    let Quota { cpu, memory, pods } = quota;
    (
        cpu.as_ref().map(|cpu| cpu.limit.0),
        memory.as_ref().map(|memory| memory.limit.0),
        pods.as_ref().map(|pods| pods.value),
    )
}

#[test]
fn values_resolve_from_the_definition_through_the_stage_to_the_tier() {
    let base = read(Language::NEWEST, SHOP, None).app.unwrap();
    assert_eq!((base.services["web"].replicas.value, variable(&base, "MODE").as_str()), (1, "base"));
    let of = |environment: &Environment| {
        let app = app(SHOP, environment);
        (app.services["web"].replicas.value, variable(&app, "LOG_LEVEL"), variable(&app, "MODE"), figures(&app.quota))
    };
    let text = str::to_owned;
    let (gib, cores) = (1 << 30, 1000);
    assert_eq!(
        of(&stage("production")),
        (2, text("warning"), text("production"), (Some(8 * cores), Some(4 * gib), Some(50)))
    );
    assert_eq!(
        of(&tenant("production", Some("pro"))),
        (3, text("warning"), text("pro"), (Some(4 * cores), Some(4 * gib), Some(20)))
    );
    assert_eq!(of(&tenant("production", None)), of(&stage("production")), "a tenant has all that its stage has");
    assert_eq!(of(&tenant("dev", Some("pro"))), (3, text("debug"), text("pro"), (Some(4 * cores), None, Some(20))));
    assert_eq!(of(&Environment::Preview), (1, text("info"), text("base"), (Some(8 * cores), None, Some(50))));
    assert_eq!(
        of(&stage("elsewhere")),
        of(&Environment::Preview),
        "a stage without a table has what the definition says"
    );
}

#[test]
fn tables_merge_by_key_and_everything_else_replaces_what_was_there() {
    let production = app(SHOP, &stage("production"));
    let extensions: Vec<&str> = production.databases["main"].extensions.iter().map(|one| one.as_str()).collect();
    assert_eq!(extensions, ["pg_trgm"], "lists replace");
    assert_eq!(production.databases["main"].connections.value, 5, "what isn't overridden stays");
    let dev = app(SHOP, &stage("dev"));
    assert_eq!((variable(&dev, "EXTRA"), variable(&dev, "MODE")), ("1".to_owned(), "base".to_owned()), "tables merge");
    let preview = app(SHOP, &Environment::Preview);
    assert_eq!(preview.services["web"].memory.limit, Memory(64 << 20));
    assert!(production.backup.as_ref().is_some_and(|backup| backup.keep.value == Seconds(30 * 86_400)));
    assert!(dev.backup.is_none() && preview.backup.is_none());
}

#[test]
fn a_value_that_is_overridden_stands_where_the_override_stands() {
    let of = |environment: &Environment| app(SHOP, environment).services["web"].replicas.span;
    let line = |environment: &Environment| SHOP[..of(environment).start].lines().last().unwrap().to_owned();
    assert_eq!(line(&stage("production")), "service.web.replicas = ");
    assert!(of(&tenant("production", Some("pro"))).start > of(&stage("production")).start);
    assert_eq!(&SHOP[of(&tenant("production", Some("pro"))).start..][..1], "3");
}

#[test]
fn what_is_written_is_told_with_the_table_that_it_comes_from() {
    let files = Files::new();
    let document = Document::parse(Language::NEWEST, SHOP, &files);
    let values = document.values(Some(&tenant("production", Some("pro"))));
    let of = |path: &str| {
        let value = values.iter().find(|value| value.path == path);
        value.map(|value| (value.text.as_str(), value.layer.as_ref().map(Layer::to_string)))
    };
    assert_eq!(of("service.web.env.MODE"), Some(("\"pro\"", Some("tier.pro".to_owned()))));
    assert_eq!(of("service.web.env.LOG_LEVEL"), Some(("\"warning\"", Some("stage.production".to_owned()))));
    assert_eq!(of("service.web.port"), Some(("8080", None)));
    assert_eq!(of("quota.cpu"), Some(("\"4\"", Some("tier.pro".to_owned()))));
    assert_eq!(of("quota.memory"), Some(("\"4Gi\"", Some("stage.production".to_owned()))));
    assert!(!values.iter().any(|value| value.path.starts_with("stage.") || value.path.starts_with("tier.")));
    for value in &values {
        assert_eq!(&SHOP[value.span.start..value.span.end], value.text);
    }
}

#[test]
fn the_environments_of_a_definition_are_its_stages_their_tenants_and_previews() {
    let files = Files::new();
    let document = Document::parse(Language::NEWEST, SHOP, &files);
    let expected = [
        stage("dev"),
        tenant("dev", Some("pro")),
        stage("production"),
        tenant("production", Some("pro")),
        Environment::Preview,
    ];
    assert_eq!(document.environments(), expected);
    assert_eq!(document.layers(&stage("elsewhere")), []);
    let small = Document::parse(Language::NEWEST, "[app]\nname = \"small\"\n", &files);
    assert_eq!(small.environments(), [stage("production"), Environment::Preview]);
}

fn errors(more: &str) -> Vec<(DecodeErrorKind, String)> {
    let source = format!("[app]\nname = \"shop\"\n[service.web]\ncommand = [\"web\"]\n{more}");
    let files = Files::new();
    let document = Document::parse(Language::NEWEST, &source, &files);
    let described = |error: &freehold_spec::DecodeError| {
        format!(
            "{}: {} ({})",
            &source[error.span.start..error.span.end],
            error.message,
            error.help.clone().unwrap_or_default()
        )
    };
    document.errors().iter().map(|error| (error.kind, described(error))).collect()
}

#[test]
fn an_override_of_something_that_is_not_there_names_the_nearest() {
    let found = errors("[stage.production]\nservice.wep.replicas = 2\n");
    let text =
        "wep: `stage.production` overrides the service wep, which isn't defined (did you mean `web`?)".to_owned();
    assert_eq!(found, [(DecodeErrorKind::UnknownOverride, text)]);
    let found = errors("[preview.database.main]\nconnections = 2\n");
    let text = "main: `preview` overrides the database main, which isn't defined \
                (the app has no database: define it in `[database.main]`)";
    assert_eq!(found, [(DecodeErrorKind::UnknownOverride, text.to_owned())]);
    let found = errors("[stage.production]\nservice.web.replicsa = 2\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].1.contains("did you mean `replicas`?"), "{found:?}");
    let found = errors("[stage.production]\nservise.web.replicas = 2\n");
    assert!(found[0].1.contains("did you mean `service`?"), "{found:?}");
}

#[test]
fn what_a_layer_can_not_have_is_refused() {
    for more in ["[stage.production.app]\nname = \"other\"\n", "[tier.a.stage.b]\n", "[preview.tier.a]\n"] {
        let found = errors(more);
        assert_eq!(found.len(), 1, "{more}: {found:?}");
        assert_eq!(found[0].0, DecodeErrorKind::UnknownKey, "{more}");
    }
    for more in ["[stage.production]\nservice = 3\n", "[stage.production]\nservice.web = 3\n", "[tier.a]\nquota = 3\n"]
    {
        let found = errors(more);
        assert_eq!(
            found.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
            [DecodeErrorKind::WrongType],
            "{more}: {found:?}"
        );
    }
    let found = errors("[stage.production]\nservice.web.replicas = 99\n");
    assert_eq!(found.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [DecodeErrorKind::OutOfRange]);
}

#[test]
fn a_table_that_needs_not_be_there_is_taken_away_by_off() {
    let more = "[stage.dev]\nservice.web.autoscale = \"off\"\nquota = \"off\"\nservice.web.env.AUTOSCALE = \"off\"\n";
    let source = SHOP.replace("[stage.dev.service.web]\nenv = { LOG_LEVEL = \"debug\", EXTRA = \"1\" }\n", more);
    let dev = app(&source, &stage("dev"));
    assert!(dev.services["web"].autoscale.is_none() && dev.quota.is_empty());
    assert_eq!(variable(&dev, "AUTOSCALE"), "off");
    let pro = app(&source, &tenant("dev", Some("pro")));
    assert_eq!(figures(&pro.quota), (Some(4000), None, Some(20)), "what comes later is there again");
    // Where there is none, none is taken away; what has to be there can't be.
    assert_eq!(errors("[preview]\nservice.web.autoscale = \"off\"\nbackup = \"off\"\n"), []);
    assert_eq!(errors("[preview]\nservice.web.health = \"off\"\n")[0].0, DecodeErrorKind::WrongType);
}

#[test]
fn previews_are_a_table() {
    let kinds = |source: &str| decode(source).unwrap_err().iter().map(|error| error.kind).collect::<Vec<_>>();
    assert_eq!(kinds("preview = 3\n[app]\nname = \"shop\"\n"), [DecodeErrorKind::WrongType]);
}

#[test]
fn a_spelling_of_the_language_before_is_refused_and_the_new_one_is_named() {
    let found = errors("[tier.pro]\ncpu = \"2\"\nreplicas = { web = 2 }\nconnections = { main = 2 }\n");
    let helps = ["`quota.cpu`", "`service.NAME.replicas`", "`database.NAME.connections`"];
    assert_eq!(found.len(), helps.len(), "{found:?}");
    for help in helps {
        assert!(
            found.iter().any(|(kind, text)| *kind == DecodeErrorKind::UnknownKey && text.contains(help)),
            "{help}: {found:?}"
        );
    }
    assert!(errors("[stage.dev]\nreplicas = { web = 2 }\n")[0].1.contains("`service.NAME.replicas`"));
}

/// A definition of language 1, and what says the same in language 2 for everybody but the tenants of a stage.
const FIRST: &str = r#"
[app]
name = "shop"
[service.web]
command = ["web"]
[service.worker]
command = ["worker"]
[database.main]
[tier.pro]
cpu = "2"
memory = "1Gi"
pods = 9
replicas = { web = 2, worker = 3 }
connections = { main = 40 }
[tier.free]
[stage.production]
replicas = { web = 4 }
backup = { schedule = "0 2 * * *" }
"#;
const SECOND: &str = r#"
[app]
name = "shop"
[service.web]
command = ["web"]
[service.worker]
command = ["worker"]
[database.main]
[tier.pro]
quota = { cpu = "2", memory = "1Gi", pods = 9 }
service.web.replicas = 2
service.worker.replicas = 3
database.main.connections = 40
[tier.free]
[stage.production]
service.web.replicas = 4
backup = { schedule = "0 2 * * *" }
"#;

/// Everything of an app but the places in its source.
fn meaning(app: &App) -> String {
    let text = format!("{app:#?}");
    let placed = |line: &&str| !["span", "start", "end"].iter().any(|word| line.trim_start().starts_with(word));
    text.lines().filter(placed).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_source_of_language_1_means_what_it_meant() {
    let first = |environment: &Environment| {
        let reading = read(Language::V1, FIRST, Some(environment));
        assert_eq!(reading.errors, []);
        reading.app.unwrap()
    };
    assert_eq!(meaning(&first(&stage("production"))), meaning(&app(SECOND, &stage("production"))));
    assert_eq!(first(&stage("production")).services["web"].replicas.value, 4);
    // What a stage said then was not its tenants'.
    let pro = first(&tenant("production", Some("pro")));
    assert_eq!((pro.services["web"].replicas.value, pro.services["worker"].replicas.value), (2, 3));
    assert_eq!(
        (pro.databases["main"].connections.value, figures(&pro.quota)),
        (40, (Some(2000), Some(1 << 30), Some(9)))
    );
    assert!(pro.backup.is_none());
    let free = first(&tenant("production", Some("free")));
    assert_eq!((free.services["web"].replicas.value, free.quota.is_empty()), (1, true));
    assert_eq!(meaning(&first(&Environment::Preview)), meaning(&app(SECOND, &Environment::Preview)));
}

#[test]
fn a_route_of_language_2_serves_the_one_host_that_it_had() {
    let second = "[app]\nname = \"shop\"\n[service.web]\ncommand = [\"web\"]\n\
                  [route.web]\nservice = \"web\"\nhost = \"${stack.name}.example.org\"\n\
                  [stage.production]\nroute.web.host = \"www.example.org\"\n\
                  [preview]\nroute.web.host = \"pr-${stack.name}.example.org\"\n";
    let third = second
        .replace("host = \"${stack.name}.example.org\"", "hosts = [\"${stack.name}.example.org\"]")
        .replace("host = \"www.example.org\"", "hosts = [\"www.example.org\"]")
        .replace("host = \"pr-${stack.name}.example.org\"", "hosts = [\"pr-${stack.name}.example.org\"]");
    for environment in [stage("production"), stage("dev"), Environment::Preview] {
        let reading = read(Language::V2, second, Some(&environment));
        assert_eq!(reading.errors, []);
        assert_eq!(meaning(&reading.app.unwrap()), meaning(&app(&third, &environment)));
    }
    let told = &errors("[route.x]\nservice = \"web\"\nhost = \"a.example.org\"\n")[0].1;
    assert!(told.contains("since language 3") && told.contains("hosts"), "{told}");
}

#[test]
fn a_database_of_language_3_has_the_volume_that_it_had() {
    let third = "[app]\nname = \"shop\"\n[database.main]\nstorage = \"20Gi\"\nconnections = 20\n\
                 [stage.production]\ndatabase.main.storage = \"200Gi\"\n[preview]\ndatabase.main.storage = \"1Gi\"\n";
    let fourth = third.replace("main.storage", "main.server.storage").replace("\nstorage = ", "\nserver.storage = ");
    for environment in [stage("production"), stage("dev"), Environment::Preview] {
        for language in [Language::V1, Language::V2, Language::V3] {
            let reading = read(language, third, Some(&environment));
            assert_eq!(reading.errors, []);
            assert_eq!(meaning(&reading.app.unwrap()), meaning(&app(&fourth, &environment)));
        }
    }
    let told = &errors("[database.main]\nstorage = \"20Gi\"\n")[0].1;
    assert!(told.contains("since language 4") && told.contains("server.storage"), "{told}");
}

#[test]
fn a_pooler_is_taken_away_where_an_environment_has_none() {
    let source = "[app]\nname = \"shop\"\n[database.main]\nserver.pooler = { copies = 2 }\n[database.main.server.parameters]\nwork_mem = \"8MB\"\n\
                  [stage.dev]\ndatabase.main.server.pooler = \"off\"\n[preview]\ndatabase.main.server.parameters.work_mem = \"off\"\n";
    assert!(app(source, &stage("production")).databases["main"].server.pooler.is_some());
    assert!(app(source, &stage("dev")).databases["main"].server.pooler.is_none());
    // A parameter is no table: what it is called or has for a value takes nothing away.
    assert_eq!(app(source, &Environment::Preview).databases["main"].server.parameters["work_mem"].value, "off");
}

#[test]
fn files_that_only_one_environment_names_are_asked_for() {
    let source = "[app]\nname = \"shop\"\n[manifest.more]\nfile = \"base.yaml\"\n[stage.dev]\nmanifest.more.file = \"dev.yaml\"\n";
    let files = Files::new();
    let document = Document::parse(Language::NEWEST, source, &files);
    assert_eq!(document.files().into_iter().collect::<Vec<_>>(), ["base.yaml", "dev.yaml"]);
}
