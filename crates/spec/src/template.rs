//! Texts with `${…}` references in them. The references are a closed list; they make the edges of the graph.

use std::fmt;

use crate::name::Name;
use crate::part::Output;
use crate::part::output::PortOutput;
use crate::span::Spanned;

/// A text in which references stand: `"https://${stack.name}.${target.domain}"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// In order. Two texts never stand side by side.
    pub segments: Vec<Segment>,
}

/// A piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Text as it stands.
    Text(String),
    /// A reference, with its place in the source.
    Reference(Spanned<Reference>),
}

/// What a `${…}` refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// An output of a part: `database.main.url`, `secret.session-key`.
    Output(Name, Output),
    /// A named port of a service: `service.mail.smtp.host`.
    Port {
        /// Whose port it is.
        service: Name,
        /// As the service's table `ports` has it.
        port: Name,
        /// What of it.
        output: PortOutput,
    },
    /// A fact of the stack: `stack.name`.
    Fact(Fact),
}

/// What is known of every stack before it is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// `stack.name`.
    StackName,
    /// `stack.kind`: `tenant`, `preview` or `stage`.
    StackKind,
    /// `stack.id`: the stack's UUID.
    StackId,
    /// `stack.revision`: the number of the revision that a program is of.
    StackRevision,
    /// `tier.name`; empty where the stack has no tier.
    TierName,
    /// `stage.name`: the stage that the stack belongs to; `preview` for previews.
    StageName,
    /// `target.domain`.
    TargetDomain,
    /// `pod.name` and the like: known only to the program itself.
    Pod(PodFact),
}

/// What a Pod knows of itself; on one machine there is something in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodFact {
    /// `pod.name`
    Name,
    /// `pod.namespace`
    Namespace,
    /// `pod.node`: the name of the node that it is on.
    Node,
    /// `pod.ip`
    Ip,
}

impl Fact {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::StackName,
        Self::StackKind,
        Self::StackId,
        Self::StackRevision,
        Self::TierName,
        Self::StageName,
        Self::TargetDomain,
        Self::Pod(PodFact::Name),
        Self::Pod(PodFact::Namespace),
        Self::Pod(PodFact::Node),
        Self::Pod(PodFact::Ip),
    ];

    /// As it is written: the word, and the field.
    pub const fn written(self) -> (&'static str, &'static str) {
        match self {
            Self::StackName => ("stack", "name"),
            Self::StackKind => ("stack", "kind"),
            Self::StackId => ("stack", "id"),
            Self::StackRevision => ("stack", "revision"),
            Self::TierName => ("tier", "name"),
            Self::StageName => ("stage", "name"),
            Self::TargetDomain => ("target", "domain"),
            Self::Pod(PodFact::Name) => ("pod", "name"),
            Self::Pod(PodFact::Namespace) => ("pod", "namespace"),
            Self::Pod(PodFact::Node) => ("pod", "node"),
            Self::Pod(PodFact::Ip) => ("pod", "ip"),
        }
    }

    /// Whether it is the same for the whole stack as long as nothing is deployed, so that names may be made from it.
    pub const fn is_of_stack(self) -> bool {
        match self {
            Self::StackRevision | Self::Pod(_) => false,
            Self::StackName
            | Self::StackKind
            | Self::StackId
            | Self::TierName
            | Self::StageName
            | Self::TargetDomain => true,
        }
    }
}

impl Reference {
    /// The output that it refers to, with the name of the part. Of a named port it is that of the service.
    pub const fn output(&self) -> Option<(&Name, Output)> {
        match self {
            Self::Output(name, output) => Some((name, *output)),
            Self::Port { service, output, .. } => Some((service, Output::of_port(*output))),
            Self::Fact(_) => None,
        }
    }

    /// The named port that it refers to: the service's, and its own name.
    pub const fn port(&self) -> Option<(&Name, &Name)> {
        match self {
            Self::Port { service, port, .. } => Some((service, port)),
            Self::Output(..) | Self::Fact(_) => None,
        }
    }

    /// The fact that it refers to.
    pub const fn fact(&self) -> Option<Fact> {
        match self {
            Self::Output(..) | Self::Port { .. } => None,
            Self::Fact(fact) => Some(*fact),
        }
    }
}

impl fmt::Display for Reference {
    /// As it is written between `${` and `}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output(name, output) => {
                write!(f, "{}.{name}", output.part().word())?;
                match output.row().field {
                    "" => Ok(()),
                    field => write!(f, ".{field}"),
                }
            }
            Self::Port { service, port, output } => write!(f, "service.{service}.{port}.{}", output.as_str()),
            Self::Fact(fact) => {
                let (word, field) = fact.written();
                write!(f, "{word}.{field}")
            }
        }
    }
}

impl Template {
    /// The text, without spaces around it, if there is no reference in it.
    pub fn literal(&self) -> Option<&str> {
        match self.segments.as_slice() {
            [Segment::Text(text)] => Some(text.trim()),
            _ => None,
        }
    }

    /// The references in it, in order.
    pub fn references(&self) -> impl Iterator<Item = &Spanned<Reference>> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Reference(reference) => Some(reference),
            Segment::Text(_) => None,
        })
    }
}
