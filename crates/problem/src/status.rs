//! What callers make of a problem: the status of an answer over HTTP, and the exit code of a command.

/// The kind of answer that a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// The caller doesn't say who it is, or not truly.
    Unauthenticated,
    /// The caller may not do this.
    Forbidden,
    /// There is no such thing, for this caller.
    NotFound,
    /// It doesn't fit what is there.
    Conflict,
    /// A condition that the request makes doesn't hold.
    PreconditionFailed,
    /// The request is well formed, and what it asks for is wrong.
    Invalid,
    /// A fault of the platform's own, or of its store.
    Internal,
    /// Something that it takes can't be reached just now.
    Unavailable,
}

impl Status {
    /// The number in HTTP (RFC 9110, section 15).
    pub const fn http(self) -> u16 {
        match self {
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::PreconditionFailed => 412,
            Self::Invalid => 422,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }

    /// What a command exits with. What is wrong with the request itself is wrong use.
    pub const fn exit(self) -> Exit {
        match self {
            Self::Invalid => Exit::Usage,
            Self::Unauthenticated
            | Self::Forbidden
            | Self::NotFound
            | Self::Conflict
            | Self::PreconditionFailed
            | Self::Internal
            | Self::Unavailable => Exit::Failure,
        }
    }
}

/// What the exit code of a command that didn't succeed says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// The work failed.
    Failure,
    /// The command was used wrongly, or a definition is invalid.
    Usage,
}
