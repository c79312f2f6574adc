//! Why the store did not answer. Neither the URL nor a key is ever part of it.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// The store did not do what it was asked, as far as we know.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Unavailable {
    /// Not answered in time. Unknown, not "no": the command may have been applied, or may yet be.
    #[error("the store did not answer in time")]
    Timeout,
    /// No connection, or one that broke off; a command that was under way may have been applied.
    #[error("the store cannot be reached")]
    Connection,
    /// The server answered, and will not serve: credentials, permissions, loading, read-only, out of memory.
    #[error("the store refused the command")]
    Refused,
    /// A script failed in the server, or its answer has another shape.
    #[error("a script failed in the store")]
    Script,
}

impl Unavailable {
    /// As the metric names it.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Refused => "refused",
            Self::Script => "script",
        }
    }
}

impl From<&RedisError> for Unavailable {
    fn from(error: &RedisError) -> Self {
        if error.is_timeout() {
            return Self::Timeout;
        }
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::ResponseError) | ErrorKind::UnexpectedReturnType => Self::Script,
            ErrorKind::AuthenticationFailed | ErrorKind::Extension | ErrorKind::Server(_) => Self::Refused,
            _ => Self::Connection,
        }
    }
}
