//! Log lines: one JSON object each, on the standard error stream.

use std::io::Write as _;
use std::sync::OnceLock;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::settings::Level;

static LEVEL: OnceLock<Level> = OnceLock::new();

/// Sets what is logged; the first call counts.
pub fn set_level(level: Level) {
    LEVEL.get_or_init(|| level);
}

pub fn debug(message: &str, fields: Value) {
    write(Level::Debug, "debug", message, fields);
}

pub fn info(message: &str, fields: Value) {
    write(Level::Info, "info", message, fields);
}

pub fn warn(message: &str, fields: Value) {
    write(Level::Warn, "warn", message, fields);
}

pub fn error(message: &str, fields: Value) {
    write(Level::Error, "error", message, fields);
}

fn write(level: Level, name: &str, message: &str, fields: Value) {
    if level < *LEVEL.get().unwrap_or(&Level::Info) {
        return;
    }
    let mut line = json!({ "time": now(), "level": name, "message": message });
    if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
        line.extend(fields);
    }
    // Nobody could be told that the log can't be written.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The time of day as RFC 3339 writes it, in UTC.
pub fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

/// An error with all its causes, on one line.
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
