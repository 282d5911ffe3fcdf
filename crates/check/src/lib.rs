//! What is wrong with a definition or a request: stable codes, places in the source, reasons, fixes.
//!
//! ```text
//! source ──► decoding.rs (FH00) ──► rules/ (FH01 … FH06) ──► Vec<Diagnostic> ──► render/ (people, JSON, SARIF, GitHub)
//!               request ──► request.rs (FH02, FH10) ──────┘
//! ```
//!
//! Pure: the same input gives the same diagnostics, in the same order.

pub mod code;
mod decoding;
pub mod diagnostic;
pub mod render;
mod request;
mod rules;
mod scope;

use std::collections::BTreeSet;

use freehold_spec::App;

pub use code::Code;
pub use diagnostic::{Diagnostic, Label, Severity};
pub use request::request;
pub use rules::EXTENSIONS;

use scope::Scope;

/// Decodes a definition and checks it. Everything that is wrong is reported at once, in the order of the source. The app
/// comes out if it could be read without an error; it may still have errors of its own among the diagnostics.
pub fn source(source: &str) -> (Option<App>, Vec<Diagnostic>) {
    let reading = freehold_spec::read(source);
    let mut diagnostics: Vec<Diagnostic> = reading.errors.iter().map(decoding::diagnostic).collect();
    if let Some(app) = &reading.app {
        let mut scope = Scope::new(app, &reading.left_out);
        rules::check(&mut scope);
        // What is said about something that is half known would be guesswork; warnings can wait.
        let reliable = scope.into_found().into_iter().filter(|found| found.is_error() || reading.errors.is_empty());
        diagnostics.extend(reliable);
    }
    sort(&mut diagnostics);
    (reading.app.filter(|_| reading.errors.is_empty()), diagnostics)
}

/// Checks an app on its own, without a request.
pub fn definition(app: &App) -> Vec<Diagnostic> {
    let left_out = BTreeSet::new();
    let mut scope = Scope::new(app, &left_out);
    rules::check(&mut scope);
    let mut diagnostics = scope.into_found();
    sort(&mut diagnostics);
    diagnostics
}

fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by_key(|found| (found.labels.first().map(|label| label.span), found.severity, found.code));
}
