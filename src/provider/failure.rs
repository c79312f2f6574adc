//! Every way a mint can fail at the upstream.
//!
//! Statuses and bodies: `OpenAI`'s `ErrorResponse` schema and its error-codes guide; the bodies seen in the field may be empty, hold
//! numbers where text belongs, or be HTML from a proxy. Nothing of a body but its `type` and `code` is looked at: messages echo parts
//! of keys.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::{Served, retry};

const MAX_CODE: usize = 64;
const BILLING: [&str; 5] = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
];

/// What kind of failure, as callers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No permanent key is known to the upstream.
    AuthFailed,
    /// There is no credential to ask with.
    NoCredential,
    /// The key may not do this.
    PermissionDenied,
    /// The upstream does not like the request: the profile is wrong.
    Rejected,
    /// The answer cannot be used.
    Malformed,
    /// The account has no money or has reached its spending limit.
    Billing,
    RateLimited,
    /// Down, overloaded or out of reach.
    Unavailable,
    TimedOut,
}

/// A failed mint.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{cause}")]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// For operators: what happened, without anything of the upstream's text but its error code.
    pub(crate) cause: String,
    /// How long the upstream asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) served: Served,
    pub(super) retryable: bool,
}

impl Failure {
    pub(super) fn new(kind: Kind, cause: impl Into<String>) -> Self {
        Self { kind, cause: cause.into(), retry_after: None, served: Served::default(), retryable: false }
    }

    /// The connection could not be made, or broke.
    pub(super) fn broken(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut cause = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            cause = format!("{cause}: {inner}");
            source = inner.source();
        }
        Self { retryable: true, ..Self::new(Kind::Unavailable, cause) }
    }

    /// An answer that is no success.
    pub(super) fn answered(status: StatusCode, headers: &HeaderMap, body: &[u8], wall: Duration) -> Self {
        let error = UpstreamError::read(body);
        let code = status.as_u16();
        let (kind, retryable) = match code {
            401 if error.is("missing_scope") => (Kind::PermissionDenied, false),
            401 => (Kind::AuthFailed, false),
            403 => (Kind::PermissionDenied, false),
            429 if BILLING.iter().any(|billing| error.is(billing)) => (Kind::Billing, false),
            429 => (Kind::RateLimited, true),
            408 | 409 | 500..=599 => (Kind::Unavailable, true),
            400..=499 => (Kind::Rejected, false),
            _ => (Kind::Malformed, false),
        };
        let advice = retry::advice(headers);
        let final_kind = matches!(kind, Kind::Billing | Kind::AuthFailed | Kind::PermissionDenied);
        Self {
            kind,
            cause: format!("status {code}{}", error.describe()),
            retry_after: retry::retry_after(headers, wall),
            served: Served::default(),
            retryable: !final_kind && advice.unwrap_or(retryable),
        }
    }
}

/// The two fields of an error body that are looked at.
#[derive(Default, Deserialize)]
pub(super) struct UpstreamError {
    #[serde(default, rename = "type")]
    kind: Value,
    #[serde(default)]
    code: Value,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: UpstreamError,
}

impl UpstreamError {
    pub(super) fn read(body: &[u8]) -> Self {
        serde_json::from_slice::<ErrorBody>(body).map(|body| body.error).unwrap_or_default()
    }

    fn is(&self, name: &str) -> bool {
        self.code == name || self.kind == name
    }

    /// The code, or else the type, where it is a plain word.
    pub(super) fn name(&self) -> Option<String> {
        plain(&self.code).or_else(|| plain(&self.kind))
    }

    fn describe(&self) -> String {
        match (plain(&self.kind), plain(&self.code)) {
            (Some(kind), Some(code)) => format!(", {kind}, {code}"),
            (Some(only), None) | (None, Some(only)) => format!(", {only}"),
            (None, None) => String::new(),
        }
    }
}

/// Nothing but a name goes on: whatever else a field holds may be part of a key.
fn plain(value: &Value) -> Option<String> {
    let is_name = |text: &&str| {
        (1..=MAX_CODE).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    value.as_str().filter(is_name).map(String::from)
}
