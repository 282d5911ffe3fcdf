//! Quantities with units: processor time, memory, durations.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not {expected}")]
pub struct QuantityError {
    /// What was written.
    pub text: String,
    /// What is expected there, with an example.
    pub expected: &'static str,
}

/// Processor time in millicores, written `"500m"` or `"2"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cpu(pub u64);

/// Memory in bytes, written `"64Mi"` or `"2Gi"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Memory(pub u64);

impl From<u64> for Memory {
    fn from(bytes: u64) -> Self {
        Self(bytes)
    }
}

/// Room on a disk in bytes, written `"500Mi"` or `"20Gi"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Storage(pub u64);

impl From<u64> for Storage {
    fn from(bytes: u64) -> Self {
        Self(bytes)
    }
}

/// A duration in whole seconds, written `"30s"`, `"10m"`, `"6h"` or `"30d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seconds(pub u64);

impl Seconds {
    /// The same as the standard library's duration.
    pub const fn as_duration(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.0)
    }
}

/// A request and a limit, written `"100m..500m"`; a single figure stands for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range<T> {
    /// What is reserved.
    pub request: T,
    /// What may be used at the most.
    pub limit: T,
}

/// The units of memory and storage. A bare number is none: it would be read as bytes by one and as Mi by another.
const POWERS_OF_1024: [(&str, u64); 4] = [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30), ("Ti", 1 << 40)];

fn parse_with_units(text: &str, units: &[(&str, u64)], expected: &'static str) -> Result<u64, QuantityError> {
    let error = || QuantityError { text: text.to_owned(), expected };
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(error)?;
    let number: u64 = number.parse().map_err(|_| error())?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
    number.checked_mul(*factor).ok_or_else(error)
}

impl FromStr for Cpu {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse_with_units(text, &[("m", 1), ("", 1000)], "processor time such as \"500m\" or \"2\"").map(Self)
    }
}

impl FromStr for Memory {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse_with_units(text, &POWERS_OF_1024, "memory such as \"64Mi\" or \"2Gi\"").map(Self)
    }
}

impl FromStr for Storage {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse_with_units(text, &POWERS_OF_1024, "a size such as \"500Mi\" or \"20Gi\"").map(Self)
    }
}

impl FromStr for Seconds {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86400)];
        parse_with_units(text, &units, "a duration such as \"30s\", \"10m\", \"6h\" or \"30d\"").map(Self)
    }
}

impl<T: FromStr<Err = QuantityError> + Copy + PartialOrd> FromStr for Range<T> {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (request, limit) = match text.split_once("..") {
            Some((request, limit)) => (request.parse()?, limit.parse()?),
            None => {
                let both: T = text.parse()?;
                (both, both)
            }
        };
        if request > limit {
            let expected = "a range: its request is above its limit";
            return Err(QuantityError { text: text.to_owned(), expected });
        }
        Ok(Self { request, limit })
    }
}

fn write_with_units(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let (unit, factor) = units
        .iter()
        .filter(|(_, factor)| value != 0 && value.is_multiple_of(*factor))
        .max_by_key(|(_, factor)| *factor)
        .or(units.first())
        .copied()
        .unwrap_or(("", 1));
    write!(f, "{}{unit}", value / factor)
}

fn write_bytes(f: &mut fmt::Formatter<'_>, bytes: u64) -> fmt::Result {
    write_with_units(f, bytes, &[&[("", 1)], POWERS_OF_1024.as_slice()].concat())
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_units(f, self.0, &[("m", 1), ("", 1000)])
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_bytes(f, self.0)
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_bytes(f, self.0)
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_units(f, self.0, &[("s", 1), ("m", 60), ("h", 3600), ("d", 86400)])
    }
}

impl<T: fmt::Display + PartialEq> fmt::Display for Range<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.request == self.limit {
            write!(f, "{}", self.limit)
        } else {
            write!(f, "{}..{}", self.request, self.limit)
        }
    }
}
