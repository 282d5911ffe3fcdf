//! What is wrong with a definition or a request: stable codes, places in the source, reasons, fixes.
//!
//! ```text
//! source ──► decoding.rs (FH00) ──► rules/ (FH01 … FH06) ──► Vec<Diagnostic> ──► render/ (people, JSON, SARIF, GitHub)
//!               request ──► request.rs (FH02, FH10) ──────┤
//!                 graph ──► sizes.rs (FH01, FH12) ────────┘
//! ```
//!
//! Pure: the same input gives the same diagnostics, in the same order; no more than a hundred of them, and a line for the others.
//!
//! ```
//! let definition = "[app]\nname = \"guestbook\"\n\n[route.web]\nservice = \"web\"\nhosts = [\"${stack.name}.example.com\"]\n";
//! let (app, diagnostics) = freehold_check::source(definition);
//! assert!(app.is_some(), "it can be read");
//! assert!(diagnostics.iter().any(|found| found.code.title() == "a service that isn't defined"));
//! ```

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

mod decoding;
pub mod diagnostic;
mod environments;
mod found;
mod pages;
mod parameters;
mod placeholder;
pub mod render;
mod request;
mod rules;
mod scope;
mod silence;
mod sizes;

use freehold_spec::{App, Document, Environment, Files, Language};

pub use diagnostic::{Diagnostic, Label, Severity};
pub use pages::page;
pub use placeholder::{is_placeholder, test_key};
pub use request::request;
pub use rules::{is_for_browsers, looks_secret};
pub use sizes::sizes;

/// Decodes a definition and checks it. Everything that is wrong is reported at once, in the order of the source. The app
/// comes out if it could be read without an error; it may still have errors of its own among the diagnostics.
pub fn source(source: &str) -> (Option<App>, Vec<Diagnostic>) {
    source_in(Language::NEWEST, source, &Files::new())
}

/// The same of a definition in this version of the language, with the files that it names: in all its environments. The app is as it stands
/// before anything overrides it.
pub fn source_in(language: Language, source: &str, files: &Files) -> (Option<App>, Vec<Diagnostic>) {
    let document = Document::parse(language, source, files);
    let base = document.read(None);
    let found = environments::check(&document, &base, source);
    (base.app.filter(|_| base.errors.is_empty()), found.into_shown())
}

/// The same in one environment, for which the app comes out.
pub fn in_environment(
    language: Language,
    source: &str,
    files: &Files,
    environment: &Environment,
) -> (Option<App>, Vec<Diagnostic>) {
    let document = Document::parse(language, source, files);
    let reading = document.read(Some(environment));
    let found = environments::one(&document, environment, &reading, source);
    (reading.app.filter(|_| reading.errors.is_empty()), found.into_shown())
}
