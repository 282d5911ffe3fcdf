//! `freehold version`.

use crate::report::{Answer, Outcome};
use crate::terminal::Terminal;

pub(super) fn run(terminal: Terminal) -> Answer {
    let version = env!("CARGO_PKG_VERSION");
    match terminal.json {
        true => terminal.print_json(&serde_json::json!({ "version": version })),
        false => terminal.print(format!("freehold {version}")),
    }
    Ok(Outcome::Done)
}
