//! Diagnostics as text: for people, for programs, for code scanners, for GitHub's workflows.

mod excerpt;
mod github;
mod json;
mod lines;
mod sarif;
mod text;
mod wrap;

pub use github::github;
pub use json::json;
pub(crate) use lines::Lines;
pub use sarif::sarif;
pub use text::{plain, text};
pub use wrap::{WIDTH, columns, wrap};
