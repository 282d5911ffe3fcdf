//! What goes over the wire: the types of `/api/v1`. The server's handlers and the OpenAPI document use these very types.
//!
//! Closed sets of words are enums with an open end: a word of a later release is kept in `Other`, and shown as it is.

mod command;
mod deploy;
mod event;
mod log;
mod operation;
mod plan;
mod platform;
mod problem;
mod secret;
mod stack;
mod target;
mod word;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use utoipa::ToSchema;

pub use command::*;
pub use deploy::*;
pub use event::*;
pub use log::*;
pub use operation::*;
pub use plan::*;
pub use platform::*;
pub use problem::*;
pub use secret::*;
pub use stack::*;
pub use target::*;
use word::words;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// In the order of the list; at most as many as `limit` says.
    pub items: Vec<T>,
    /// Give this as `cursor` to get the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

fn yes() -> bool {
    true
}

/// Nests dotted names: `{"routes.web.url": x}` becomes `{"routes": {"web": {"url": x}}}`.
pub fn nested(outputs: &BTreeMap<String, String>) -> Json {
    let mut root = serde_json::Map::new();
    for (name, value) in outputs {
        let mut at = &mut root;
        let mut parts = name.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                at.insert(part.to_owned(), Json::String(value.clone()));
                break;
            }
            let entry = at.entry(part).or_insert_with(|| Json::Object(serde_json::Map::new()));
            match entry {
                Json::Object(inner) => at = inner,
                _ => break,
            }
        }
    }
    Json::Object(root)
}
