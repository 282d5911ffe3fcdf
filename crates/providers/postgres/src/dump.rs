//! Dumps: written, restored once to prove that they can be, and only then given their name.
//!
//! ```text
//! source ── one snapshot ──┬─ pg_dump ──► .partial ── pg_restore ──► scratch database
//!                          └─ counts rows ──────────── compared ──── counts rows
//!                                                          └─ equal: .partial becomes .dump
//! ```
//!
//! The dumper dumps and counts, the keeper restores ([`crate::in_database`]): a restore runs the tenant's code, in constraints,
//! defaults and indexes, and that code gets nothing that the tenant hasn't got. Afterwards both logins are made anew.
//!
//! The counts and the dump see the same snapshot, so the proof holds while the app goes on writing. Whatever fails, no
//! file is left that looks like a dump. One that was written whole and could not be proved is kept under a name that says so, one for
//! each database: it may be all that somebody needs. The programs get the password in their environment, which only their account
//! (and root) can read, never in their arguments. Beside a private server that account is the server's, never root: they work on what
//! the tenant put there. They get the dump as an open file, since it lies where only the platform may go.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::Seek as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use freehold_engine::{Context, Lookup, Performed, ProviderError};
use freehold_problem::{Code, Problem};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::{Instant, timeout_at};

use crate::body::{self, RoleNames};
use crate::catalog::DatabaseRow;
use crate::census::{Census, Tables};
use crate::failure::{Doing, says_full};
use crate::options::PostgresOptions;
use crate::origin::Origin;
use crate::programs::programs;
use crate::quote::Identifier;
use crate::removal::check_ours;
use crate::server::Binaries;
use crate::session::{Entry, Session, Sessions, Turn};
use crate::{contents_list, dump_blockers, in_database, own_logins, scratch, statements};

/// How much is kept of what a program says, in bytes.
const SAID: u64 = 64 << 10;
/// How much of one line of it, in characters.
const LINE: usize = 1000;
/// What is left of the time to clean up in.
const CLEANING: Duration = Duration::from_secs(2);

/// Begins a transaction that sees the same all the time.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

/// Writes a dump and proves it.
pub(crate) async fn write(
    sessions: &Sessions,
    options: &PostgresOptions,
    context: &Context,
    lookup: &Lookup,
) -> Result<Performed, ProviderError> {
    let name = body::identifier(&lookup.identity)?;
    let doing = Doing::new("dumping database", name.as_str());
    let mut session = sessions.own(Turn::Dump(&name), &doing, context.deadline).await?;
    let Some(row) = DatabaseRow::read(&mut session, &name, &doing).await? else {
        session.finish().await;
        return Ok(nothing("there is no database any more, so nothing was dumped"));
    };
    check_ours(&name, &row, context.stack)?;
    // The server's own mark, which no owner can set. A database that is shut holds data like any other.
    if row.is_half_dropped() {
        session.finish().await;
        return Ok(nothing("the database was half dropped already, so nothing was dumped"));
    }
    let binaries = programs(options, &mut session, &doing).await?;
    let object = row.oid.to_string();
    let names = RoleNames::of(&lookup.body)?;
    admit(sessions, &mut session, &name, &names, context, &doing).await?;
    let work = Dump {
        sessions,
        options,
        binaries,
        names,
        origin: Origin::of(&lookup.body)?,
        scratch: scratch::name(&object)?,
        name,
        doing,
        context,
        deadline: context.deadline.checked_sub(CLEANING).unwrap_or(context.deadline),
    };
    let discard = async |session: &mut Session| {
        let Dump { scratch, names, doing, context, .. } = &work;
        scratch::discard(session, scratch, names, context.stack, doing, context.deadline).await
    };
    discard(&mut session).await?;
    let mut file = UnprovedDump::create(&options.dump_directory, work.name.as_str(), context)?;
    let outcome = work.write_and_prove(&mut session, &mut file).await;
    let cleaned = discard(&mut session).await;
    let renewed = work.renew(&mut session).await;
    if let Err(failure) = outcome {
        return Err(file.keep_unproved(failure));
    }
    cleaned?;
    renewed?;
    session.finish().await;
    let (path, size) = file.keep()?;
    let note = format!("{} ({}), restored once to prove it", path.display(), amount(size));
    Ok(Performed { object: Some(object), note: Some(note), ..Performed::default() })
}

