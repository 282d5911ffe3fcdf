//! How a service tells how it is.

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use crate::decode::context::Context;
use crate::decode::error::DecodeErrorKind;
use crate::decode::kind::{At, Value, ValueKind};
use crate::decode::number::{Truth, Whole};
use crate::decode::path::UrlPath;
use crate::decode::schema::Definitions;
use crate::decode::table::table;
use crate::decode::text::{Duration, PartName, Rejection, Text, TextKind};
use crate::name::Name;
use crate::part::Command;
use crate::quantity::Seconds;
use crate::span::{Span, Spanned};

/// What tells a service's health.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// Well when requests may come. Without, the service is ready when its port accepts connections
    /// (or, without a port, when it has lived for a second).
    pub ready: Option<Probe>,
    /// Well as long as the process is worth keeping.
    pub live: Option<Probe>,
    /// Well when the program has started; without, `ready` tells that, too.
    pub start: Option<Probe>,
}

impl Health {
    /// All that are said, with their keys.
    pub fn probes(&self) -> impl Iterator<Item = (&'static str, &Probe)> {
        let all = [("ready", &self.ready), ("live", &self.live), ("start", &self.start)];
        all.into_iter().filter_map(|(key, probe)| Some((key, probe.as_ref()?)))
    }
}

/// A question to a service, and how often it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Where it stands.
    pub span: Span,
    /// A path that answers 2xx.
    pub http: Option<Spanned<String>>,
    /// The port accepts connections.
    pub tcp: bool,
    /// gRPC's protocol of health checks, with the name of the service that is asked for; empty for the whole server.
    pub grpc: Option<Spanned<String>>,
    /// A command that succeeds.
    pub command: Option<Spanned<Vec<String>>>,
    /// The named port that is asked; without, the service's own.
    pub port: Option<Spanned<Name>>,
    /// How often it is asked.
    pub period: Option<Spanned<Seconds>>,
    /// How long an answer may take.
    pub timeout: Option<Spanned<Seconds>>,
    /// How many bad answers in a row count.
    pub failures: Option<Spanned<u32>>,
}

/// What a probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question<'a> {
    /// A path that answers 2xx.
    Http(&'a str),
    /// The port accepts connections.
    Tcp,
    /// gRPC's protocol of health checks.
    Grpc(&'a str),
    /// A command that succeeds.
    Command(&'a [String]),
}

impl Probe {
    /// What it asks. One that says nothing, which `check` refuses, asks for a connection.
    pub fn question(&self) -> Question<'_> {
        match (&self.http, &self.grpc, &self.command) {
            (Some(path), _, _) => Question::Http(&path.value),
            (_, Some(service), _) => Question::Grpc(&service.value),
            (_, _, Some(command)) => Question::Command(&command.value),
            (None, None, None) => Question::Tcp,
        }
    }

    /// How many questions it says; one is right.
    pub fn questions(&self) -> usize {
        let said = [self.http.is_some(), self.tcp, self.grpc.is_some(), self.command.is_some()];
        said.into_iter().filter(|said| *said).count()
    }

    /// Whether it says something of its times.
    pub const fn is_timed(&self) -> bool {
        self.period.is_some() || self.timeout.is_some() || self.failures.is_some()
    }
}

/// A probe: a path, or a table.
pub(crate) struct PathOrProbe;

impl ValueKind for PathOrProbe {
    type Value = Probe;

    fn schema(definitions: &mut Definitions) -> Json {
        json!({ "anyOf": [Text::<UrlPath>::schema(definitions), ProbeTable::schema(definitions)] })
    }

    fn decode(context: &mut Context<'_>, value: &Value<'_>) -> Option<Probe> {
        let DeValue::String(_) = value.get_ref() else { return ProbeTable::decode(context, value) };
        let http = At::<Text<UrlPath>>::decode(context, value)?;
        let span = http.span;
        Some(Probe {
            span,
            http: Some(http),
            tcp: false,
            grpc: None,
            command: None,
            port: None,
            period: None,
            timeout: None,
            failures: None,
        })
    }
}

/// The name of a service in gRPC's protocol of health checks; may be empty.
pub(crate) struct GrpcService;

impl TextKind for GrpcService {
    type Value = String;

    fn schema() -> Json {
        json!({ "pattern": "^[A-Za-z0-9_./-]*$", "maxLength": 253 })
    }

    fn parse(text: &str) -> Result<String, Rejection> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
        if text.len() <= 253 && text.chars().all(fits) {
            return Ok(text.to_owned());
        }
        let message = format!("{text:?} can't be the name of a gRPC service");
        Err(Rejection::new(DecodeErrorKind::BadName, message)
            .help("write it as in the .proto file, \"shop.v1.Orders\", or \"\" for the whole server"))
    }
}

/// A time of a probe.
type Time = At<Text<Duration<1, 1>>>;

table! {
    /// What tells a service's health.
    "health" HealthTable -> Health {
        /// Well when requests may come: a path that answers 2xx, or a table. Without it, the service is ready when its port accepts connections, or, without a port, when it has lived for a second.
        ready: optional PathOrProbe;
        /// Well as long as the process is worth keeping: a path that answers 2xx, or a table.
        live: optional PathOrProbe;
        /// Well when the program has started: a path that answers 2xx, or a table. Without it, `ready` tells that, too.
        start: optional PathOrProbe;
    }
}

table! {
    /// A question to a service: one of `http`, `tcp`, `grpc` and `command`.
    "probe" ProbeTable -> Probe { span:
        /// A path that answers 2xx.
        http: optional At<Text<UrlPath>>;
        /// The port accepts connections: true.
        tcp: default Truth = "false";
        /// gRPC's protocol of health checks: the name of the service that is asked for, or "" for the whole server.
        grpc: optional At<Text<GrpcService>>;
        /// A command in the container that succeeds.
        command: optional At<Command>;
        /// The named port that is asked, of `ports`. Without it, the service's `port`.
        port: optional At<Text<PartName>>;
        /// How often it is asked.
        period: optional Time;
        /// How long an answer may take.
        timeout: optional Time;
        /// How many bad answers in a row count: 1 to 100.
        failures: optional At<Whole<u32, 1, 100>>;
    }
}
