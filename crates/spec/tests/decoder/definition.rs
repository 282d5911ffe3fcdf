//! What a good definition means.

use freehold_spec::app::{Encoding, Question, Retry, Update, When};
use freehold_spec::part::database;
use freehold_spec::{App, Output, Reference, Seconds, Segment, decode};

use super::{CLUSTER, GUESTBOOK};

fn minimal(more: &str) -> App {
    let source = format!("[app]\nname = \"small\"\n[service.web]\ncommand = [\"web\"]\n{more}");
    decode(&source).expect("the definition is right")
}

#[test]
fn the_guestbook_is_read_as_it_is_written() {
    let app = decode(GUESTBOOK).unwrap();
    assert_eq!(app.name.as_str(), "guestbook");
    let database = &app.databases["main"];
    assert_eq!((database.connections.value, database.extensions[0].as_str()), (20, "pgcrypto"));
    let generate = app.secrets["session-key"].generate.unwrap();
    assert_eq!((generate.bytes, generate.encoding), (32, Encoding::Base64Url));
    let web = &app.services["web"];
    assert_eq!(web.command.as_ref().unwrap().value, ["guestbook", "serve"]);
    assert_eq!(web.port.as_ref().unwrap().value, 8080);
    assert_eq!(web.health.live.as_ref().unwrap().question(), Question::Http("/health/live"));
    assert_eq!((web.cpu.request.0, web.cpu.limit.0, web.memory.limit.0), (100, 500, 256 << 20));
    let build = web.build.as_ref().unwrap();
    assert_eq!(build.command.as_ref().unwrap().len(), 3);
    assert_eq!(
        build.artifact.iter().map(|file| file.as_str()).collect::<Vec<_>>(),
        ["target/release/guestbook", "static"]
    );
    let reads = web.reads.as_ref().unwrap();
    assert_eq!((reads.len(), reads[4].name.as_str(), reads[4].optional), (5, "LOG_LEVEL", true));
    assert!(!reads[0].optional);
    let url = Reference::Output(
        "main".parse().unwrap(),
        Output::Database(database::Output::Connection(database::Role::App, database::Connection::Url)),
    );
    assert_eq!(web.env["DATABASE_URL"].references().next().unwrap().value, url);
    assert_eq!(app.jobs["migrate"].timeout.value, Seconds(600));
    assert_eq!(app.jobs["digest"].schedule.as_ref().unwrap().as_str(), "0 6 * * *");
    let paths = &app.routes["web"].paths;
    assert_eq!(
        (paths[0].prefix.as_str(), paths[0].timeout.value, paths[0].retries.value),
        ("/events", Seconds(21_600), 0)
    );
    assert_eq!(app.tiers.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["free", "pro"]);
    assert!(app.backup.is_none() && app.quota.is_empty() && app.stages.contains_key("production"));
}

#[test]
fn what_a_cluster_needs_is_read_as_it_is_written() {
    let app = decode(CLUSTER).unwrap();
    let database = &app.databases["main"];
    assert_eq!(database.template.as_ref().map(|name| name.as_str()), Some("reports"));
    assert_eq!(
        database.collation.as_ref().map(|collation| collation.value.to_string()).as_deref(),
        Some("de_AT.UTF-8")
    );
    assert_eq!(database.encoding.as_ref().map(|encoding| encoding.value.as_str()), Some("UTF8"));
    let server = &database.server;
    assert_eq!((server.storage.value.0, server.wal_storage.as_ref().unwrap().value.0), (20 << 30, 5 << 30));
    assert_eq!((server.version.as_ref().unwrap().value.0, server.copies.value), (18, 3));
    assert_eq!((server.cpu.value.limit.0, server.memory.value.request.0), (8000, 4 << 30));
    let pooler = server.pooler.as_ref().unwrap();
    assert_eq!((pooler.copies.value, pooler.mode.as_str(), pooler.clients.value), (2, "session", 500));
    assert_eq!(server.parameters["autovacuum"].value, "off");
    let web = &app.services["web"];
    assert_eq!((web.user.value, web.internet), (1000, true));
    assert_eq!(web.writable.iter().map(|path| path.as_str()).collect::<Vec<_>>(), ["/tmp", "/var/cache/shop"]);
    let autoscale = web.autoscale.as_ref().unwrap();
    assert_eq!((autoscale.max.value, autoscale.cpu.value), (6, 70));
    let exporter = &web.sidecars["exporter"];
    assert_eq!(exporter.image.as_ref().unwrap().as_str(), "quay.io/prometheus/statsd-exporter:v0.28.0");
    assert_eq!(exporter.command.as_ref().unwrap().len(), 2);
    assert_eq!((exporter.port.as_ref().unwrap().value, exporter.cpu.limit.0), (9102, 50));
    assert_eq!((exporter.memory.request, exporter.memory.limit.0), (exporter.memory.limit, 32 << 20));
    assert_eq!(exporter.env["TOKEN"].references().count(), 1);
    let assets = &web.init["assets"];
    assert!(assets.command.is_none() && assets.image.as_ref().unwrap().contains("@sha256:"));
    assert_eq!(
        (assets.cpu.value.to_string(), assets.memory.value.to_string()),
        ("100m..500m".into(), "64Mi..256Mi".into())
    );
    let data = &app.services["index"].volumes["data"];
    assert_eq!((data.path.as_str(), data.size.value.to_string()), ("/var/lib/index", "5Gi".to_owned()));
    let migrate = &app.jobs["migrate"];
    assert_eq!((migrate.cpu.as_ref().unwrap().limit.0, migrate.memory.as_ref().unwrap().limit.0), (1000, 1 << 30));
}

