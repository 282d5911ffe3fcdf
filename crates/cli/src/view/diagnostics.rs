//! What is wrong with a definition.

use freehold_check::Diagnostic;

/// Diagnostics with the lines of the source that they are about.
pub(crate) fn render(diagnostics: &[Diagnostic], file: &str, text: &str) -> String {
    freehold_check::render::text(diagnostics, file, text).trim_end().to_owned()
}
