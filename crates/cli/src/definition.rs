//! The definition at hand: `freehold.toml`, found, read and checked before anything is asked of the platform.

use std::path::{Path, PathBuf};

use freehold_check::Diagnostic;
use freehold_graph::StackKind;
use freehold_problem::Code;
use freehold_spec::{App, Document, Environment, Files, Language};

use crate::report::{CommandError, CommandResult};

/// The name of the file.
pub(crate) const FILE: &str = "freehold.toml";

/// A definition that was read.
#[derive(Debug)]
pub(crate) struct Definition {
    /// The app's folder.
    pub directory: PathBuf,
    /// The file, as it is shown to people.
    pub file: String,
    /// As it stands in the file; diagnostics quote it.
    pub text: String,
    /// The files that it names, by their paths.
    pub files: Files,
    /// The app; `None` if the text has errors.
    pub app: Option<App>,
    /// What is to be said about it.
    pub diagnostics: Vec<Diagnostic>,
}

/// A definition without errors.
#[derive(Debug)]
pub(crate) struct Valid {
    /// The app's folder.
    pub directory: PathBuf,
    /// The file, as it is shown to people.
    pub file: String,
    /// As it stands in the file; diagnostics quote it.
    pub text: String,
    /// The files that it names, by their paths.
    pub files: Files,
    /// What it says, without an error, where it is to be deployed: what is built holds in every environment that is meant.
    pub app: App,
}

/// What is to be deployed, as far as it was said. The platform knows a tenant's former tier and stage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meant<'a> {
    pub kind: StackKind,
    /// `None`: every tenant.
    pub name: Option<&'a str>,
    pub tier: Option<&'a str>,
    pub stage: Option<&'a str>,
}

impl Meant<'_> {
    /// The environments that it may be in.
    fn environments(&self, document: &Document<'_>) -> Vec<Environment> {
        match (self.kind, self.name) {
            (StackKind::Preview, _) => vec![Environment::Preview],
            (StackKind::Stage, Some(name)) => vec![Environment::Stage(name.to_owned())],
            (StackKind::Stage, None) | (StackKind::Tenant, _) => {
                let fits = |given: Option<&str>, found: Option<&str>| given.is_none() || given == found;
                let all = document.environments();
                let tiered = all.iter().any(|environment| environment.tier().is_some());
                let tenants = all.into_iter().filter_map(|environment| match environment {
                    Environment::Stage(stage) if !tiered => Some(Environment::Tenant { stage, tier: None }),
                    tenant @ Environment::Tenant { .. } => Some(tenant),
                    Environment::Stage(_) | Environment::Preview => None,
                });
                tenants.filter(|one| fits(self.tier, one.tier()) && fits(self.stage, one.stage())).collect()
            }
        }
    }
}

/// Where the definition of the current folder is: in it, or in the nearest folder above that has one, as `.` or `../..`.
fn above() -> Option<PathBuf> {
    let current = std::env::current_dir().ok()?;
    let depth = current.ancestors().position(|folder| folder.join(FILE).is_file())?;
    match depth {
        0 => Some(PathBuf::from(".")),
        depth => Some(std::iter::repeat_n("..", depth).collect()),
    }
}

/// Reads the definition in a folder (or the file itself); without a folder that of the current one, or of the nearest above.
pub(crate) fn read(directory: Option<&Path>) -> CommandResult<Definition> {
    let found = if directory.is_none() { above() } else { None };
    let given = directory.or(found.as_deref()).unwrap_or(Path::new("."));
    let file = if given.is_file() { given.to_owned() } else { given.join(FILE) };
    let text = std::fs::read_to_string(&file).map_err(|error| missing(given, &file, &error))?;
    let directory = match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let shown = file.strip_prefix(".").unwrap_or(&file).display().to_string();
    let files = freehold::named_files(&directory, &text).map_err(|error| {
        CommandError::new(Code::BadManifest, error.to_string())
            .help(format!("{shown} names it: let it be a text file in the folder of {FILE}, or below"))
    })?;
    let (app, diagnostics) = freehold_check::source_in(Language::NEWEST, &text, &files);
    Ok(Definition { directory, file: shown, text, files, app, diagnostics })
}

/// Like [`read`], but where no folder is given and neither the current one nor one above has a definition, that is no error.
pub(crate) fn find(directory: Option<&Path>) -> CommandResult<Option<Definition>> {
    match directory {
        None if above().is_none() => Ok(None),
        directory => read(directory).map(Some),
    }
}

