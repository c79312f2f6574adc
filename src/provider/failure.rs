//! Every way a mint can fail at the upstream.
//!
//! Statuses and bodies: `OpenAI`'s `ErrorResponse` schema and its error-codes guide; the bodies seen in the field may be empty, hold
//! numbers where text belongs, or be HTML from a proxy. Nothing of a body but its `type` and `code` is told: messages echo parts of
//! keys.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::blame::Blame;
use super::{Served, retry};

const MAX_CODE: usize = 64;
/// What messages say in words where codes do not tell one cause from another (help.openai.com, error-codes guide).
const PHRASES: [&str; 7] = [
    "ip not authorized",
    "ip address",
    "member of an organization",
    "archived",
    "deactivated",
    "organization header",
    "project header",
];
pub(crate) const BILLING: [&str; 5] = [
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
    /// Whoever vouches for the user wants to see them before the upstream may be asked on their behalf.
    Interaction,
    /// The user's token does not do for asking on their behalf.
    UserRefused,
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
    /// As far as it can be told.
    pub(crate) blame: Option<Blame>,
    /// What the user has to show, as Entra ID has it: a JSON object.
    pub(crate) claims: Option<Box<str>>,
    pub(super) retryable: bool,
}

impl Kind {
    /// As metrics name it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::AuthFailed => "auth_failed",
            Self::NoCredential => "no_credential",
            Self::Interaction => "interaction_required",
            Self::UserRefused => "user_refused",
            Self::PermissionDenied => "permission_denied",
            Self::Rejected => "rejected",
            Self::Malformed => "malformed",
            Self::Billing => "billing",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed_out",
        }
    }
}

impl Failure {
    pub(super) fn new(kind: Kind, cause: impl Into<String>) -> Self {
        Self {
            kind,
            cause: cause.into(),
            retry_after: None,
            served: Served::default(),
            blame: None,
            claims: None,
            retryable: false,
        }
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
            blame: None,
            claims: None,
            retryable: !final_kind && advice.unwrap_or(retryable),
        }
    }

    /// The same of a mint. `model` is what was asked for.
    pub(super) fn of_mint(
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        wall: Duration,
        is_azure: bool,
        model: Option<&str>,
    ) -> Self {
        let (failure, error) = (Self::answered(status, headers, body, wall), UpstreamError::read(body));
        let blame = if is_azure { error.blame() } else { error.is("model_not_found").then_some(Blame::Model) };
        let Some(blame) = blame else { return failure };
        let which = model.filter(|name| blame.is_of_model() && is_short(name)).map(|name| format!(" ({name})"));
        let cause = format!("{}: {}{}", failure.cause, blame.cure(), which.unwrap_or_default());
        Self { cause, blame: Some(blame), ..failure }
    }

    /// Whether it lies with the upstream or the way to it, so that another upstream may serve; otherwise with what was asked for.
    pub(super) fn is_of_upstream(&self) -> bool {
        match self.kind {
            Kind::Rejected => self.blame.is_some(),
            Kind::Interaction | Kind::UserRefused => false,
            _ => true,
        }
    }

    /// Whether the credential is at fault.
    pub(super) fn is_of_key(&self) -> bool {
        self.kind == Kind::AuthFailed && self.blame.is_none_or(Blame::is_of_key)
    }

    /// As metrics name it.
    pub(super) fn label(&self) -> &'static str {
        self.blame.map_or_else(|| self.kind.label(), Blame::label)
    }
}

/// The fields of an error body that are looked at.
#[derive(Default, Deserialize)]
pub(super) struct UpstreamError {
    #[serde(default, rename = "type")]
    kind: Value,
    #[serde(default)]
    code: Value,
    #[serde(default)]
    message: Value,
}

/// Azure's gateway puts the message at the top.
#[derive(Deserialize)]
struct ErrorBody {
    error: Option<UpstreamError>,
    #[serde(default)]
    message: Value,
}

impl UpstreamError {
    pub(super) fn read(body: &[u8]) -> Self {
        let Ok(ErrorBody { error, message }) = serde_json::from_slice(body) else { return Self::default() };
        error.unwrap_or(Self { message, ..Self::default() })
    }

    fn is(&self, name: &str) -> bool {
        self.code == name || self.kind == name
    }

    /// The code, or else the type, where it is a plain word.
    pub(super) fn name(&self) -> Option<String> {
        plain(&self.code).or_else(|| plain(&self.kind))
    }

    pub(super) fn blame(&self) -> Option<Blame> {
        Blame::of(self.code.as_str(), self.message.as_str())
    }

    /// The first phrase of ours that the message holds.
    pub(super) fn phrase(&self) -> Option<&'static str> {
        let message = self.message.as_str()?.to_ascii_lowercase();
        PHRASES.into_iter().find(|phrase| message.contains(phrase))
    }

    fn describe(&self) -> String {
        match (plain(&self.kind), plain(&self.code)) {
            (Some(kind), Some(code)) => format!(", {kind}, {code}"),
            (Some(only), None) | (None, Some(only)) => format!(", {only}"),
            (None, None) => String::new(),
        }
    }
}

/// Whether a name of the caller's may be written down.
fn is_short(name: &str) -> bool {
    (1..=MAX_CODE).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic())
}

/// Nothing but a name goes on: whatever else a field holds may be part of a key.
fn plain(value: &Value) -> Option<String> {
    let is_name = |text: &&str| {
        (1..=MAX_CODE).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    value.as_str().filter(is_name).map(String::from)
}
