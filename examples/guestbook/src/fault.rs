//! Ways to misbehave, for Freehold's tests: `GUESTBOOK_FAULT` asks for one of them. Not for use in earnest.
//!
//! | value | what happens |
//! |---|---|
//! | `exit-at-start` | every command ends at once with exit code 1 |
//! | `never-ready` | `serve` runs, and `/health/ready` answers 503 for ever |
//! | `crash-after:SECONDS` | `serve` ends with exit code 101 that long after its start |
//! | `fail-migration` | `migrate` fails on a last, wrong statement; what is right was applied before |
//! | `slow-start:SECONDS` | `serve` opens its port that much later |
//! | `exit-after-ready` | `serve` ends with exit code 3 as soon as it has once said that it is ready |

use std::str::FromStr;
use std::time::Duration;

/// How to misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    #[default]
    None,
    ExitAtStart,
    NeverReady,
    CrashAfter(Duration),
    FailMigration,
    SlowStart(Duration),
    ExitAfterReady,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, argument) = text.split_once(':').map_or((text, None), |(name, argument)| (name, Some(argument)));
        let seconds = argument.and_then(|text| text.parse().ok()).and_then(|s| Duration::try_from_secs_f64(s).ok());
        match (name, argument, seconds) {
            ("exit-at-start", None, _) => Ok(Self::ExitAtStart),
            ("never-ready", None, _) => Ok(Self::NeverReady),
            ("crash-after", _, Some(after)) => Ok(Self::CrashAfter(after)),
            ("fail-migration", None, _) => Ok(Self::FailMigration),
            ("slow-start", _, Some(after)) => Ok(Self::SlowStart(after)),
            ("exit-after-ready", None, _) => Ok(Self::ExitAfterReady),
            _ => Err(format!(
                "GUESTBOOK_FAULT is {text:?}; it can be exit-at-start, never-ready, crash-after:SECONDS, \
                 fail-migration, slow-start:SECONDS or exit-after-ready"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_documented_value_is_understood() {
        assert_eq!("exit-at-start".parse(), Ok(Fault::ExitAtStart));
        assert_eq!("never-ready".parse(), Ok(Fault::NeverReady));
        assert_eq!("crash-after:0.5".parse(), Ok(Fault::CrashAfter(Duration::from_millis(500))));
        assert_eq!("fail-migration".parse(), Ok(Fault::FailMigration));
        assert_eq!("slow-start:3".parse(), Ok(Fault::SlowStart(Duration::from_secs(3))));
        assert_eq!("exit-after-ready".parse(), Ok(Fault::ExitAfterReady));
    }

    #[test]
    fn what_is_not_understood_is_an_error_that_lists_what_is() {
        for wrong in ["crash-after", "crash-after:soon", "crash-after:-1", "never-ready:1", "explode"] {
            assert!(wrong.parse::<Fault>().unwrap_err().contains("slow-start:SECONDS"), "{wrong}");
        }
    }
}
