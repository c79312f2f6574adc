//! Why the store did not answer. Neither the URL nor a key is ever part of it.

use std::error::Error as _;

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

/// Whether the connection that it came on is of no use any more: it broke off, or whoever is at its other end is no master.
pub(super) fn is_fatal(error: &RedisError) -> bool {
    let no_master = [ServerErrorKind::ReadOnly, ServerErrorKind::MasterDown].map(ErrorKind::Server);
    Unavailable::from(error) == Unavailable::Connection || no_master.contains(&error.kind())
}

/// For the log: what the server or the system says. Neither the URL nor what was sent is part of it.
pub(super) fn describe(error: &RedisError) -> String {
    let said = match error.kind() {
        ErrorKind::Io => error.source().map(ToString::to_string),
        ErrorKind::Server(_) | ErrorKind::Extension => error.detail().map(ToOwned::to_owned),
        _ => None,
    };
    let name = error.code().unwrap_or_else(|| error.category());
    said.map_or_else(|| name.to_owned(), |said| format!("{name}: {said}"))
}