/// Lets Freehold's own logins in, whatever the owner did to the database, and whichever release made it.
async fn admit(
    sessions: &Sessions,
    session: &mut Session,
    name: &Identifier,
    names: &RoleNames,
    context: &Context,
    doing: &Doing,
) -> Result<(), ProviderError> {
    own_logins::renew(sessions, session, names, context.stack, doing, context.deadline).await?;
    session.assume(&names.owner, &[&names.owner], doing, context.deadline).await?;
    session.run(doing, context.deadline, statements::admit_statements(name, names)).await?;
    session.resign(&names.owner, &[&names.owner], doing, context.deadline).await
}

fn nothing(note: &str) -> Performed {
    Performed { object: None, note: Some(note.to_owned()), ..Performed::default() }
}

/// One dump on its way.
struct Dump<'a> {
    sessions: &'a Sessions,
    options: &'a PostgresOptions,
    binaries: &'a Binaries,
    name: Identifier,
    names: RoleNames,
    origin: Origin,
    scratch: Identifier,
    doing: Doing,
    context: &'a Context,
    deadline: Instant,
}

impl Dump<'_> {
    async fn write_and_prove(&self, session: &mut Session, file: &mut UnprovedDump) -> Result<(), ProviderError> {
        let dumped = self.dump(file).await?;
        file.whole = true;
        if let Some(fault) = &self.options.fault {
            fault.corrupt(&file.path);
        }
        scratch::make(session, &self.scratch, (&self.names, &self.origin), &self.doing, self.deadline).await?;
        let mut command = self.command("pg_restore", &self.names.keeper, self.scratch.as_str());
        command.args(["--exit-on-error", "--no-owner", "--role", self.names.owner.as_str()]);
        if self.origin.is_copy() {
            // It writes nothing there. Under another account it couldn't open the file by its name.
            command.args(["--use-list", "/proc/self/fd/1"]).stdout(self.contents(file).await?);
        }
        command.args(["--dbname", self.scratch.as_str()]).stdin(file.input()?);
        self.finish("pg_restore", command).await?;
        let dumper = Entry::look(&self.names.dumper);
        let mut there = self.sessions.inside(&self.scratch, dumper, &self.doing, self.deadline).await?;
        there.run(&self.doing, self.deadline, SNAPSHOT.to_owned()).await?;
        let tables = Tables::hold(&mut there, &self.doing, self.deadline).await?;
        let restored = Census::take(&mut there, &tables, &self.doing).await?;
        there.finish().await;
        let differences = dumped.differences(&restored);
        if differences.is_empty() {
            return Ok(());
        }
        Err(ProviderError::from(
            Problem::new(
                Code::DumpNotProved,
                format!("{}: what was restored from the dump is not what was dumped", self.doing.0),
            )
            .lines(differences)
            .help("see what is special about these tables"),
        ))
    }

    /// Writes the file, and counts what has to be in it.
    async fn dump(&self, file: &UnprovedDump) -> Result<Census, ProviderError> {
        // With `row_security = off`, rows that we may not see are an error instead of missing.
        let dumper = Entry::look(&self.names.dumper);
        let mut source = self.sessions.inside(&self.name, dumper, &self.doing, self.deadline).await?;
        source.run(&self.doing, self.deadline, SNAPSHOT.to_owned()).await?;
        let snapshot: String = sqlx::query_scalar("SELECT pg_catalog.pg_export_snapshot()")
            .fetch_one(source.connection())
            .await
            .map_err(|error| self.doing.failed(error))?;
        let sees_all: bool =
            sqlx::query_scalar("SELECT rolbypassrls FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER")
                .fetch_one(source.connection())
                .await
                .map_err(|error| self.doing.failed(error))?;
        dump_blockers::check_dumpable(&mut source, &self.name, &self.names, sees_all, &self.doing).await?;
        let tables = Tables::hold(&mut source, &self.doing, self.deadline).await?;
        let mut command = self.command("pg_dump", &self.names.dumper, self.name.as_str());
        command.args(["--format=custom", "--lock-wait-timeout=10s", "--snapshot", &snapshot]).stdout(file.output()?);
        self.finish("pg_dump", command).await?;
        let census = Census::take(&mut source, &tables, &self.doing).await?;
        source.finish().await;
        Ok(census)
    }

    /// The list of what is restored into a copy of a template.
    async fn contents(&self, file: &UnprovedDump) -> Result<Stdio, ProviderError> {
        let keeper = Entry::look(&self.names.keeper);
        let mut there = self.sessions.inside(&self.scratch, keeper, &self.doing, self.deadline).await?;
        let present: Vec<String> = sqlx::query_scalar("SELECT extname::pg_catalog.text FROM pg_catalog.pg_extension")
            .fetch_all(there.connection())
            .await
            .map_err(|error| self.doing.failed(error))?;
        there.finish().await;
        let failed = |error| failed_io(&file.path, error);
        let all = tempfile::tempfile_in(&self.options.dump_directory).map_err(failed)?;
        let mut command = self.command("pg_restore", &self.names.keeper, self.scratch.as_str());
        command.arg("--list").stdin(file.input()?).stdout(all.try_clone().map_err(failed)?);
        self.finish("pg_restore", command).await?;
        let names = self.names.clone();
        let directory = self.options.dump_directory.clone();
        let select = move || -> std::io::Result<File> {
            let (mut all, mut selected) = (all, tempfile::tempfile_in(&directory)?);
            all.rewind()?;
            contents_list::select(all, &present, &names, &selected)?;
            selected.rewind()?;
            // Nobody has its name.
            selected.set_permissions(Permissions::from_mode(0o644))?;
            Ok(selected)
        };
        let selected = tokio::task::spawn_blocking(select)
            .await
            .map_err(|error| ProviderError::retryable(Code::NotNow, format!("{}: {error}", self.doing.0)))?;
        Ok(Stdio::from(selected.map_err(failed)?))
    }

    /// After the restore: what ran in there may have kept a session, or changed a password.
    async fn renew(&self, session: &mut Session) -> Result<(), ProviderError> {
        let Dump { names, doing, context, .. } = self;
        own_logins::renew(self.sessions, session, names, context.stack, doing, context.deadline).await?;
        let logins = [&names.keeper, &names.dumper];
        session.assume(&names.owner, &logins, doing, context.deadline).await?;
        own_logins::end_sessions(session, names, doing).await?;
        session.resign(&names.owner, &logins, doing, context.deadline).await
    }

    /// A program that connects as one of Freehold's own logins.
    fn command(&self, program: &str, login: &Identifier, database: &str) -> Command {
        let options = self.sessions.options();
        let mut command = Command::new(self.binaries.program(program));
        if let Some((user, group)) = self.binaries.account() {
            command.uid(user).gid(group);
        }
        command
            .current_dir("/")
            .env_clear()
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        match options.get_socket() {
            Some(directory) => command.env("PGHOST", directory),
            None => command.env("PGHOST", options.get_host()),
        };
        command
            .env("PGPORT", options.get_port().to_string())
            .env("PGUSER", login.as_str())
            .env("PGPASSWORD", self.sessions.password(login).reveal())
            .env("PGOPTIONS", in_database::program_options())
            .env("PGDATABASE", database)
            .env("PGAPPNAME", "freehold")
            .env("PGCONNECT_TIMEOUT", "10")
            // Whoever answers must prove that it knows the password, and isn't told it. Programs before 16 don't know the variable.
            .env("PGREQUIREAUTH", "scram-sha-256,none");
        for variable in ["PGSSLMODE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"] {
            if let Some(value) = std::env::var_os(variable) {
                command.env(variable, value);
            }
        }
        command
    }

    /// Runs it to its end, or until nobody wants the dump any more. Of what it says only errors are kept, since other lines may quote
    /// rows, and of those the beginning: an error of the tenant's code that runs in a restore may be as long as it likes.
    async fn finish(&self, program: &str, mut command: Command) -> Result<(), ProviderError> {
        let failed =
            |error: std::io::Error| rejected(Code::DumpNotProved, format!("{}: {program}: {error}", self.doing.0));
        let mut child = command.stderr(Stdio::piped()).spawn().map_err(failed)?;
        let said = child.stderr.take();
        let output = async { tokio::try_join!(first_of(said), child.wait()) };
        let output = tokio::select! {
            output = timeout_at(self.deadline, output) => output,
            // The program is killed with its handle.
            () = self.context.cancel.cancelled() => {
                return Err(rejected(Code::Cancelled, format!("{}: {program} was ended on request", self.doing.0)));
            }
        };
        let (said, status) = match output {
            Ok(output) => output.map_err(failed)?,
            Err(_) => {
                let message = format!("{}: {program} was not done within its time", self.doing.0);
                return Err(rejected(Code::DeadlinePassed, message));
            }
        };
        if status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&said);
        if says_full(&said) {
            return Err(full(&self.doing, &self.options.dump_directory));
        }
        let errors = said.lines().filter(|line| line.contains("error: ") || line.starts_with("HINT:"));
        Err(ProviderError::from(
            Problem::new(Code::DumpNotProved, format!("{}: {program} failed", self.doing.0))
                .lines(errors.take(4).map(|line| line.chars().take(LINE).collect()).collect()),
        ))
    }
}

