//! The definition at hand: `freehold.toml`, found, read and checked before anything is asked of the platform.

use std::path::{Path, PathBuf};

use freehold_check::Diagnostic;
use freehold_problem::Code;
use freehold_spec::app::Build;
use freehold_spec::{App, Document, Environment, Files, Language, Name};

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
    /// What it says, without an error: before anything overrides it, until it is said where it is to hold.
    pub app: App,
}

impl Valid {
    /// Whether something else is built in some environment than in others.
    pub(crate) fn builds_differ(&self) -> bool {
        let document = Document::parse(Language::NEWEST, &self.text, &self.files);
        let overridden = document.groups().into_iter().filter(|(layers, _)| !layers.is_empty());
        let environments = overridden.filter_map(|(_, environments)| environments.into_iter().next());
        let mut apps = environments.filter_map(|environment| document.read(Some(&environment)).app);
        apps.any(|app| builds(&app) != builds(&self.app))
    }

    /// Makes it what holds in these environments, for what is built is built once.
    ///
    /// # Errors
    /// What is built isn't the same in all of them.
    pub(crate) fn hold_in(&mut self, environments: &[Environment]) -> CommandResult<()> {
        let document = Document::parse(Language::NEWEST, &self.text, &self.files);
        let held = environments.iter().filter_map(|one| Some((one, document.read(Some(one)).app?)));
        let mut held = held.collect::<Vec<_>>().into_iter();
        let Some((first, app)) = held.next() else { return Ok(()) };
        if let Some((other, _)) = held.find(|(_, other)| builds(other) != builds(&app)) {
            let detail = format!("what is built for {first} is not what is built for {other}");
            return Err(CommandError::new(Code::BadRequest, detail).help("deploy these tenants one at a time"));
        }
        self.app = app;
        Ok(())
    }
}

/// What an app builds, by service.
fn builds(app: &App) -> Vec<(&Name, Option<&Build>)> {
    app.services.iter().map(|(name, service)| (name, service.build.as_ref())).collect()
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
    /// The app, or all that is wrong with the definition.
    pub(crate) fn valid(self) -> CommandResult<Valid> {
        let Self { directory, file, text, files, app, diagnostics } = self;
        match app {
            Some(app) if !diagnostics.iter().any(Diagnostic::is_error) => {
                Ok(Valid { directory, file, text, files, app })
            }
            _ => {
                let detail = format!("{file} can't be deployed as it is");
                Err(CommandError::new(Code::BadRequest, detail).diagnostics(&diagnostics, &file, &text))
            }
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
[stage.dev]
service.web.build.command = ["make", "debug"]
[tier.free]
service.web.replicas = 2
[tier.pro]
[preview]
service.web.build.command = ["make", "preview"]
"#;

    fn valid(text: &str) -> Valid {
        let (directory, file, text, files) = (PathBuf::new(), String::new(), text.to_owned(), Files::new());
        let app = freehold_spec::decode(&text).unwrap();
        Valid { directory, file, text, files, app }
    }

    fn tenant(tier: &str, stage: &str) -> Environment {
        Environment::Tenant { stage: stage.to_owned(), tier: Some(tier.to_owned()) }
    }

    #[test]
    fn what_is_built_is_what_holds_where_it_is_deployed() {
        let built = |environment| {
            let mut valid = valid(SOURCE);
            valid.hold_in(&[environment]).unwrap();
            valid.app.services["web"].build.as_ref().and_then(|build| build.command.clone()).unwrap().join(" ")
        };
        assert_eq!(built(Environment::Stage("dev".to_owned())), "make debug");
        assert_eq!(built(Environment::Stage("production".to_owned())), "make");
        assert_eq!(built(Environment::Preview), "make preview");
        assert_eq!(built(tenant("free", "dev")), "make debug");
        assert_eq!(built(tenant("pro", "production")), "make");
    }

    #[test]
    fn what_is_built_once_has_to_be_the_same_for_all() {
        assert!(valid(SOURCE).builds_differ());
        assert!(
            !valid(&SOURCE.replace("build.command", "env.MODE").replace("[\"make\", ", "\"a\" # ")).builds_differ()
        );
        let both = [tenant("free", "production"), tenant("free", "dev")];
        let failure = valid(SOURCE).hold_in(&both).unwrap_err();
        let expected = "what is built for tenants of tier free in stage production is not what is built for tenants of tier free in stage dev";
        assert_eq!(failure.problem.detail, expected);
        valid(SOURCE).hold_in(&[tenant("free", "production"), tenant("pro", "production")]).unwrap();
    }
}
