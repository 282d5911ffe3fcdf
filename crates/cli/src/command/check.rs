//! `freehold check`: a definition on its own, without a platform.

use freehold_check::{Diagnostic, render};

use crate::arguments::{CheckArguments, CheckFormat};
use crate::definition;
use crate::layout::{GREEN, count, paint};
use crate::report::{CommandResult, ExitStatus};
use crate::terminal::Terminal;
use crate::view::diagnostics;

pub(super) fn run(terminal: Terminal, arguments: &CheckArguments) -> CommandResult {
    let definition = definition::read(arguments.directory.as_deref())?;
    let (file, text, diagnostics) = (&definition.file, &definition.text, &definition.diagnostics);
    let format = if terminal.json { CheckFormat::Json } else { arguments.format };
    match format {
        CheckFormat::Text => {
            let shown = diagnostics::render(diagnostics, file, text);
            if !shown.is_empty() {
                terminal.print(format!("{shown}\n"));
            }
            terminal.print(verdict(file, diagnostics));
        }
        CheckFormat::Json => terminal.print(render::json(diagnostics, file, text).trim_end()),
        CheckFormat::Sarif => terminal.print(render::sarif(diagnostics, file, text).trim_end()),
        CheckFormat::Github => terminal.print(render::github(diagnostics, file, text).trim_end()),
    }
    let wrong = diagnostics.iter().any(Diagnostic::is_error);
    Ok(if wrong { ExitStatus::Misused } else { ExitStatus::Done })
}

fn verdict(file: &str, diagnostics: &[Diagnostic]) -> String {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count();
    let allowed = diagnostics.iter().filter(|diagnostic| !diagnostic.is_open()).count();
    let warnings = diagnostics.len() - errors - allowed;
    let counts = [(errors, "error"), (warnings, "warning")].into_iter().filter(|(number, _)| *number > 0);
    let mut counts: Vec<String> = counts.map(|(number, word)| count(number, word)).collect();
    counts.extend((allowed > 0).then(|| format!("{allowed} allowed")));
    let mark = if errors == 0 { format!("{} ", paint(GREEN, "✓")) } else { String::new() };
    match counts.is_empty() {
        true => format!("{mark}{file}"),
        false => format!("{mark}{file}: {}", counts.join(", ")),
    }
}
