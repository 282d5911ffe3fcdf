//! Whole numbers, and true or false.

use std::marker::PhantomData;

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use super::context::Context;
use super::error::{DecodeError, DecodeErrorKind};
use super::kind::{Value, ValueKind, wrong_type};
use super::schema::Definitions;

/// A whole number from `LEAST` to `MOST`.
pub(crate) struct Whole<T, const LEAST: u32, const MOST: u32>(PhantomData<T>);

impl<T: TryFrom<u32>, const LEAST: u32, const MOST: u32> ValueKind for Whole<T, LEAST, MOST> {
    type Value = T;

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "integer", "minimum": LEAST, "maximum": MOST })
    }

    fn decode(context: &mut Context<'_>, value: &Value<'_>) -> Option<T> {
        let DeValue::Integer(written) = value.get_ref() else {
            wrong_type(context, value, "a whole number");
            return None;
        };
        let number = u32::from_str_radix(written.as_str(), written.radix()).ok();
        let number =
            number.filter(|number| (LEAST..=MOST).contains(number)).and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            let span = context.span(value.span());
            let message = format!("`{}` has to be from {LEAST} to {MOST}", context.path());
            context.report(DecodeError::new(DecodeErrorKind::OutOfRange, span, message));
        }
        number
    }
}

/// A few numbers.
pub(crate) trait Numbers {
    /// All of them.
    const NUMBERS: &'static [u16];
}

/// One of a few numbers.
pub(crate) struct Among<N>(PhantomData<N>);

impl<N: Numbers> ValueKind for Among<N> {
    type Value = u16;

    fn schema(_: &mut Definitions) -> Json {
        json!({ "enum": N::NUMBERS })
    }

    fn decode(context: &mut Context<'_>, value: &Value<'_>) -> Option<u16> {
        let number = Whole::<u16, 0, 65535>::decode(context, value)?;
        if N::NUMBERS.contains(&number) {
            return Some(number);
        }
        let numbers = N::NUMBERS.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        let span = context.span(value.span());
        context.report_here(DecodeErrorKind::OutOfRange, span, format!("has to be one of {numbers}"));
        None
    }
}

/// The user id that a program runs as: any but root's.
pub(crate) struct UserId;

/// The greatest user id that Kubernetes takes.
const LAST_USER: u32 = i32::MAX.unsigned_abs();

impl ValueKind for UserId {
    type Value = u32;

    fn schema(definitions: &mut Definitions) -> Json {
        Whole::<u32, 1, LAST_USER>::schema(definitions)
    }

    fn decode(context: &mut Context<'_>, value: &Value<'_>) -> Option<u32> {
        let user = Whole::<u32, 0, LAST_USER>::decode(context, value)?;
        if user == 0 {
            let span = context.span(value.span());
            let message = format!("`{}` is 0, which is root", context.path());
            let error = DecodeError::new(DecodeErrorKind::OutOfRange, span, message).label("nothing runs as root");
            context.report(error.help("leave it out for 65532, or name the user that the image is made for"));
            return None;
        }
        Some(user)
    }
}

/// True or false.
pub(crate) struct Truth;

impl ValueKind for Truth {
    type Value = bool;

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "boolean" })
    }

    fn decode(context: &mut Context<'_>, value: &Value<'_>) -> Option<bool> {
        let DeValue::Boolean(truth) = value.get_ref() else {
            wrong_type(context, value, "true or false");
            return None;
        };
        Some(*truth)
    }
}
