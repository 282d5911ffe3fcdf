//! Quantities and durations as the API server writes them, so that what comes back is what was sent.

use freehold_spec::quantity::Range;
use freehold_spec::{Cpu, Memory, Seconds};
use serde_json::{Value as Json, json};

/// Processor time of a container that doesn't say, in millicores: what a definition has by default.
pub const CPU_DEFAULT: Range<Cpu> = Range { request: Cpu(100), limit: Cpu(500) };
/// Memory of a container that doesn't say.
pub const MEMORY_DEFAULT: Range<Memory> = Range { request: Memory(64 << 20), limit: Memory(256 << 20) };

/// A count: a thousand is `1k`.
pub(super) fn count(number: u64) -> String {
    let units = ["", "k", "M", "G", "T", "P", "E"];
    scaled(number, 1000, &units)
}

/// Processor time: `500m`, `2`.
pub(super) fn cpu(cpu: Cpu) -> String {
    if cpu.0.is_multiple_of(1000) { count(cpu.0 / 1000) } else { format!("{}m", cpu.0) }
}

/// Memory or room on a disk: `1536Mi`, `2Gi`.
pub(super) fn bytes(bytes: u64) -> String {
    scaled(bytes, 1024, &["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"])
}

/// The number in the largest unit that leaves no fraction.
fn scaled(number: u64, step: u64, units: &[&str]) -> String {
    let (mut number, mut units) = (number, units.iter());
    let mut unit = units.next().copied().unwrap_or_default();
    while number != 0 && number.is_multiple_of(step) {
        let Some(larger) = units.next() else { break };
        (number, unit) = (number / step, larger);
    }
    format!("{number}{unit}")
}

/// A container's `resources`.
pub(super) fn resources(processor: Range<Cpu>, memory: Range<Memory>) -> Json {
    json!({
        "requests": {"cpu": cpu(processor.request), "memory": bytes(memory.request.0)},
        "limits": {"cpu": cpu(processor.limit), "memory": bytes(memory.limit.0)},
    })
}

/// A duration of the Gateway API (GEP-2257): `6h`, `1h30m`. Days are no unit there.
pub(super) fn duration(seconds: Seconds) -> String {
    let parts = [(seconds.0 / 3600, "h"), (seconds.0 / 60 % 60, "m"), (seconds.0 % 60, "s")];
    let stated: String = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if stated.is_empty() { "0s".to_owned() } else { stated }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_as_the_api_server_does() {
        assert_eq!([0, 500, 1000, 1500, 2_000_000].map(|n| cpu(Cpu(n))), ["0", "500m", "1", "1500m", "2k"]);
        assert_eq!([8, 1000, 1500].map(count), ["8", "1k", "1500"]);
        assert_eq!([0, 1 << 10, 1 << 30, 3 << 29, 1 << 50].map(bytes), ["0", "1Ki", "1Gi", "1536Mi", "1Pi"]);
    }

    #[test]
    fn durations_have_no_days() {
        let written = [0, 30, 90, 21_600, 30 * 86_400].map(|n| duration(Seconds(n)));
        assert_eq!(written, ["0s", "30s", "1m30s", "6h", "720h"]);
    }
}