#[test]
fn what_is_left_out_has_the_documented_defaults() {
    let app = minimal(
        "[database.main]\n[secret.key]\ngenerate = {}\n[job.a]\nservice = \"web\"\ncommand = [\"a\"]\n[route.web]\nservice = \"web\"\nhosts = [\"x\"]",
    );
    let web = &app.services["web"];
    assert_eq!((web.cpu.value.to_string(), web.memory.value.to_string()), ("100m..500m".into(), "64Mi..256Mi".into()));
    assert_eq!((web.replicas.value, web.update, web.port.is_none()), (1, Update::Rolling, true));
    assert_eq!(
        (web.start_timeout.value, web.drain.value, web.stop_timeout.value),
        (Seconds(60), Seconds(30), Seconds(10))
    );
    assert_eq!((web.reads.is_none(), web.env.is_empty(), web.health.ready.is_none()), (true, true, true));
    assert_eq!((web.user.value, web.internet, web.autoscale.is_none()), (65_532, false, true));
    assert!(web.writable.is_empty() && web.volumes.is_empty() && web.sidecars.is_empty() && web.init.is_empty());
    assert!(app.jobs["a"].cpu.is_none() && app.jobs["a"].memory.is_none());
    let database = &app.databases["main"];
    assert_eq!((database.connections.value, database.statement_timeout), (10, Seconds(30)));
    assert_eq!(database.server.storage.value.to_string(), "1Gi");
    let generate = app.secrets["key"].generate.unwrap();
    assert_eq!((generate.bytes, generate.encoding), (32, Encoding::Base64Url));
    assert_eq!((app.jobs["a"].timeout.value, app.jobs["a"].retry), (Seconds(600), Retry::Ask));
    let paths = &app.routes["web"].paths;
    assert_eq!(
        (paths.len(), paths[0].prefix.as_str(), paths[0].timeout.value, paths[0].retries.value),
        (1, "/", Seconds(30), 0)
    );
}

#[test]
fn a_value_that_is_left_out_stands_where_its_table_does() {
    let source = "[app]\nname = \"small\"\n[service.web]\ncommand = [\"web\"]\n";
    let app = decode(source).unwrap();
    let span = app.services["web"].memory.span;
    assert_eq!(&source[span.start..span.end], "[service.web]");
}

#[test]
fn every_reference_of_the_list_is_read() {
    let all = [
        "database.a.url",
        "database.a.migration_url",
        "database.a.name",
        "service.b.url",
        "route.c.url",
        "secret.d",
        "stack.name",
        "stack.kind",
        "stack.id",
        "tier.name",
        "target.domain",
    ];
    let text = all.map(|one| format!("${{{one}}}")).join(" ");
    let app = minimal(&format!("[service.web.env]\nALL = \"{text}\""));
    let template = &app.services["web"].env["ALL"];
    assert_eq!(template.references().map(|reference| reference.value.to_string()).collect::<Vec<_>>(), all);
}

#[test]
fn a_reference_knows_its_place() {
    let source = "[app]\nname = \"small\"\n[service.web]\ncommand = [\"web\"]\nenv = { A = \"ä ${stack.name}\" }";
    let app = decode(source).unwrap();
    let span = app.services["web"].env["A"].references().next().unwrap().span;
    assert_eq!(&source[span.start..span.end], "${stack.name}");
}

#[test]
fn two_dollars_stand_for_the_characters_themselves() {
    let app = minimal("[service.web.env]\nA = 'cost: $5, $${HOME}, ${stack.name}$'");
    let segments = &app.services["web"].env["A"].value.segments;
    assert_eq!(segments.len(), 3);
    assert_eq!(segments[0], Segment::Text("cost: $5, ${HOME}, ".to_owned()));
    assert_eq!(segments[2], Segment::Text("$".to_owned()));
}

#[test]
fn a_shell_may_use_its_own_variables_in_a_command() {
    let app = minimal("[job.a]\nservice = \"web\"\ncommand = [\"sh\", \"-c\", \"echo ${HOME}\"]");
    assert_eq!(app.jobs["a"].command.value[2], "echo ${HOME}");
}

#[test]
fn a_job_runs_when_it_says_so_and_else_as_its_schedule_says() {
    let runs = |more: &str| {
        let app = minimal(&format!("[job.a]\nservice = \"web\"\ncommand = [\"a\"]\n{more}"));
        app.jobs["a"].runs()
    };
    assert_eq!(runs(""), When::Revision);
    assert_eq!(runs("schedule = \"0 6 * * *\""), When::Schedule);
    for (word, when) in [("revision", When::Revision), ("once", When::Once), ("demand", When::Demand)] {
        assert_eq!(runs(&format!("when = {word:?}")), when);
    }
}
