//! What can be written on the command line.

mod cluster;
mod secret;

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use freehold_graph::StackKind;
use freehold_server::embedded::Proxy;
use freehold_spec::{Name, Seconds};

pub(crate) use cluster::{
    AddTarget, Existing, InstallArguments, RbacArguments, RemoveTarget, ServeArguments, TargetCommand,
};
pub(crate) use secret::{ImportSecrets, SecretCommand, SecretName, SetSecret};

/// Deploys fully provisioned tenants, previews and stages of an app.
#[derive(Debug, Parser)]
#[command(name = "freehold", version, max_term_width = 80, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// JSON on stdout instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// Every object of a stack in a cluster, one by one.
    #[arg(long, short, global = true)]
    pub verbose: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the platform on this machine, until Ctrl-C.
    Up(UpArguments),
    /// Stop the platform that runs on a data directory.
    Down(PlatformArguments),
    /// Make a first definition from what is in a folder.
    Init(InitArguments),
    /// Check a definition; nothing else is needed for it.
    Check(CheckArguments),
    /// Show a definition as it holds in one environment, and where each value comes from.
    Render(RenderArguments),
    /// Print the JSON Schema of freehold.toml.
    Schema,
    /// Explain a code that an error or a warning bears.
    Explain(ExplainArguments),
    /// Show what a deploy would change.
    Plan(PlanArguments),
    /// Make a stack what its definition says.
    Deploy(DeployArguments),
    /// Show a stack and whether its parts do what they are for.
    Status(OneStack),
    /// List the stacks.
    List(ListArguments),
    /// Show what a service or a job has written.
    Logs(LogsArguments),
    /// Run a command in a stack's environment, or a job.
    Run(RunArguments),
    /// List a stack's revisions.
    History(OneStack),
    /// Go back to an older revision. Runs no job, and touches no data but what is named.
    Rollback(RollbackArguments),
    /// Take a stack away.
    Destroy(DestroyArguments),
    /// Look for problems: in the environment, orphans, drift.
    Doctor(DoctorArguments),
    /// The clusters that stacks are deployed to.
    #[command(subcommand)]
    Target(TargetCommand),
    /// The secrets of a stack.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// The databases of a stack.
    #[command(subcommand)]
    Db(DbCommand),
    /// Print the manifests that run Freehold itself in a cluster.
    Install(InstallArguments),
    /// Run the platform as one of several replicas on a PostgreSQL that is there, as in a cluster.
    Serve(ServeArguments),
    /// Print the version.
    Version,
    /// What Freehold starts itself.
    #[command(hide = true, disable_help_flag = true)]
    Internal(InternalArguments),
}

/// Where the platform is.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PlatformArguments {
    /// The platform's data directory [default: FREEHOLD_DATA_DIR, else /var/lib/freehold for root, ~/.local/share/freehold for others]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Which stack: exactly one of these.
#[derive(Debug, Clone, Default, Args)]
#[group(id = "which", required = true, multiple = false)]
pub(crate) struct StackSelector {
    /// A customer's stack.
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// The stack of a pull request.
    #[arg(long, value_name = "N")]
    pub preview: Option<String>,
    /// A stage: dev, production.
    #[arg(long, value_name = "NAME")]
    pub stage: Option<String>,
}

impl StackSelector {
    /// Kind and name; `None` where nothing was selected.
    pub(crate) fn selected(&self) -> Option<(StackKind, &str)> {
        let tenant = self.tenant.as_deref().map(|name| (StackKind::Tenant, name));
        let preview = self.preview.as_deref().map(|name| (StackKind::Preview, name));
        let stage = self.stage.as_deref().map(|name| (StackKind::Stage, name));
        tenant.or(preview).or(stage)
    }

    /// The stage that a tenant is said to belong to.
    pub(crate) fn stage_of_tenant(&self) -> Option<&str> {
        self.tenant.as_ref().and(self.stage.as_deref())
    }
}

/// Which stack a plan is for, and of which stage it is to be.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub(crate) struct PlannedStack {
    /// A customer's stack.
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// The stack of a pull request.
    #[arg(long, value_name = "N", conflicts_with_all = ["tenant", "stage"])]
    pub preview: Option<String>,
    /// A stage: dev, production. With --tenant, the stage that the tenant belongs to [default: as before, at first production]
    #[arg(long, value_name = "NAME")]
    pub stage: Option<String>,
}

impl PlannedStack {
    /// The stack that is meant.
    pub(crate) fn which(&self) -> StackSelector {
        StackSelector { tenant: self.tenant.clone(), preview: self.preview.clone(), stage: self.stage.clone() }
    }
}

