//! The supervisor of jobs as a program of its own, for tests: what `freehold internal supervise` is in the real thing.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first_chunk() {
        Some(([internal, supervise], rest)) if internal == "internal" && supervise == "supervise" => {
            freehold_provider_local::supervise::main(rest.iter().cloned())
        }
        _ => ExitCode::from(2),
    }
}
