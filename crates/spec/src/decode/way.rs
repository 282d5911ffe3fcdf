//! Ways out of a stack and into it.

use std::marker::PhantomData;
use std::str::FromStr;

use serde_json::{Value as Json, json};

use super::error::DecodeErrorKind;
use super::text::{Rejection, TextKind};
use crate::network::NetworkError;

/// A way, with examples of what one looks like.
pub(crate) trait Way: FromStr<Err = NetworkError> {
    const EXAMPLES: &'static str;
}

impl Way for crate::network::Egress {
    const EXAMPLES: &'static str =
        "for example: \"smtp.example.net:587\", \"otel.monitoring:4317\" (SERVICE.NAMESPACE), \"10.0.0.0/8:5432\"";
}

impl Way for crate::network::Ingress {
    const EXAMPLES: &'static str = "for example: \"monitoring:9464\" (NAMESPACE), \"10.0.0.0/8:8080\"";
}

/// A way as a text.
pub(crate) struct WayOf<W>(PhantomData<W>);

impl<W: Way> TextKind for WayOf<W> {
    type Value = W;

    fn schema() -> Json {
        json!({ "pattern": "^[^\\s]+:[0-9]+$" })
    }

    fn parse(text: &str) -> Result<W, Rejection> {
        text.parse().map_err(|error: NetworkError| {
            Rejection::new(DecodeErrorKind::BadText, format!("{text:?} {error}")).help(W::EXAMPLES)
        })
    }
}