/// A stack that exists.
#[derive(Debug, Clone, Args)]
pub(crate) struct OneStack {
    #[command(flatten)]
    pub which: StackSelector,
    /// The app, where several have a stack of that name.
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// The target that it is on, where there are several.
    #[arg(long, value_name = "NAME", env = "FREEHOLD_TARGET", hide_env_values = true)]
    pub target: Option<String>,
    #[command(flatten)]
    pub platform: PlatformArguments,
}

#[derive(Debug, Args)]
pub(crate) struct UpArguments {
    #[command(flatten)]
    pub platform: PlatformArguments,
    /// The port that stacks answer on: http://NAME.localhost:PORT; 0 for any free one [default: the last one, at first 7080]
    #[arg(long)]
    pub port: Option<u16>,
    /// A proxy that says who its clients are, such as one that ends TLS: a CIDR, or `uid:33` for a user of this machine. Kept for later starts; `none` forgets all.
    #[arg(long, value_name = "CIDR")]
    pub trusted_proxy: Vec<TrustedProxy>,
    /// Let several tenants in although the programs of all run as one user, as they do unless root runs this: they can harm each other. Kept for later starts; `=false` takes it back.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub insecure_shared_user: Option<bool>,
    /// The port of the API, on loopback only; 0 for any free one.
    #[arg(long, default_value_t = 0)]
    pub api_port: u16,
    /// A PostgreSQL server to use instead of a private one. Others on this machine can read it: give a URL with a password in a file, or as FREEHOLD_DATABASE_URL.
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// The file with that URL.
    #[arg(long, value_name = "FILE", env = "FREEHOLD_DATABASE_URL_FILE", hide_env_values = true)]
    pub database_url_file: Option<PathBuf>,
    /// Another PostgreSQL server, for databases that name it (`server.name`), and the file with its URL; may be repeated.
    #[arg(long, value_name = "NAME=FILE")]
    pub database_server: Vec<DatabaseServer>,
    /// Where PostgreSQL's programs are [default: found on PATH or in the usual places]
    #[arg(long, value_name = "DIR")]
    pub postgres_bin: Option<PathBuf>,
    /// What host names end with [default: the last one, at first localhost]
    #[arg(long)]
    pub domain: Option<String>,
    /// How many days lines of the audit log are kept [default: as last, at first 400]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub keep_audit: Option<u32>,
    /// Go on in the background, once it is ready.
    #[arg(long)]
    pub detach: bool,
    /// This is the part of `--detach` in the background.
    #[arg(long, hide = true)]
    pub background: bool,
    /// How its own log is written.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// A database server: its name, and the file with its URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DatabaseServer {
    pub name: Name,
    pub file: PathBuf,
}

impl FromStr for DatabaseServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, file) = text.split_once('=').ok_or("it is NAME=FILE: analytics=/etc/freehold/analytics.url")?;
        let name = name.parse().map_err(|error| format!("{name:?} can't be a name: {error}"))?;
        Ok(Self { name, file: PathBuf::from(file) })
    }
}

/// A proxy that is trusted, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TrustedProxy(pub Option<Proxy>);

impl FromStr for TrustedProxy {
    type Err = <Proxy as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|proxy| Self(Some(proxy))) }
    }
}