/// The beginning of what comes through a pipe; the rest is read, too, so that nobody waits for room in it.
async fn first_of(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut said = Vec::new();
    if let Some(mut pipe) = pipe {
        (&mut pipe).take(SAID).read_to_end(&mut said).await?;
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    }
    Ok(said)
}

/// A dump that isn't proved yet. Removed when dropped, unless [`UnprovedDump::keep`] gave it its name.
struct UnprovedDump {
    path: PathBuf,
    name: PathBuf,
    /// What it is called if it can't be proved.
    unproved: PathBuf,
    file: File,
    /// All of it was written.
    whole: bool,
    kept: bool,
}

impl UnprovedDump {
    fn create(directory: &Path, database: &str, context: &Context) -> Result<Self, ProviderError> {
        let failed = |error| failed_io(directory, error);
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        fs::set_permissions(directory, Permissions::from_mode(0o700)).map_err(failed)?;
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' };
        let database: String = database.chars().map(plain).collect();
        let operation = context.operation.0.simple().to_string();
        let short = operation.get(24..).unwrap_or_default();
        let time = chrono::Utc::now().format("%Y%m%dT%H%M%SZ");
        let name = directory.join(format!("{database}-{time}-{short}.dump"));
        // Under a name without the time, so that a repetition overwrites what a crash has left.
        let path = directory.join(format!(".{database}-{short}.partial"));
        let _ = fs::remove_file(&path);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        let unproved = directory.join(format!("{database}.unproved"));
        Ok(Self { path, name, unproved, file, whole: false, kept: false })
    }

