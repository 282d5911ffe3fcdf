//! Names and words that come with requests.

use freehold_graph::StackKind;
use freehold_problem::{Code, Problem};
use freehold_spec::Name;

use crate::Result;

/// A name that came with a request.
pub(crate) fn parse_name(what: &str, text: &str) -> Result<Name> {
    text.parse()
        .map_err(|error| Problem::new(Code::RequestName, format!("{text:?} can't be the name of a {what}: {error}")))
}

/// The kind of a stack from its word.
pub(crate) fn parse_kind(text: &str) -> Result<StackKind> {
    match text {
        "tenant" => Ok(StackKind::Tenant),
        "preview" => Ok(StackKind::Preview),
        "stage" => Ok(StackKind::Stage),
        other => Err(Problem::new(Code::RequestName, format!("{other:?} is not a kind of stack"))
            .help("tenant, preview or stage")),
    }
}