impl std::fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(proxy) => proxy.fmt(f),
            None => f.write_str("none"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct InitArguments {
    /// The folder of the app [default: .]
    pub directory: Option<PathBuf>,
    /// Print it, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// The folder with freehold.toml, or the file itself [default: .]
    pub directory: Option<PathBuf>,
    /// For people, machines, code scanners, or annotations on GitHub.
    #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
    pub format: CheckFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    Text,
    Json,
    Sarif,
    Github,
}

#[derive(Debug, Args)]
pub(crate) struct RenderArguments {
    /// The folder with freehold.toml, or the file itself [default: .]
    pub directory: Option<PathBuf>,
    /// As it holds in a stage and, with --tenant or --tier, for its tenants.
    #[arg(long, value_name = "NAME")]
    pub stage: Option<String>,
    /// As it holds for tenants.
    #[arg(long)]
    pub tenant: bool,
    /// As it holds for tenants of a tier.
    #[arg(long, value_name = "NAME")]
    pub tier: Option<String>,
    /// As it holds for previews.
    #[arg(long, conflicts_with_all = ["stage", "tenant", "tier"])]
    pub preview: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    /// The code: FH0203.
    pub code: String,
}

/// What a deploy is made of.
#[derive(Debug, Clone, Args)]
pub(crate) struct RequestArguments {
    /// The folder with freehold.toml [default: . or the nearest above that has one, else the last definition that the platform knows]
    pub directory: Option<PathBuf>,
    /// The app, where there is no definition at hand.
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// Where to: a cluster that `freehold target add` has added, or local [default: the only one there is, or this machine]
    #[arg(long, value_name = "NAME", env = "FREEHOLD_TARGET", hide_env_values = true)]
    pub target: Option<String>,
    /// The tenant's tier [default: as before]
    #[arg(long, value_name = "NAME")]
    pub tier: Option<String>,
    /// The image that a service runs, in a cluster or, without a build, on one machine: web=registry/acme/web:1.4, or web=:1.4 of the definition's repository [default: as before]
    #[arg(long, value_name = "SERVICE=IMAGE", value_parser = image)]
    pub image: Vec<(String, String)>,
    /// Build again, though no source has changed: what a build takes from elsewhere may have.
    #[arg(long)]
    pub rebuild: bool,
    /// Take over an object that is not Freehold's: database/acme__guestbook.
    #[arg(long, value_name = "OBJECT")]
    pub adopt: Vec<String>,
    /// Allow the data of this resource to be deleted: database.main.
    #[arg(long, value_name = "RESOURCE")]
    pub delete_data: Vec<String>,
    /// Be done as soon as everything is ready, without waiting whether it stays so.
    #[arg(long)]
    pub no_settle: bool,
    #[command(flatten)]
    pub platform: PlatformArguments,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("planned").required(true).multiple(true).args(["tenant", "preview", "stage"])))]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    pub request: RequestArguments,
    #[command(flatten)]
    pub stack: PlannedStack,
    /// Keep the plan in a file, for `freehold deploy --plan FILE`.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    override_usage = "freehold deploy [DIRECTORY] --tenant <NAME> [OPTIONS]\n       freehold deploy [DIRECTORY] --preview <N>|--stage <NAME>|--all-tenants\n       freehold deploy --plan <FILE>"
)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["tenant", "preview", "stage", "all_tenants", "plan"])))]
pub(crate) struct DeployArguments {
    #[command(flatten)]
    pub request: RequestArguments,
    #[command(flatten)]
    pub stack: PlannedStack,
    /// Every tenant of the app, in waves.
    #[arg(long, conflicts_with_all = ["adopt", "tenant", "preview", "stage"])]
    pub all_tenants: bool,
    /// Apply a plan that `freehold plan --out FILE` has kept; refused if it is stale.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["directory", "app", "tier", "image", "adopt", "delete_data", "no_settle", "tenant", "preview", "stage", "all_tenants"])]
    pub plan: Option<PathBuf>,
    /// How many tenants at once: 10% or a number [default: all]
    #[arg(long, value_name = "SIZE", requires = "all_tenants", conflicts_with_all = ["tenant", "preview", "stage", "plan"])]
    pub wave: Option<WaveSize>,
    /// Begin no further wave when a tenant failed.
    #[arg(long, requires = "all_tenants", conflicts_with_all = ["tenant", "preview", "stage", "plan"])]
    pub stop_on_failure: bool,
    /// Don't ask for confirmation.
    #[arg(long, short)]
    pub yes: bool,
}

/// The size of a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaveSize {
    Percent(usize),
    Number(usize),
}

impl std::str::FromStr for WaveSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "a wave is a share like 10% or a number of tenants, at least 1".to_owned();
        let (digits, percent) = text.strip_suffix('%').map_or((text, false), |digits| (digits, true));
        let number: usize = digits.parse().map_err(|_| wrong())?;
        match (number, percent) {
            (1..=100, true) => Ok(Self::Percent(number)),
            (1.., false) => Ok(Self::Number(number)),
            _ => Err(wrong()),
        }
    }
}

impl WaveSize {
    /// How many of `all` tenants that is: at least one.
    pub(crate) fn of(self, all: usize) -> usize {
        match self {
            Self::Percent(percent) => (all * percent).div_ceil(100).max(1),
            Self::Number(number) => number,
        }
    }
}

