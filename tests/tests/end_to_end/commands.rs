//! What the commands say that need a platform: each with a success and its likeliest failures, as a person sees them who calls them one after
//! the other. What commands say without a platform is in the tests of the command line.
//!
//! An ordinary user runs the platform, whoever runs the tests: what is not enforced on this machine is then the same everywhere.

mod transcript;

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::Result;
use freehold_end_to_end::{App, Installation, within};

use transcript::Transcript;

/// A little of everything. The job waits for a file where a version is named after it, so that tests decide how long a deploy takes.
const DEFINITION: &str = r#"[app]
name = "probe"

# freehold:allow FH0213: a transcript, whose data may be lost
[database.main]

[secret.api-key]

[secret.session]
generate = { bytes = 32 }

# freehold:allow FH0209: one copy is enough for a transcript
[service.web]
build         = { artifact = ["program.py", "version"] }
command       = ["python3", "program.py"]
port          = 8080
health        = { ready = "/health/ready" }
start_timeout = "30s"
settle        = "0s"

[service.web.env]
DATABASE_URL = "${database.main.url}"
API_KEY      = "${secret.api-key}"
SESSION      = "${secret.session}"
FAULT        = "none"

[job.migrate]
service = "web"
command = ["sh", "-c", "echo migrating"]

[job.report]
service  = "web"
command  = ["true"]
schedule = "0 0 1 1 *"

[route.web]
service = "web"
hosts   = ["${stack.name}.${target.domain}"]

[tier.free]

[tier.pro]
"#;

/// Such an app in a folder that everybody may read.
fn app() -> Result<App> {
    let app = App::with(DEFINITION)?;
    fs::set_permissions(app.path(), Permissions::from_mode(0o755))?;
    Ok(app)
}

#[test]
fn commands_say_what_they_did_and_why_they_did_not() -> Result<()> {
    let mut freehold = Installation::new()?;
    freehold.as_ordinary_user()?;
    let app = app()?;
    let mut said = Transcript::new(freehold, app.path())?;
    start(&mut said)?;
    without_stacks(&mut said)?;
    first_deploy(&mut said)?;
    one_stack(&mut said)?;
    versions(&mut said, &app)?;
    failures(&mut said, &app)?;
    while_another_works(&mut said, &app)?;
    targets(&mut said)?;
    the_end(&mut said)?;
    said.compare("with_platform_")
}

/// The platform, and why a second one doesn't start.
fn start(said: &mut Transcript) -> Result<()> {
    let port = said.freehold().router_port();
    let up = format!("up --detach --port {port} --insecure-shared-user");
    said.call(0, &up)?;
    said.call(1, &up)?;
    said.call(1, "up")?;
    let other = said.freehold().path().join("other").display().to_string();
    said.call(1, &format!("up --data-dir {other} --postgres-bin {other}"))?;
    said.call(1, &format!("up --detach --data-dir {other} --postgres-bin {other}"))
}

/// Nothing was deployed yet.
fn without_stacks(said: &mut Transcript) -> Result<()> {
    said.call(0, "list")?;
    said.call(0, "list --json")?;
    said.call(1, "status --tenant acme")?;
    said.call(1, "status --tenant acme --json")?;
    said.alike(
        1,
        &[
            "status --tenant acme",
            "logs --tenant acme",
            "history --tenant acme",
            "rollback --tenant acme --yes",
            "destroy --tenant acme --confirm acme",
            "secret list --tenant acme",
            "secret rotate session --tenant acme",
            "db shell --tenant acme",
        ],
    )?;
    said.call(1, "plan --tenant acme --tier pro")?;
    said.alike(1, &["plan --tenant acme --tier pro", "deploy --tenant acme --tier pro --yes"])?;
    said.call_with_input(2, "secret set api-key --tenant acme", "\n")?;
    said.call_with_input(1, "secret set api-kye --tenant acme", "a value")?;
    said.call_with_input(0, "secret set api-key --tenant acme", "a value")?;
    said.call(1, "deploy --all-tenants --yes")
}

