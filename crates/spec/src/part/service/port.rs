//! The ports of a service, and what is spoken at them.

use serde_json::json;

use crate::decode::DecodeErrorKind;
use crate::decode::kind::At;
use crate::decode::number::Whole;
use crate::decode::table::table;
use crate::decode::text::{OneOf, PartName, Rejection, Text, TextKind, Word};
use crate::name::Name;
use crate::span::{Span, Spanned};

/// The port of an `http` URL that names none.
const HTTP: u16 = 80;

/// What is spoken at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Protocol {
    /// HTTP/1.1, WebSockets included.
    #[default]
    Http,
    /// HTTP/2 without TLS, as gRPC has it.
    Grpc,
    /// Anything else over TCP.
    Tcp,
}

impl Protocol {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }

    /// The URL of a port at which it is spoken: `http://web:8080`. The usual port of the scheme isn't said.
    pub fn url(self, host: &str, port: u16) -> String {
        match self {
            Self::Http | Self::Grpc if port == HTTP => format!("http://{host}"),
            Self::Http | Self::Grpc => format!("http://{host}:{port}"),
            Self::Tcp => format!("tcp://{host}:{port}"),
        }
    }
}

impl Word for Protocol {
    const WORDS: &'static [(&'static str, Self)] =
        &[(Self::Http.as_str(), Self::Http), (Self::Grpc.as_str(), Self::Grpc), (Self::Tcp.as_str(), Self::Tcp)];
}

/// A port beside the one that a service is reached at first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Where its table stands.
    pub span: Span,
    /// Its number in a cluster; everywhere the program reads `PORT_NAME`.
    pub port: Spanned<u16>,
    /// What is spoken at it.
    pub protocol: Protocol,
}

impl Port {
    /// The variable that tells a program the number of a port: `PORT_SMTP`.
    pub fn variable(name: &Name) -> String {
        format!("PORT_{}", name.as_str().replace('-', "_").to_uppercase())
    }
}

/// What a Pod's port may be called at the most (Kubernetes: IANA's names of services, RFC 6335, 5.1).
const LONGEST: usize = 15;
/// What Freehold calls the ports of a Service that have no name in the definition.
const TAKEN: [&str; 2] = ["http", "former"];

/// The name of a port.
pub(crate) struct PortName;

impl TextKind for PortName {
    type Value = Name;

    fn schema() -> serde_json::Value {
        json!({ "pattern": "^[a-z][a-z0-9]*(-[a-z0-9]+)*$", "maxLength": LONGEST, "not": { "enum": TAKEN } })
    }

    fn parse(text: &str) -> Result<Name, Rejection> {
        let name = PartName::parse(text)?;
        let wrong = |message: String| Rejection::new(DecodeErrorKind::BadName, message);
        if text.len() > LONGEST {
            return Err(wrong(format!(
                "the name of a port has at most {LONGEST} characters; {text:?} has {}",
                text.len()
            )));
        }
        if TAKEN.contains(&text) {
            return Err(wrong(format!("{text:?} is what Freehold calls another port of the service"))
                .help("choose another name: \"web\", \"admin\""));
        }
        Ok(name)
    }
}

table! {
    /// A port beside the service's `port`.
    "port" PortTable -> Port { span:
        /// Its number in a cluster, and at which others reach it there. Everywhere the program reads it from PORT_NAME.
        port: required At<Whole<u16, 1, 65535>>;
        /// What is spoken at it: "http", "grpc" (HTTP/2 without TLS), "tcp" (anything else).
        protocol: default Text<OneOf<Protocol>> = "\"http\"";
    }
}
