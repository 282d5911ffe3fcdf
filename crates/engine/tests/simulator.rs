//! The deterministic simulator: the engine's decisions under seeded schedules, with everything going wrong that can.
//!
//! `FREEHOLD_SCHEDULES=N` sets how many, `FREEHOLD_SEED=S` tells one again.

mod calls;
mod chance;
mod machine;
mod process;
mod store;
mod story;

use std::env;
use std::thread;
use std::time::Instant;

use machine::Mutant;
use story::{Tally, tell};

/// How many schedules each test run has at least.
const SCHEDULES: u64 = 100_000;

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// Tells stories `from..to`, on all processors.
fn tell_all(from: u64, to: u64, mutant: Mutant) -> Result<Tally, (u64, String)> {
    let workers = thread::available_parallelism().map_or(2, |count| count.get() as u64);
    let worker = |worker: u64| {
        move || {
            let mut sum = Tally::default();
            for seed in (from + worker..to).step_by(workers as usize) {
                let tally = tell(seed, mutant, false).map_err(|error| (seed, error))?;
                sum = sum.plus(tally);
            }
            Ok(sum)
        }
    };
    let threads: Vec<_> = (0..workers).map(|number| thread::spawn(worker(number))).collect();
    let results = threads.into_iter().map(|thread| thread.join().unwrap());
    results.collect::<Vec<_>>().into_iter().try_fold(Tally::default(), |sum, tally| Ok(sum.plus(tally?)))
}

#[test]
fn whatever_happens_everything_comes_right_in_the_end() {
    if let Some(seed) = number("FREEHOLD_SEED") {
        tell(seed, Mutant::None, true).unwrap();
        return;
    }
    let schedules = number("FREEHOLD_SCHEDULES").unwrap_or(SCHEDULES);
    let before = Instant::now();
    match tell_all(0, schedules, Mutant::None) {
        Ok(tally) => println!(
            "simulator: {schedules} schedules, {} operations ({} succeeded, {} failed, {} cancelled), {} kills, \
             orphans 0, duplicates 0, runs done twice 0, {:.1} s",
            tally.operations,
            tally.succeeded,
            tally.failed,
            tally.cancelled,
            tally.kills,
            before.elapsed().as_secs_f64()
        ),
        Err((seed, error)) => panic!("schedule {seed}: {error}\nrepeat it with FREEHOLD_SEED={seed}"),
    }
}

/// The seed at which a mutant is caught, and how.
fn caught(mutant: Mutant) -> (u64, String) {
    for seed in 0..5_000 {
        if let Err(error) = tell(seed, mutant, false) {
            println!("simulator: {mutant:?} is caught by schedule {seed}: {error}");
            return (seed, error);
        }
    }
    panic!("{mutant:?} is not caught");
}

#[test]
fn an_engine_that_does_not_look_is_caught() {
    caught(Mutant::DoesNotLook);
}

#[test]
fn an_engine_that_acts_before_the_record_is_caught() {
    caught(Mutant::ActsBeforeTheRecord);
}

#[test]
fn an_engine_that_takes_no_answer_for_done_is_caught() {
    caught(Mutant::TakesNoAnswerForDone);
}

#[test]
fn an_engine_that_ignores_the_lease_is_caught() {
    caught(Mutant::IgnoresTheLease);
}

#[test]
fn an_engine_that_forgets_its_journal_is_caught() {
    caught(Mutant::ForgetsTheJournal);
}

#[test]
fn a_careless_provider_is_caught() {
    caught(Mutant::CarelessProvider);
}