impl Definition {
    /// The app where it is to be deployed, or all that is wrong with the definition.
    pub(crate) fn valid(self, meant: Meant<'_>) -> CommandResult<Valid> {
        let Self { directory, file, text, files, app, diagnostics } = self;
        match app {
            Some(app) if !diagnostics.iter().any(Diagnostic::is_error) => {
                let app = built(&text, &files, meant)?.unwrap_or(app);
                Ok(Valid { directory, file, text, files, app })
            }
            _ => {
                let detail = format!("{file} can't be deployed as it is");
                Err(CommandError::new(Code::BadRequest, detail).diagnostics(&diagnostics, &file, &text))
            }
        }
    }
}

/// The app as it holds where it is to be deployed; `None` where that is nowhere, which the platform explains.
///
/// # Errors
/// It may be deployed in several environments, and what is built for it isn't the same in them.
fn built(text: &str, files: &Files, meant: Meant<'_>) -> CommandResult<Option<App>> {
    let document = Document::parse(Language::NEWEST, text, files);
    let environments = meant.environments(&document);
    let mut apps =
        environments.iter().filter_map(|environment| Some((environment, document.read(Some(environment)).app?)));
    let Some((first, app)) = apps.next() else { return Ok(None) };
    let builds =
        |app: &App| app.services.iter().map(|(name, one)| (name.clone(), one.build.clone())).collect::<Vec<_>>();
    match apps.find(|(_, other)| builds(other) != builds(&app)) {
        None => Ok(Some(app)),
        Some((other, _)) => {
            let detail = format!("what is built for {first} is not what is built for {other}");
            let help = "say which with --tier and --stage, one tenant at a time";
            Err(CommandError::new(Code::BadRequest, detail).help(help))
        }
    }
}

fn missing(given: &Path, file: &Path, error: &std::io::Error) -> Box<CommandError> {
    if error.kind() == std::io::ErrorKind::NotFound {
        let detail = match given.is_dir() {
            true if given == Path::new(".") => format!("there is no {FILE} in the current folder or above"),
            true => format!("there is no {FILE} in {}", given.display()),
            false => format!("there is no folder {}", given.display()),
        };
        return CommandError::new(Code::NoDefinition, detail)
            .help("name the folder of an app, or write its freehold.toml");
    }
    let why = match error.kind() {
        std::io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
        _ => error.to_string(),
    };
    let file = file.strip_prefix(".").unwrap_or(file);
    CommandError::new(Code::NoDefinition, format!("{} can't be read: {why}", file.display()))
        .help("it has to be a text file that this user may read")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
[app]
name = "shop"
[service.web]
command = ["web"]
build = { command = ["make"], artifact = ["web"] }
[stage.production]
[stage.dev]
service.web.build.command = ["make", "debug"]
[tier.free]
[tier.pro]
[preview]
service.web.build.command = ["make", "preview"]
"#;

    fn command(kind: StackKind, name: Option<&str>, tier: Option<&str>, stage: Option<&str>) -> CommandResult<String> {
        let app = built(SOURCE, &Files::new(), Meant { kind, name, tier, stage })?.unwrap();
        let build = app.services["web"].build.as_ref().and_then(|build| build.command.as_ref()).unwrap();
        Ok(build.join(" "))
    }

    #[test]
    fn what_is_built_is_what_holds_where_it_is_deployed() {
        let built = |kind, name, tier, stage| command(kind, name, tier, stage).unwrap();
        assert_eq!(built(StackKind::Stage, Some("dev"), None, None), "make debug");
        assert_eq!(built(StackKind::Stage, Some("production"), None, None), "make");
        assert_eq!(built(StackKind::Preview, Some("107"), None, None), "make preview");
        assert_eq!(built(StackKind::Tenant, Some("acme"), None, Some("dev")), "make debug");
        assert_eq!(built(StackKind::Tenant, Some("acme"), Some("pro"), Some("production")), "make");
    }

    #[test]
    fn a_tenant_of_which_it_is_not_known_what_is_built_for_it_is_asked_about() {
        for (tier, stage) in [(None, None), (Some("pro"), None)] {
            let failure = command(StackKind::Tenant, Some("acme"), tier, stage).unwrap_err();
            assert!(
                failure.problem.detail.starts_with("what is built for tenants of tier"),
                "{}",
                failure.problem.detail
            );
        }
        let nowhere = built(
            SOURCE,
            &Files::new(),
            Meant { kind: StackKind::Tenant, name: None, tier: Some("gold"), stage: None },
        );
        assert!(nowhere.unwrap().is_none(), "the platform says that there is no such tier");
    }
}
