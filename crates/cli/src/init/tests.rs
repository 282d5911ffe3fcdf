//! Folders as teams have them, and as nobody should.

use std::fs;
use std::path::Path;

use freehold_check::Diagnostic;
use freehold_spec::App;
use tempfile::TempDir;

use super::{Made, make};

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// What is made of a folder: it has no error.
#[track_caller]
fn made(path: &Path) -> (App, Made) {
    let made = make(path).unwrap().unwrap();
    let (app, found) = freehold_check::source(&made.text);
    let errors: Vec<&Diagnostic> = found.iter().filter(|found| found.is_error()).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{}", made.text);
    (app.unwrap(), made)
}

const COMPOSE: &str = r#"
x-shared: &shared
  environment: &environment
    DATABASE_URL: postgres://shop:hunter2@db:5432/shop?sslmode=disable
    CACHE_URL: redis://cache:6379/0
    LOG_LEVEL: ${LOG_LEVEL:-info}
    JWT_SECRET: ${JWT_SECRET}
    STRIPE_SECRET_KEY: sk_live_51Habcdefgh
services:
  web:
    build: .
    image: ghcr.io/acme/shop:1.2
    command: node server.js
    ports: ["127.0.0.1:8080:3000"]
    depends_on:
      migrate: { condition: service_completed_successfully }
    healthcheck: { test: ["CMD", "curl", "-f", "http://localhost:3000/healthz"] }
    environment:
      <<: *environment
      API_URL: http://api:9000/v1
      MAIL_HOST: mail
      PORT: 3000
  api:
    image: ghcr.io/acme/shop-api:1.2
    command: ["shop-api", "--price", "${CURRENCY:-EUR}"]
    restart: no
    environment:
      - DB_HOST=db
      - DB_PORT=5432
      - DB_USER=shop
      - DB_PASSWORD=hunter2
      - DB_NAME=shop
      - NOT A NAME=1
  migrate: { build: ., command: npm run migrate, environment: *environment }
  db: { image: "docker.io/pgvector/pgvector:pg16" }
  cache: { image: "valkey/valkey:8" }
  mail: { image: "axllent/mailpit" }
"#;

#[test]
fn a_compose_file_becomes_services_databases_caches_and_jobs() {
    let folder = folder(&[
        ("compose.yaml", COMPOSE),
        ("Dockerfile", "FROM node:22\nEXPOSE 3000\nCMD [\"node\", \"server.js\"]\n"),
    ]);
    let (app, made) = made(folder.path());
    assert_eq!(app.services.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["api", "web"]);
    assert_eq!(app.databases["db"].extensions[0].value, "vector");
    for line in [
        "[cache.cache]",
        "image   = \"ghcr.io/acme/shop\"",
        "port    = 3000",
        "port    = 9000",
        "health  = { ready = \"/healthz\" }",
        "DATABASE_URL = \"${database.db.url}\"",
        "DATABASE_URL = \"${database.db.migration_url}\"",
        "CACHE_URL = \"${cache.cache.url}\"",
        "API_URL = \"${service.api.url}/v1\"",
        "DB_PASSWORD = \"${database.db.password}\"",
        "DB_NAME = \"${database.db.name}\"",
        "LOG_LEVEL = \"info\"",
        "JWT_SECRET = \"${secret.jwt-secret}\"",
        "command = [\"shop-api\", \"--price\", \"EUR\"]",
        "[job.migrate]",
        "hosts   = [\"${stack.name}.${target.domain}\"]",
    ] {
        assert!(made.text.contains(line), "{line}\n{}", made.text);
    }
    // Values of secrets stay where they are.
    assert!(!made.text.contains("hunter2") && !made.text.contains("sk_live"), "{}", made.text);
    assert!(app.secrets["jwt-secret"].generate.is_some() && app.secrets["stripe-secret-key"].generate.is_none());
    assert!(made.guesses.iter().any(|guess| guess.contains("mailpit")), "{:?}", made.guesses);
}