    fn output(&self) -> Result<Stdio, ProviderError> {
        Ok(Stdio::from(self.file.try_clone().map_err(|error| failed_io(&self.path, error))?))
    }

    fn input(&self) -> Result<Stdio, ProviderError> {
        Ok(Stdio::from(File::open(&self.path).map_err(|error| failed_io(&self.path, error))?))
    }

    /// Gives the dump its name, for good. Returns its path and size in bytes.
    fn keep(&mut self) -> Result<(PathBuf, u64), ProviderError> {
        let keep = || {
            self.file.sync_all()?;
            fs::rename(&self.path, &self.name)?;
            File::open(self.name.parent().unwrap_or(Path::new("/")))?.sync_all()?;
            Ok(self.file.metadata()?.len())
        };
        let size = keep().map_err(|error| failed_io(&self.name, error))?;
        self.kept = true;
        Ok((self.name.clone(), size))
    }

    /// Keeps it although the proof has failed, and says where. A failure that passes by itself, and a wish to stop, leave nothing.
    fn keep_unproved(&mut self, failure: ProviderError) -> ProviderError {
        let ProviderError::Rejected(problem) = failure else { return failure };
        let keeps = self.whole
            && matches!(problem.code, Code::DumpNotProved | Code::DeadlinePassed)
            && fs::rename(&self.path, &self.unproved).is_ok();
        self.kept |= keeps;
        let told =
            keeps.then(|| format!("the dump is kept, although it was not verified: {}", self.unproved.display()));
        let help: Vec<String> = problem.help.clone().into_iter().chain(told).collect();
        problem.maybe_help((!help.is_empty()).then(|| help.join("; "))).into()
    }
}

impl Drop for UnprovedDump {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn failed_io(path: &Path, error: std::io::Error) -> ProviderError {
    let doing = Doing("writing a dump".to_owned());
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => full(&doing, path),
        _ => rejected(Code::DataNotWritable, format!("{}: {}: {error}", doing.0, path.display())),
    }
}

fn full(doing: &Doing, path: &Path) -> ProviderError {
    ProviderError::from(
        Problem::new(Code::DiskFull, format!("{}: the disk is full: {}", doing.0, path.display()))
            .help("free some space and try again"),
    )
}

fn rejected(code: Code, message: String) -> ProviderError {
    ProviderError::rejected(code, message)
}

/// A size for people.
fn amount(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}
