//! The definition at hand: `freehold.toml`, found, read and checked before anything is asked of the platform.

use std::path::{Path, PathBuf};

use freehold_check::Diagnostic;
use freehold_problem::Code;
use freehold_spec::{App, Files, Language};

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
    /// What it says, without an error, before anything overrides it.
    pub app: App,
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
    /// The app, or all that is wrong with it.
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
