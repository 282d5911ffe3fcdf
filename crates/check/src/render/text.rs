//! For people: the lines of the source, with what is wrong below them.

use codespan_reporting::diagnostic::{Diagnostic as Report, Label as Mark, LabelStyle, Severity as Level};
use codespan_reporting::files::SimpleFile;
use codespan_reporting::term::termcolor::{Buffer, WriteColor};
use codespan_reporting::term::{self, Config, Styles, StylesWriter};

use super::excerpt::Excerpt;
use super::lines::Lines;
use super::wrap::{WIDTH, hanging, wrap};
use crate::diagnostic::{Diagnostic, Severity};

/// With colours, as ANSI sequences; whoever writes it to something that is no terminal takes them out.
pub fn text(diagnostics: &[Diagnostic], file: &str, source: &str) -> String {
    render(diagnostics, file, source, Buffer::ansi())
}

/// For a file or a pipe: without colours.
pub fn plain(diagnostics: &[Diagnostic], file: &str, source: &str) -> String {
    render(diagnostics, file, source, Buffer::no_color())
}

fn render(diagnostics: &[Diagnostic], file: &str, source: &str, mut buffer: Buffer) -> String {
    let lines = Lines::new(source);
    let name = file;
    let file = SimpleFile::new(file, source);
    let styles = styles();
    let config = Config::default();
    for diagnostic in diagnostics.iter().filter(|diagnostic| diagnostic.is_open()) {
        let mut writer = StylesWriter::new(&mut buffer, &styles);
        if let Some((excerpt, shown)) = Excerpt::of(diagnostic, name, source, &lines) {
            let report = report(&shown, &lines);
            if term::emit_to_write_style(&mut writer, &config, &excerpt, &report).is_ok() {
                continue;
            }
        }
        let mut writer = StylesWriter::new(&mut buffer, &styles);
        // Writing to memory can't fail, and the places are inside the source; should one not be, its text still is worth having.
        if term::emit_to_write_style(&mut writer, &config, &file, &report(diagnostic, &lines)).is_err() {
            let _ = buffer.reset();
            let bare = Diagnostic { labels: Vec::new(), ..diagnostic.clone() };
            let mut writer = StylesWriter::new(&mut buffer, &styles);
            let _ = term::emit_to_write_style(&mut writer, &config, &file, &report(&bare, &lines));
        }
    }
    let mut text = String::from_utf8_lossy(buffer.as_slice()).into_owned();
    for diagnostic in diagnostics {
        text.extend(allowed(diagnostic, name, &lines));
    }
    text
}

/// What the definition allows, and why, in a line or two.
fn allowed(diagnostic: &Diagnostic, file: &str, lines: &Lines<'_>) -> Option<String> {
    let reason = diagnostic.allowed.as_ref()?;
    let line = diagnostic.labels.first().map_or(0, |label| lines.ends(label.span).0.line);
    let begin = format!("allowed[{}]: ", diagnostic.code);
    let text = format!("{} ({file}:{line}): {reason}", diagnostic.message);
    Some(format!("{begin}{}\n", hanging(&text, begin.len(), 2)))
}

/// The library's own colours; its blue is hard to read on black, so lines and numbers are dimmed instead.
fn styles() -> Styles {
    let mut styles = Styles::default();
    for style in
        [&mut styles.line_number, &mut styles.source_border, &mut styles.note_bullet, &mut styles.secondary_label]
    {
        style.clear();
        style.set_dimmed(true);
    }
    styles
}

fn report(diagnostic: &Diagnostic, lines: &Lines<'_>) -> Report<()> {
    let (level, word) = match diagnostic.severity {
        Severity::Error => (Level::Error, "error"),
        Severity::Warning => (Level::Warning, "warning"),
    };
    // What the library writes before a message, and before each line of a note: the margin, ` = `.
    let before_message = word.len() + diagnostic.code.to_string().len() + "[]: ".len();
    let last_line = diagnostic.labels.iter().map(|label| lines.ends(label.span).1.line).max();
    let before_note = last_line.map_or(0, |line| line.to_string().len()) + " = ".len();
    let fold = |text: &str, hang: usize| {
        let room = WIDTH.saturating_sub(before_note + hang);
        wrap(text, room).join(&format!("\n{}", " ".repeat(hang)))
    };
    let marks = diagnostic.labels.iter().enumerate().map(|(index, label)| {
        let style = if index == 0 { LabelStyle::Primary } else { LabelStyle::Secondary };
        Mark::new(style, (), std::ops::Range::from(label.span)).with_message(&label.message)
    });
    let help = diagnostic.help.iter().map(|help| format!("help: {}", fold(help, "help: ".len())));
    Report::new(level)
        .with_code(diagnostic.code)
        .with_message(hanging(&diagnostic.message, before_message, 2))
        .with_labels(marks.collect())
        .with_notes(
            diagnostic.only_for().iter().chain(&diagnostic.notes).map(|note| fold(note, 0)).chain(help).collect(),
        )
}