/// From a plan to the first revision.
fn first_deploy(said: &mut Transcript) -> Result<()> {
    said.call(2, "plan --tenant Acme")?;
    said.call(2, "plan --tenant acme")?;
    said.call(2, "plan --tenant acme --tier por")?;
    said.call(2, "plan --stage production --tier pro")?;
    said.call(1, "plan --tenant acme --target prod")?;
    said.call(2, "plan nowhere --tenant acme")?;
    said.call(0, "plan --tenant acme --tier pro")?;
    said.call(2, "deploy --tenant acme --tier pro")?;
    said.call(2, "deploy --tenant acme --tier pro --json")?;
    said.call(0, "deploy --tenant acme --tier pro --yes")?;
    said.call(0, "deploy --tenant acme --yes")?;
    said.call(0, "deploy --tenant acme --yes --json")?;
    said.call(0, "plan --tenant acme")
}

/// What there is to ask about a stack.
fn one_stack(said: &mut Transcript) -> Result<()> {
    said.call(0, "status --tenant acme")?;
    said.call(1, "status --tenant acne")?;
    said.call(1, "status --stage acme")?;
    said.call(1, "status --tenant acme --target prod")?;
    said.call(0, "list")?;
    said.call(0, "list --app other")?;
    said.call(1, "list --target prod")?;
    said.call(0, "history --tenant acme")?;
    said.call(0, "logs --tenant acme")?;
    said.call(0, "logs --tenant acme --job migrate")?;
    said.call(0, "logs --tenant acme --job report")?;
    said.call(1, "logs --tenant acme --job migrat")?;
    said.call(1, "logs --tenant acme --service wep")?;
    said.call(0, "secret list --tenant acme")?;
    said.call(0, "secret rotate session --tenant acme")?;
    said.call(0, "secret rotate database.main --tenant acme")?;
    said.call(2, "secret rotate api-key --tenant acme")?;
    said.call(1, "secret rotate sesion --tenant acme")?;
    said.call(0, "db shell --tenant acme -- -XAtc VALUES(1)")?;
    said.call(1, "db shell --tenant acme -- -XAtc VALUES(1")?;
    said.call(1, "db shell --tenant acme --database mian")?;
    said.call(1, "rollback --tenant acme --yes")?;
    said.call(1, "rollback 7 --tenant acme --yes")
}

/// A second version, by a plan in a file, and back.
fn versions(said: &mut Transcript, app: &App) -> Result<()> {
    app.version("2")?;
    let file = said.freehold().path().join("plan.json").display().to_string();
    said.call(0, &format!("plan --tenant acme --out {file}"))?;
    said.call(2, &format!("deploy --plan {file}"))?;
    said.call(0, &format!("deploy --plan {file} --yes"))?;
    said.call(1, &format!("deploy --plan {file} --yes"))?;
    said.call(2, "deploy --plan nowhere.json --yes")?;
    said.call(2, "rollback --tenant acme")?;
    said.call(0, "rollback --tenant acme --yes")?;
    said.call(0, "history --tenant acme")
}

/// Deploys that fail, and what is said of them afterwards.
fn failures(said: &mut Transcript, app: &App) -> Result<()> {
    let fault = |from: &str, to: &str| app.redefine(from, to);
    fault("echo migrating", "echo column name already exists >&2; exit 4")?;
    said.call(1, "deploy --tenant acme --yes")?;
    said.call(1, "status --tenant acme")?;
    said.call(0, "list")?;
    said.call(0, "history --tenant acme")?;
    said.call(1, "doctor")?;
    fault("echo column name already exists >&2; exit 4", "echo migrating")?;
    fault("\"none\"", "\"exit\"")?;
    said.call(1, "deploy --tenant acme --yes")?;
    fault("\"exit\"", "\"none\"")?;
    let program = "\"python3\", \"program.py\"";
    // Nobody listens: each probe is refused at once, however busy the machine is.
    fault(program, "\"sleep\", \"600\"")?;
    fault("\"30s\"", "\"2s\"")?;
    said.call(1, "deploy --tenant acme --yes")?;
    fault("\"2s\"", "\"30s\"")?;
    fault("\"sleep\", \"600\"", "\"pyhton3\", \"program.py\"")?;
    said.call(1, "deploy --tenant acme --yes")?;
    fault("\"pyhton3\", \"program.py\"", program)?;
    fault("\"program.py\", \"version\"", "\"program.py\", \"verison\"")?;
    said.call(2, "deploy --tenant acme --yes")?;
    fault("\"program.py\", \"verison\"", "\"program.py\", \"version\"")?;
    fault("settle ", "setle ")?;
    said.call(2, "deploy --tenant acme --yes")?;
    fault("setle ", "settle ")
}

