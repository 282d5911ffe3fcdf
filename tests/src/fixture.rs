//! Data directories of earlier releases (`tests/fixtures/data-N`, see the README there).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::app::App;
use crate::call::Run;
use crate::installation::Installation;

/// Where the data directory was when the fixture was made.
const MADE_AT: &str = "/var/lib/freehold-fixture/data";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The app that the fixtures' stacks run.
///
/// # Errors
/// It can't be read or written.
pub fn app() -> Result<App> {
    let app = App::with(&fs::read_to_string(fixtures().join("app/freehold.toml"))?)?;
    fs::copy(fixtures().join("app/program.py"), app.path().join("program.py"))?;
    Ok(app)
}

/// A data directory of an earlier release, as its program had left it when it was killed. Nothing runs.
pub struct Restored {
    /// The installation, to be started.
    pub freehold: Installation,
    /// Its stacks' users have the numbers that they had then, so there is one of them on a machine at a time.
    _turn: File,
}

impl Restored {
    /// # Errors
    /// It can't be restored.
    pub fn new(name: &str) -> Result<Self> {
        let turn = File::create(std::env::temp_dir().join("freehold-fixture.lock"))?;
        turn.lock()?;
        let fixture = fixtures().join(name);
        let mut freehold = Installation::new()?;
        fs::create_dir(freehold.data())?;
        // A private PostgreSQL, with the keys of then. Killed, the platform leaves it running.
        unpack(&fixture, &freehold, &["./settings.json", "./master.key", "./version"])?;
        let settings = freehold.data().join("settings.json");
        let mut then: Value = serde_json::from_slice(&fs::read(&settings)?)?;
        then.as_object_mut().context("settings.json holds no settings")?.remove("postgres_port");
        fs::write(&settings, then.to_string())?;
        freehold.up()?;
        freehold.kill()?;
        let now = fs::read(&settings)?;
        restore_databases(&fixture, &freehold)?;
        unpack(&fixture, &freehold, &[])?;
        move_files(&freehold.data().join("local"), &freehold.data())?;
        fs::write(&settings, now)?;
        Ok(Self { freehold, _turn: turn })
    }
}

fn unpack(fixture: &Path, freehold: &Installation, names: &[&str]) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.arg("-C")
        .arg(freehold.data())
        .arg("-xpzf")
        .arg(fixture.join("files.tar.gz"))
        .arg("--numeric-owner")
        .args(names);
    Run::from(tar.output()?).succeeded()?;
    Ok(())
}

/// Files name each other by their whole paths.
fn move_files(folder: &Path, data: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            move_files(&path, data)?;
        } else if path.extension().is_some_and(|extension| extension == "json") {
            let text = fs::read_to_string(&path)?;
            fs::write(&path, text.replace(MADE_AT, &data.display().to_string()))?;
        }
    }
    Ok(())
}

fn restore_databases(fixture: &Path, freehold: &Installation) -> Result<()> {
    // What this program has made on the empty server goes; the passwords of its roles follow from the key, so they are the same.
    for database in ["freehold", "freehold_provisioner"] {
        freehold.sql("postgres", &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"))?;
    }
    for role in ["owner", "tenant", "engine", "provisioner"] {
        freehold.sql("postgres", &format!("DROP ROLE freehold_{role}"))?;
    }
    let text = |name: &str| fs::read_to_string(fixture.join(name)).with_context(|| name.to_owned());
    load(freehold, &text("roles.sql")?)?;
    for entry in fs::read_dir(fixture)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".sql") && name != "roles.sql" && name != "freehold.sql" {
            load(freehold, &text(&name)?)?;
        }
    }
    // The store names objects by their numbers, which are others now.
    let numbers = freehold.sql(
        "postgres",
        "SELECT json_object_agg(name, oid::text) FROM
         (SELECT datname AS name, oid FROM pg_database UNION ALL SELECT rolname, oid FROM pg_roles) AS objects",
    )?;
    let numbers: BTreeMap<String, String> = serde_json::from_str(&numbers)?;
    let mut store = text("freehold.sql")?.replace(MADE_AT, &freehold.data().display().to_string());
    for (name, number) in numbers {
        store = store.replace(&format!("@{name}@"), &number);
    }
    load(freehold, &store)
}

fn load(freehold: &Installation, sql: &str) -> Result<()> {
    let script = freehold.path().join("restore.sql");
    fs::write(&script, sql)?;
    let mut psql = Command::new("psql");
    psql.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-d", &freehold.superuser_url("postgres")?, "-f"])
        .arg(&script);
    Run::from(psql.output()?).succeeded()?;
    Ok(fs::remove_file(script)?)
}
