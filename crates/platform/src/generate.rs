//! Values of secrets that nobody chooses.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freehold_graph::SecretText;
use freehold_problem::{Code, Problem};
use freehold_spec::app::{Encoding, Generate};

use crate::Result;

/// A new random text.
pub(crate) fn generate_text(generate: Generate) -> Result<SecretText> {
    let mut bytes = vec![0; usize::try_from(generate.bytes).unwrap_or(32)];
    getrandom::fill(&mut bytes)
        .map_err(|error| Problem::new(Code::NoRandomness, format!("the system provides no random numbers: {error}")))?;
    Ok(SecretText::new(match generate.encoding {
        Encoding::Base64Url => URL_SAFE_NO_PAD.encode(&bytes),
        Encoding::Hex => hex::encode(&bytes),
    }))
}
