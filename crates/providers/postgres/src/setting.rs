//! Settings of roles as a body has them.

use freehold_graph::Value;

/// A setting with a unit, in seconds where that is a whole number.
pub(crate) fn seconds(setting: Option<&str>) -> Value {
    let Some(text) = setting else { return Value::Null };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim();
    let unit = text.get(digits.len()..).unwrap_or_default().trim();
    let milliseconds = match unit {
        "" | "ms" => Some(1),
        "s" => Some(1_000),
        "min" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let total = digits.parse::<i64>().ok().zip(milliseconds).map(|(number, unit)| number.saturating_mul(unit));
    match total {
        Some(total) if total % 1000 == 0 => Value::Integer(total / 1000),
        _ => Value::text(text),
    }
}
