//! What an attack is, and how one is run: once against the platform, once as its control.
//!
//! A control is the same thing done where the guard isn't: the same script outside of Freehold's launcher and with strong roles, the same
//! bytes sent to the program without the router before it. An attack whose control doesn't get through proves nothing, and fails.

use anyhow::Result;

use crate::stage::Stage;

/// What is meant to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Boundary {
    Sql,
    Process,
    File,
    Port,
    Header,
    Definition,
    Artifact,
    Archive,
    Log,
    Mark,
    Lock,
    Resource,
}

impl Boundary {
    pub(crate) fn word(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// As whom the platform runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Root,
    User,
}

impl Who {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::User => "ordinary user",
        }
    }
}

/// Something that a tenant would try.
#[derive(Clone, Copy)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) boundary: Boundary,
    means: Means,
}

#[derive(Clone, Copy)]
enum Means {
    /// A script that the tenant's program runs; see `prelude.py`.
    Inside(&'static str),
    /// A script of a client of the router.
    Client { script: &'static str, frame: Option<&'static str> },
    /// The attack and its control. Both say whether they got through.
    Steps(fn(&mut Stage) -> Result<bool>, fn(&mut Stage) -> Result<bool>),
}

pub(crate) const fn inside(name: &'static str, boundary: Boundary, script: &'static str) -> Attack {
    Attack { name, boundary, means: Means::Inside(script) }
}

pub(crate) const fn client(name: &'static str, boundary: Boundary, script: &'static str) -> Attack {
    Attack { name, boundary, means: Means::Client { script, frame: None } }
}

pub(crate) const fn steps(
    name: &'static str,
    boundary: Boundary,
    attempt: fn(&mut Stage) -> Result<bool>,
    control: fn(&mut Stage) -> Result<bool>,
) -> Attack {
    Attack { name, boundary, means: Means::Steps(attempt, control) }
}

impl Attack {
    /// With the script put into a frame, at its `@@`.
    pub(crate) const fn with_frame(self, frame: &'static str) -> Self {
        match self.means {
            Means::Client { script, .. } => Self { means: Means::Client { script, frame: Some(frame) }, ..self },
            Means::Inside(_) | Means::Steps(..) => self,
        }
    }

    /// Whether it gets through to what it is after.
    pub(crate) fn attempt(self, stage: &mut Stage) -> Result<bool> {
        match self.means {
            Means::Inside(script) => stage.inside(script).map(|output| through(&output)),
            Means::Client { script, frame } => stage.client(&framed(script, frame)).map(|output| through(&output)),
            Means::Steps(attempt, _) => attempt(stage),
        }
    }

    /// Whether it does where the guard isn't.
    pub(crate) fn control(self, stage: &mut Stage) -> Result<bool> {
        match self.means {
            Means::Inside(script) => proved(&stage.outside(script)?),
            Means::Client { script, frame } => proved(&stage.without_router(&framed(script, frame))?),
            Means::Steps(_, control) => control(stage),
        }
    }
}

fn framed(script: &str, frame: Option<&str>) -> String {
    frame.map_or_else(|| script.to_owned(), |frame| frame.replace("@@", script))
}

pub(crate) fn got_through(output: &str) -> bool {
    output.lines().any(|line| line.starts_with("BROKEN"))
}

/// What a script of an attack came to. Where it gets through, it may say to what.
fn through(output: &str) -> bool {
    if let Some(line) = output.lines().find(|line| line.trim_end().len() > "BROKEN".len() && line.starts_with("BROKEN"))
    {
        println!("attack: {line}");
    }
    got_through(output)
}

/// A control says why it failed.
fn proved(output: &str) -> Result<bool> {
    anyhow::ensure!(got_through(output), "{output}");
    Ok(true)
}
