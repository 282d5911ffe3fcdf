//! Memory of programs: what they may take against what is reserved for them, and against what they were told themselves.

use freehold_problem::Code;
use freehold_spec::quantity::Range;
use freehold_spec::{Memory, Spanned};

use crate::diagnostic::Diagnostic;
use crate::scope::Scope;

/// How many times the request a limit may be before it is far above it.
const FAR: u64 = 4;
/// A limit below this is never far above: little is at stake.
const LITTLE: u64 = 512 << 20;

pub(super) fn check(scope: &mut Scope<'_>) {
    overcommitted(scope);
    filled(scope);
}

/// Limits that a node may not have when they are needed.
fn overcommitted(scope: &mut Scope<'_>) {
    let app = scope.app;
    let jobs = app.jobs.iter().filter_map(|(name, job)| Some((format!("job {name}"), job.memory.as_ref()?)));
    let services = app.services.iter().flat_map(|(name, service)| {
        let sidecars = service.sidecars.iter().map(|(name, sidecar)| (format!("sidecar {name}"), &sidecar.memory));
        let init = service.init.iter().map(|(name, init)| (format!("init container {name}"), &init.memory));
        std::iter::once((format!("service {name}"), &service.memory)).chain(sidecars).chain(init)
    });
    let all: Vec<(String, &Spanned<Range<Memory>>)> = services.chain(jobs).collect();
    for (who, memory) in all {
        let Range { request, limit } = memory.value;
        if limit.0 < LITTLE || limit.0 <= request.0.saturating_mul(FAR) {
            continue;
        }
        let times = limit.0 / request.0.max(1);
        let message = format!("{who} may take {limit} of memory, {times} times what is reserved for it");
        let diagnostic = Diagnostic::warning(Code::MemoryOvercommitted, message)
            .at(memory.span, "the limit is far above the request")
            .note("nodes are filled by requests; one that runs out of memory kills those first that are farthest above theirs");
        scope.report(diagnostic.help("raise the request to what it usually takes"));
    }
}

/// Redis as a service, told to keep as much data as its container may take.
fn filled(scope: &mut Scope<'_>) {
    let app = scope.app;
    for (name, service) in &app.services {
        let Some(command) = &service.command else { continue };
        let Some(data) = maxmemory(&command.value.join(" ")) else { continue };
        let limit = service.memory.value.limit.0;
        // What is left is for its clients, and for memory that it can't use.
        if data < limit - limit / 10 {
            continue;
        }
        let limit = service.memory.value.limit;
        let message = format!("service {name} keeps {} of data, and is killed at {limit}", Memory(data));
        let diagnostic = Diagnostic::warning(Code::CacheFillsLimit, message)
            .at(command.span, "`--maxmemory`")
            .at(service.memory.span, "its limit")
            .note("the server takes more than its data: buffers of clients, fragments, a copy while it saves");
        scope.report(diagnostic.help("use a `[cache.NAME]`, whose limit is made from its memory, or lower `--maxmemory` to two thirds of the limit"));
    }
}

/// The bytes of data that a server of the Redis protocol is told to keep.
fn maxmemory(command: &str) -> Option<u64> {
    let mut words = command.split_whitespace();
    words.by_ref().find(|word| ["redis-server", "valkey-server"].iter().any(|server| word.ends_with(server)))?;
    words.by_ref().find(|word| *word == "--maxmemory")?;
    let figure = words.next()?.trim_matches(['\'', '"']).to_ascii_lowercase();
    let unit = figure.trim_start_matches(|c: char| c.is_ascii_digit());
    // As redis.conf has them.
    let bytes: u64 = match unit {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    let number: u64 = figure.strip_suffix(unit)?.parse().ok()?;
    number.checked_mul(bytes).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::maxmemory;

    #[test]
    fn what_redis_is_told_to_keep_is_read_as_redis_reads_it() {
        assert_eq!(maxmemory("redis-server --maxmemory 512mb --save ''"), Some(512 << 20));
        assert_eq!(maxmemory("sh -c exec /usr/bin/valkey-server --maxmemory 1G"), Some(1_000_000_000));
        for none in [
            "redis-server",
            "redis-server --maxmemory 0",
            "redis-server --maxmemory",
            "app --maxmemory 1gb",
            "redis-server --maxmemory 1xb",
        ] {
            assert_eq!(maxmemory(none), None, "{none}");
        }
    }
}