/// What is refused, and what is said, while an operation works on the stack: its job waits for a file.
fn while_another_works(said: &mut Transcript, app: &App) -> Result<()> {
    let go = said.freehold().path().join("go");
    let wait = format!("until test -e {}; do sleep 0.05; done", go.display());
    app.redefine("echo migrating", &format!("echo first; {wait}"))?;
    let first = said.begin("deploy --tenant acme --yes")?;
    the_job_says(said, "first");
    said.call(0, "status --tenant acme")?;
    said.call(0, "list")?;
    said.call(1, "destroy --tenant acme --confirm acme")?;
    said.call(1, "rollback --tenant acme --yes")?;
    said.call(0, "doctor")?;
    let mut second = said.begin("deploy --tenant acme --yes")?;
    second.says("Following operation")?;
    fs::write(&go, "")?;
    said.ended(0, first, "")?;
    said.ended(0, second, "     (while the same is under way)")?;

    fs::remove_file(&go)?;
    app.version("3")?;
    app.redefine("echo first", "echo second")?;
    let mut stopped = said.begin("deploy --tenant acme --yes")?;
    the_job_says(said, "second");
    // It hears Ctrl-C as soon as it follows the operation.
    stopped.says("✓ report")?;
    stopped.interrupt()?;
    said.ended(1, stopped, "     (and Ctrl-C while the job runs)")?;
    said.call(1, "status --tenant acme")?;
    app.redefine(&format!("echo second; {wait}"), "echo migrating")
}

/// Waits until the job has printed something.
fn the_job_says(said: &Transcript, text: &str) {
    let line = format!("│ {text}\n");
    within(Duration::from_secs(60), "the job runs", || {
        let log = said.freehold().run(["logs", "--tenant", "acme", "--job", "migrate"]).ok()?;
        log.stdout.contains(&line).then_some(())
    });
}

/// This machine is the only target there is.
fn targets(said: &mut Transcript) -> Result<()> {
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let kubeconfig = said.freehold().path().join("kubeconfig");
    let file = kubeconfig.display();
    said.call(0, "target list")?;
    said.call(0, "target check local")?;
    said.call(1, "target check lokal")?;
    said.call(1, "target check prod")?;
    said.call(2, "target remove local --yes")?;
    said.call(1, "target remove prod --yes")?;
    let add = format!("target add prod --domain example.org --gateway infra/main --kubeconfig {file}");
    said.call(2, "target add prod")?;
    said.call(2, &add)?;
    fs::write(
        &kubeconfig,
        format!(
            "{{apiVersion: v1, kind: Config, current-context: prod, contexts: [{{name: prod, context: {{cluster: prod, user: prod}}}}],\n \
             clusters: [{{name: prod, cluster: {{server: 'http://{closed}'}}}}], users: [{{name: prod, user: {{token: x}}}}]}}\n"
        ),
    )?;
    fs::set_permissions(&kubeconfig, Permissions::from_mode(0o644))?;
    said.call(2, &add)?;
    let url = "postgresql://freehold:secret@127.0.0.1:1/postgres";
    said.call_with_input(1, &format!("{add} --database-url-stdin"), url)
}

/// Everything goes.
fn the_end(said: &mut Transcript) -> Result<()> {
    said.call(2, "deploy --all-tenants")?;
    said.call(0, "deploy --all-tenants --yes")?;
    said.call(2, "destroy --tenant acme")?;
    said.call(2, "destroy --tenant acme --confirm acne")?;
    said.call(0, "destroy --tenant acme --confirm acme")?;
    said.call(1, "destroy --tenant acme --confirm acme")?;
    said.call(0, "doctor")?;
    said.call(0, "down")?;
    said.call(1, "down")
}