/// `web=registry/acme/web:1.4`.
fn image(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((service, image)) if !service.is_empty() && !image.is_empty() => {
            Ok((service.to_owned(), image.to_owned()))
        }
        _ => Err("expected SERVICE=IMAGE, like web=registry.example.org/acme/web:1.4".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    #[command(flatten)]
    pub platform: PlatformArguments,
    /// Look for orphans in every API group of each cluster, with an administrator's permissions.
    #[arg(long)]
    pub all_groups: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Only of this app.
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// Only on this target.
    #[arg(long, value_name = "NAME", env = "FREEHOLD_TARGET", hide_env_values = true)]
    pub target: Option<String>,
    #[command(flatten)]
    pub platform: PlatformArguments,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    #[command(flatten)]
    pub stack: OneStack,
    /// Of this service [default: all services]
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Of this job.
    #[arg(long, value_name = "NAME", conflicts_with = "service")]
    pub job: Option<String>,
    /// Of the server of this cache.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["service", "job"])]
    pub cache: Option<String>,
    /// Go on with what is written from now on.
    #[arg(long, short)]
    pub follow: bool,
    /// How many of the last lines.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    pub lines: usize,
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// The job to run.
    #[arg(value_name = "JOB", required_unless_present = "command", conflicts_with = "service")]
    pub job: Option<String>,
    #[command(flatten)]
    pub stack: OneStack,
    /// Run the command as this service's program [default: the only service]
    #[arg(long, value_name = "NAME", requires = "command")]
    pub service: Option<String>,
    /// When it is ended: 90s, 30m, 6h [default: 1h; a job when its definition says]
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Seconds>,
    /// Program and arguments, behind `--`.
    #[arg(last = true)]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArguments {
    /// The revision to go back to [default: the last verified one before the present]
    pub revision: Option<u64>,
    #[command(flatten)]
    pub stack: OneStack,
    /// Take over an object, or fields of one, from whoever else manages it: deployment/acme--guestbook/web.
    #[arg(long, value_name = "OBJECT")]
    pub adopt: Vec<String>,
    /// Delete what the older revision doesn't have, with its data: database.reports. What isn't named is kept.
    #[arg(long, value_name = "RESOURCE")]
    pub delete_data: Vec<String>,
    /// Be done as soon as everything is ready, without waiting whether it stays so.
    #[arg(long)]
    pub no_settle: bool,
    /// Don't ask for confirmation.
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DestroyArguments {
    #[command(flatten)]
    pub stack: OneStack,
    /// Write no dump of its databases first: their data is gone for good.
    #[arg(long)]
    pub no_dump: bool,
    /// The stack's name, instead of typing it when asked.
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Open psql on a stack's database.
    Shell(ShellArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ShellArguments {
    #[command(flatten)]
    pub stack: OneStack,
    /// The database's name in the definition.
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub database: String,
    /// What the session may do.
    #[arg(long, value_enum, default_value_t = DatabaseRole::App)]
    pub role: DatabaseRole,
    /// Handed on to psql.
    #[arg(last = true)]
    pub psql: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DatabaseRole {
    /// Read and write rows.
    App,
    /// Also change tables.
    Migrator,
}

impl DatabaseRole {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Migrator => "migrator",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct InternalArguments {
    /// Which part, and what it gets.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn exactly_one_stack_has_to_be_selected() {
        let parse = |words: &str| Cli::try_parse_from(words.split(' '));
        assert!(parse("freehold status").is_err());
        assert!(parse("freehold status --tenant acme --stage dev").is_err());
        assert!(parse("freehold status --tenant acme").is_ok());
        assert!(parse("freehold deploy").is_err());
        assert!(parse("freehold deploy --all-tenants --tenant acme").is_err());
        assert!(parse("freehold deploy examples/guestbook --tenant acme --tier pro --yes --json").is_ok());
        assert!(parse("freehold deploy --tenant acme --wave 10%").is_err());
        assert!(parse("freehold deploy --all-tenants --wave 10% --stop-on-failure").is_ok());
        assert!(parse("freehold deploy --plan plan.json").is_ok());
        assert!(parse("freehold deploy --plan plan.json --image web=:2").is_err());
    }

    #[test]
    fn an_image_is_given_for_a_service() {
        let images = |words: &str| match Cli::try_parse_from(words.split(' ')).map(|cli| cli.command) {
            Ok(Command::Deploy(arguments)) => arguments.request.image,
            other => panic!("{other:?}"),
        };
        let words = "freehold deploy --tenant acme --target prod --image web=reg.example.org:5000/a/web@sha256:ab \
                     --image worker=:1.4";
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let pair = |service: &str, image: &str| (service.to_owned(), image.to_owned());
        assert_eq!(images(&words), [pair("web", "reg.example.org:5000/a/web@sha256:ab"), pair("worker", ":1.4")]);
        assert!(Cli::try_parse_from(["freehold", "deploy", "--tenant", "acme", "--image", "web"]).is_err());
        assert!(Cli::try_parse_from(["freehold", "deploy", "--tenant", "acme", "--image", "=x"]).is_err());
    }

    #[test]
    fn a_wave_is_a_share_or_a_number_and_never_empty() {
        let of = |text: &str, all| text.parse::<WaveSize>().map(|wave| wave.of(all));
        assert_eq!(of("10%", 25), Ok(3));
        assert_eq!(of("10%", 2), Ok(1));
        assert_eq!(of("7", 2), Ok(7));
        for wrong in ["0", "0%", "101%", "-1", "", "%", "ten"] {
            assert!(of(wrong, 10).is_err(), "{wrong:?}");
        }
    }
}
