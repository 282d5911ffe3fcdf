//! What is noted of a job's last run, on the stack's namespace: `freehold.dev/run-JOB: REVISION UID STATE`.
//!
//! | state | |
//! |---|---|
//! | `open` | it may have run, and nobody has seen its end |
//! | `ended` | its end was seen, well or not |
//! | `asked` | it is gone, and whoever deployed was told that nobody knows how it ended |
//! | none | from before there were states: nothing is known |
//! | any other | of a later release: taken for `open`, so that somebody is asked before it runs again |

use std::fmt;

use serde_json::Value as Json;

/// What is known of the run's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State<'a> {
    Open,
    Ended,
    Asked,
    Unstated,
    Later(&'a str),
}

impl<'a> State<'a> {
    fn of(word: &'a str) -> Self {
        match word {
            "open" => Self::Open,
            "ended" => Self::Ended,
            "asked" => Self::Asked,
            "" => Self::Unstated,
            later => Self::Later(later),
        }
    }

    const fn as_str(self) -> &'a str {
        match self {
            Self::Open => "open",
            Self::Ended => "ended",
            Self::Asked => "asked",
            Self::Unstated => "",
            Self::Later(word) => word,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note<'a> {
    pub(super) revision: u64,
    /// Of the Job.
    pub(super) uid: &'a str,
    pub(super) state: State<'a>,
}

/// The annotation for a job.
pub(super) fn annotation(job: &str) -> String {
    let name: String = job.chars().take(59).collect();
    format!("freehold.dev/run-{name}")
}

impl<'a> Note<'a> {
    pub(super) fn of(namespace: &'a Json, job: &str) -> Option<Self> {
        let text = namespace.pointer("/metadata/annotations")?.get(annotation(job))?.as_str()?;
        let mut words = text.split(' ');
        let (revision, uid) = (words.next()?.parse().ok()?, words.next()?);
        Some(Self { revision, uid, state: State::of(words.next().unwrap_or_default()) })
    }

    /// Of a run that is about to be let go.
    pub(super) const fn open(revision: u64, uid: &'a str) -> Self {
        Self { revision, uid, state: State::Open }
    }

    /// Whether nobody has seen its end, or asked about it.
    pub(super) fn is_open(&self) -> bool {
        match self.state {
            State::Open | State::Later(_) => true,
            State::Ended | State::Asked | State::Unstated => false,
        }
    }
}

impl fmt::Display for Note<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.revision, self.uid, self.state.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_note_is_read_as_it_was_written_also_by_those_before_there_were_states() {
        let read = |text: &str| {
            let namespace = json!({"metadata": {"annotations": {"freehold.dev/run-migrate": text}}});
            Note::of(&namespace, "migrate").map(|note| (note.to_string(), note.is_open()))
        };
        assert_eq!(read("7 an-uid open"), Some(("7 an-uid open".to_owned(), true)));
        assert_eq!(read("7 an-uid ended"), Some(("7 an-uid ended".to_owned(), false)));
        assert_eq!(read("7 an-uid later"), Some(("7 an-uid later".to_owned(), true)));
        assert_eq!(read("7 an-uid"), Some(("7 an-uid ".to_owned(), false)));
        assert_eq!(read("words"), None);
    }
}
