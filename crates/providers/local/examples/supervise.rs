//! What Freehold starts itself, as a program of its own, for tests: what `freehold internal …` is in the real thing.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first_chunk() {
        Some(([internal, part], rest)) if internal == "internal" => match part.as_str() {
            "supervise" => freehold_provider_local::supervise::main(rest.iter().cloned()),
            "launch" => freehold_provider_local::launcher::main(),
            _ => ExitCode::from(2),
        },
        _ => ExitCode::from(2),
    }
}
