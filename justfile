# Names for what the scripts do; CONTRIBUTING.md says how long each takes. `just` alone lists them.

_list:
    @just --list --unsorted

# Every check and test, with all of their set-up; what CI runs
test:
    scripts/test

# The quick ones, for in between
fast:
    scripts/test --fast

# What needs no test run: format, clippy, layers
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    scripts/layers

# The tests whose path contains NAME, in all test binaries or in those that are named: just one steps:: --test main
one name *binaries:
    cargo test --workspace --locked {{ binaries }} -- {{ quote(name) }}

# Figures: local, kubernetes, trust, truth or all, with their options
bench name *options:
    scripts/bench {{ quote(name) }} {{ options }}

# From a fresh machine to a tenant that answers; with --once in a folder of its own, and destroyed again
quickstart *options:
    scripts/quickstart {{ options }}
