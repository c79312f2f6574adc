//! Why a server cannot be asked, told apart as far as different things mend it.

use std::error::Error;
use std::io::{self, ErrorKind};

use rustls::CertificateError;

/// What stands between us and a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Its name has no address.
    Name,
    /// Nobody listens there.
    Refused,
    /// No way leads there.
    Unroutable,
    /// Not even a connection within the time.
    NoConnection,
    /// A connection, and no answer within the time.
    NoAnswer,
    /// Its certificate is of nobody whom this machine trusts.
    Untrusted,
    /// Its certificate has expired, or begins later.
    Expired,
    /// Its certificate is for another name.
    OtherName,
    /// What it speaks is no TLS, or no TLS that we speak.
    NoTls,
    /// The connection broke, or anything else.
    Broken,
}

/// A server that could not be asked. Displays what libraries and the system say of it, without the URL.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
pub(crate) struct Unreached {
    pub(crate) trouble: Trouble,
    said: String,
}

impl Unreached {
    pub(crate) fn new(trouble: Trouble, said: impl Into<String>) -> Self {
        Self { trouble, said: said.into() }
    }

    /// What lies at the root of it, in few words.
    pub(crate) fn root(&self) -> &str {
        self.said.rsplit(": ").next().unwrap_or_default()
    }
}

impl From<reqwest::Error> for Unreached {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let trouble = match Trouble::of(&error) {
            Trouble::NoAnswer | Trouble::Broken if error.is_timeout() && error.is_connect() => Trouble::NoConnection,
            Trouble::Broken if error.is_timeout() => Trouble::NoAnswer,
            trouble => trouble,
        };
        Self { trouble, said: format!("{error}: {}", super::causes(&error)) }
    }
}

impl Trouble {
    /// Looks at the error and at everything below it.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(trouble) = Self::itself(error) {
                return trouble;
            }
            next = error.source();
        }
        Self::Broken
    }

    fn itself(error: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(Self::tls(tls));
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            // What an I/O error wraps is not among its sources.
            let inside = || error.get_ref().and_then(|inner| Self::itself(inner));
            if let Some(trouble) = Self::io(error).or_else(inside) {
                return Some(trouble);
            }
        }
        let said = error.to_string();
        let is_name = said == "dns error" || said.contains("failed to lookup address");
        is_name.then_some(Self::Name)
    }

    fn io(error: &io::Error) -> Option<Self> {
        match error.kind() {
            ErrorKind::ConnectionRefused => Some(Self::Refused),
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown | ErrorKind::AddrNotAvailable => {
                Some(Self::Unroutable)
            }
            ErrorKind::TimedOut => Some(Self::NoAnswer),
            _ => None,
        }
    }

    fn tls(error: &rustls::Error) -> Self {
        use CertificateError as Bad;
        match error {
            rustls::Error::InvalidCertificate(bad) => match bad {
                Bad::Expired | Bad::ExpiredContext { .. } | Bad::NotValidYet | Bad::NotValidYetContext { .. } => Self::Expired,
                Bad::NotValidForName | Bad::NotValidForNameContext { .. } => Self::OtherName,
                _ => Self::Untrusted,
            },
            _ => Self::NoTls,
        }
    }
}