#[test]
fn a_folder_without_a_compose_file_becomes_one_service() {
    let node = folder(&[
        (
            "package.json",
            r#"{"name": "@acme/shop", "scripts": {"start": "node server.js", "build": "tsc"}, "dependencies": {"a": "1"}}"#,
        ),
        ("package-lock.json", "{}"),
        ("server.js", ""),
        (
            ".env.example",
            "DATABASE_URL=postgres://localhost/shop\nSESSION_SECRET=changeme\nSENTRY_DSN=\nLOG_LEVEL=info\nPORT=3000\n",
        ),
    ]);
    let (app, made) = made(node.path());
    assert_eq!(app.name.as_str(), "acme-shop");
    for line in [
        "build   = { command = [\"sh\", \"-c\", \"npm ci && npm run build\"], artifact = [\"package-lock.json\", \"package.json\", \"server.js\", \"node_modules\"] }",
        "command = [\"node\", \"server.js\"]",
        "reads   = [\"PORT?\", \"DATABASE_URL\", \"LOG_LEVEL\", \"SESSION_SECRET\", \"SENTRY_DSN?\"]",
        "SESSION_SECRET = \"${secret.session-secret}\"",
        "DATABASE_URL = \"${database.main.url}\"",
    ] {
        assert!(made.text.contains(line), "{line}\n{}", made.text);
    }
    let python = folder(&[
        ("requirements.txt", "flask\n"),
        ("app.py", ""),
        (
            "Procfile",
            "web: gunicorn app:app --bind 0.0.0.0:$PORT\nworker: python3 worker.py\nrelease: python3 migrate.py\n",
        ),
        (".env.example", "REDIS_URL=redis://localhost\nDATABASE_URL=postgresql://localhost/x\n"),
    ]);
    let (app, made) = self::made(python.path());
    assert_eq!(app.services.len(), 2);
    assert!(app.jobs.contains_key("release") && app.services["worker"].port.is_none());
    assert!(
        made.text.contains("command = [\"sh\", \"-c\", \"gunicorn app:app --bind 0.0.0.0:$PORT\"]"),
        "{}",
        made.text
    );
    let release = &made.text[made.text.find("[job.release.env]").unwrap()..];
    assert!(
        release.contains("DATABASE_URL = \"${database.main.migration_url}\"") && release.contains("${cache.main.url}")
    );
    let rust = folder(&[("Cargo.toml", "[package]\nname = \"tiny\"\n"), ("static/a", "")]);
    assert!(self::made(rust.path()).1.text.contains("artifact = [\"target/release/tiny\", \"static\"]"));
    let docker =
        folder(&[("Dockerfile", "FROM a\nCMD [\"a\"]\nFROM b\nEXPOSE 80/tcp\nENTRYPOINT [\"b\"]\nCMD [\"--x\"]\n")]);
    assert!(self::made(docker.path()).1.text.contains("command = [\"b\", \"--x\"]\nport    = 80"));
    // An image that says itself what it runs.
    let own = folder(&[("Dockerfile", "FROM nginx\n")]);
    assert!(!self::made(own.path()).1.text.contains("command"));
}

#[test]
fn the_examples_and_fixtures_of_this_repository_can_be_made_anew() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for path in ["examples/guestbook", "examples/noticeboard/app", "tests/fixtures/app", "bench/caches"] {
        if let Some(made) = make(&top.join(path)).unwrap() {
            let errors = freehold_check::source(&made.text).1.into_iter().filter(Diagnostic::is_error).count();
            assert_eq!(errors, 0, "{path}:\n{}", made.text);
        }
    }
}

#[test]
fn nothing_to_go_by_makes_nothing() {
    for files in [&[][..], &[("README.md", "hello")], &[("compose.yaml", "services: {}")], &[("compose.yaml", "- a")]] {
        assert!(make(folder(files).path()).unwrap().is_none(), "{files:?}");
    }
}

#[test]
fn a_folder_of_somebody_else_is_read_with_care() {
    let dockerfile = ("Dockerfile", "FROM a\nCMD [\"a\"]\n");
    // Links out of the folder, and what is no file, too large or no text.
    let outside = folder(&[("secret", "{\"name\": \"stolen\", \"scripts\": {\"start\": \"stolen\"}}")]);
    let inside = folder(&[dockerfile]);
    std::os::unix::fs::symlink(outside.path().join("secret"), inside.path().join("package.json")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        inside.path().join("Procfile"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    fs::write(inside.path().join(".env.example"), [0xff, 0xfe, 0]).unwrap();
    fs::write(inside.path().join("requirements.txt"), "a\n".repeat(1 << 20)).unwrap();
    let (_, made) = made(inside.path());
    assert!(!made.text.contains("stolen"), "{}", made.text);
    let said = made.guesses.join("\n");
    for why in ["package.json leads out", "Procfile is no file", ".env.example is no text"] {
        assert!(said.contains(why), "{said}");
    }
    // Aliases that come to gigabytes, and levels without end.
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 9].join(", ")));
    }
    for yaml in [bomb, format!("services: {}", "[".repeat(50_000)), "\u{0}".to_owned(), "services: *nobody".to_owned()]
    {
        let folder = folder(&[dockerfile, ("compose.yaml", &yaml)]);
        let (_, made) = self::made(folder.path());
        assert!(made.guesses.iter().any(|guess| guess.starts_with("compose.yaml is left out")), "{:?}", made.guesses);
    }
    // Names and values that would like to be more.
    let yaml = "services:\n  \"a\\\"]\\n[service.b]\": { image: \"x\\\"y\", command: \"a\\nb\" }\n  \"\\u001b[2J\": { image: x, command: a }\n  web:\n    image: ghcr.io/acme/web\n    command: [\"w\", \"\\\"]\\n[tier.x]\"]\n    build: { context: ../../.. }\n    ports: [99999, -1, 8080]\n    environment: { \"A\\nB\": x, C: \"\\\"\\n[stage.x]\", D: \"${${x}\", E: \"$${secret.x}\", VITE_API_SECRET: s, F: \"http://nobody:1\", \"\": \"\" }\n";
    let odd = folder(&[("compose.yaml", yaml), ("package.json", "{\"name\": \"a\\\"\\n[tier.x]\"}")]);
    let (app, made) = self::made(odd.path());
    assert!(app.tiers.is_empty() && app.stages.is_empty(), "{}", made.text);
    assert!(!made.text.contains('\u{1b}') && made.guesses.iter().all(|guess| !guess.contains(char::is_control)));
}
