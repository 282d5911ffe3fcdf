//! For GitHub's workflows: annotations beside the lines of a pull request.

use super::lines::Lines;
use crate::diagnostic::{Diagnostic, Severity};

/// Workflow commands, one a line:
/// <https://docs.github.com/en/actions/writing-workflows/choosing-what-your-workflow-does/workflow-commands-for-github-actions>.
pub fn github(diagnostics: &[Diagnostic], file: &str, source: &str) -> String {
    let lines = Lines::new(source);
    diagnostics.iter().map(|diagnostic| command(diagnostic, file, &lines)).collect()
}

fn command(diagnostic: &Diagnostic, file: &str, lines: &Lines<'_>) -> String {
    let level = match (diagnostic.is_open(), diagnostic.severity) {
        (false, _) => "notice",
        (true, Severity::Error) => "error",
        (true, Severity::Warning) => "warning",
    };
    let place = diagnostic.labels.first().map_or_else(String::new, |label| {
        let (start, end) = lines.ends(label.span);
        // Columns are only understood within one line.
        let columns = match start.line == end.line {
            true => format!(",col={},endColumn={}", start.column, end.column),
            false => String::new(),
        };
        format!(",line={},endLine={}{columns}", start.line, end.line)
    });
    let title = property(&format!("{}: {}", diagnostic.code, diagnostic.code.title()));
    let label = diagnostic.labels.first().map(|label| label.message.clone()).filter(|label| !label.is_empty());
    // What is allowed needs no help.
    let end = match &diagnostic.allowed {
        Some(reason) => Some(format!("allowed: {reason}")),
        None => diagnostic.help.as_ref().map(|help| format!("help: {help}")),
    };
    let story: Vec<String> = std::iter::once(diagnostic.message.clone())
        .chain(label)
        .chain(diagnostic.only_for())
        .chain(diagnostic.notes.iter().cloned())
        .chain(end)
        .collect();
    format!("::{level} file={}{place},title={title}::{}\n", property(file), data(&story.join("\n")))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
