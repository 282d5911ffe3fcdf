//! The decoder's mistakes as diagnostics.

use freehold_problem::Code;
use freehold_spec::{DecodeError, DecodeErrorKind};

use crate::diagnostic::Diagnostic;

/// The code of a kind of mistake.
const fn code(kind: DecodeErrorKind) -> Code {
    match kind {
        DecodeErrorKind::Syntax => Code::Syntax,
        DecodeErrorKind::UnknownKey => Code::UnknownKey,
        DecodeErrorKind::MissingKey => Code::MissingKey,
        DecodeErrorKind::WrongType => Code::WrongType,
        DecodeErrorKind::BadName => Code::BadName,
        DecodeErrorKind::BadQuantity => Code::BadQuantity,
        DecodeErrorKind::UnknownWord => Code::UnknownWord,
        DecodeErrorKind::BadReference => Code::BadReference,
        DecodeErrorKind::UnknownReference => Code::UnknownReference,
        DecodeErrorKind::BadPath => Code::BadPath,
        DecodeErrorKind::OutOfRange => Code::OutOfRange,
        DecodeErrorKind::BadSchedule => Code::BadSchedule,
        DecodeErrorKind::ListedTwice => Code::ListedTwice,
        DecodeErrorKind::BadText => Code::BadText,
        DecodeErrorKind::UnknownOverride => Code::UnknownOverride,
        DecodeErrorKind::BadFile => Code::BadFile,
        DecodeErrorKind::BadManifest => Code::BadManifest,
        DecodeErrorKind::TooLarge => Code::TooLarge,
        DecodeErrorKind::Internal => Code::Internal,
    }
}

/// One mistake as a diagnostic.
pub(crate) fn diagnostic(error: &DecodeError) -> Diagnostic {
    let mut diagnostic = Diagnostic::error(code(error.kind), &error.message);
    if error.kind != DecodeErrorKind::TooLarge {
        diagnostic = diagnostic.at(error.span, &error.label);
    }
    if let Some((span, what)) = &error.related {
        diagnostic = diagnostic.at(*span, what);
    }
    diagnostic.help.clone_from(&error.help);
    diagnostic
}
