//! Every way to be refused: status, stable code, title and log level side by side.

use std::borrow::Cow;

use tracing::Level;

use crate::admit::{Rule, Standing};
use crate::authenticate::Challenge;
use crate::provider::Failure;

/// A stable name for one kind of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    InvalidJson,
    UnknownField,
    DuplicateHeader,
    TtlOutOfRange,
    InvalidIdempotencyKey,
    MissingCredentials,
    InvalidToken,
    TokenExpired,
    InteractionRequired,
    InsufficientScope,
    ProfileForbidden,
    SessionFieldNotAllowed,
    UserBlocked,
    OriginNotAllowed,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    RequestTimeout,
    IdempotencyConflict,
    CallAlreadyReported,
    BodyTooLarge,
    UnsupportedMediaType,
    RateLimited,
    ConcurrencyLimited,
    QuotaExhausted,
    Internal,
    UpstreamAuthFailed,
    UpstreamPermissionDenied,
    UpstreamRejected,
    UpstreamMalformed,
    UpstreamBilling,
    UpstreamRateLimited,
    UpstreamUnavailable,
    IdentityUnavailable,
    CredentialUnavailable,
    StoreUnavailable,
    AuditUnavailable,
    LockedDown,
    Overloaded,
    ShuttingDown,
    UpstreamTimeout,
}

/// What belongs to a code, whatever the case at hand.
pub(crate) struct Row {
    pub(crate) status: u16,
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) level: Level,
}

const fn row(status: u16, name: &'static str, title: &'static str, level: Level) -> Row {
    Row { status, name, title, level }
}

impl Code {
    /// In the order of their status.
    pub(crate) const ALL: [Self; 41] = [
        Self::InvalidJson,
        Self::UnknownField,
        Self::DuplicateHeader,
        Self::TtlOutOfRange,
        Self::InvalidIdempotencyKey,
        Self::MissingCredentials,
        Self::InvalidToken,
        Self::TokenExpired,
        Self::InteractionRequired,
        Self::InsufficientScope,
        Self::ProfileForbidden,
        Self::SessionFieldNotAllowed,
        Self::UserBlocked,
        Self::OriginNotAllowed,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::RequestTimeout,
        Self::IdempotencyConflict,
        Self::CallAlreadyReported,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::RateLimited,
        Self::ConcurrencyLimited,
        Self::QuotaExhausted,
        Self::Internal,
        Self::UpstreamAuthFailed,
        Self::UpstreamPermissionDenied,
        Self::UpstreamRejected,
        Self::UpstreamMalformed,
        Self::UpstreamBilling,
        Self::UpstreamRateLimited,
        Self::UpstreamUnavailable,
        Self::IdentityUnavailable,
        Self::CredentialUnavailable,
        Self::StoreUnavailable,
        Self::AuditUnavailable,
        Self::LockedDown,
        Self::Overloaded,
        Self::ShuttingDown,
        Self::UpstreamTimeout,
    ];

    pub(crate) const fn row(self) -> Row {
        match self {
            Self::InvalidJson => row(400, "invalid_json", "The body is not valid", Level::DEBUG),
            Self::UnknownField => row(400, "unknown_field", "The request has a field that does not exist", Level::DEBUG),
            Self::DuplicateHeader => row(400, "duplicate_header", "A header was sent twice", Level::DEBUG),
            Self::TtlOutOfRange => row(400, "ttl_out_of_range", "The lifetime is out of range", Level::DEBUG),
            Self::InvalidIdempotencyKey => row(400, "invalid_idempotency_key", "The Idempotency-Key is not valid", Level::DEBUG),
            Self::MissingCredentials => row(401, "missing_credentials", "No credentials were sent", Level::DEBUG),
            Self::InvalidToken => row(401, "invalid_token", "The token is not valid", Level::DEBUG),
            Self::TokenExpired => row(401, "token_expired", "The token has expired", Level::DEBUG),
            Self::InteractionRequired => row(401, "interaction_required", "You have to sign in again", Level::DEBUG),
            Self::InsufficientScope => row(403, "insufficient_scope", "The token lacks a scope", Level::DEBUG),
            Self::ProfileForbidden => row(403, "profile_forbidden", "The profile is not for you", Level::DEBUG),
            Self::SessionFieldNotAllowed => row(403, "session_field_not_allowed", "The session field is fixed", Level::DEBUG),
            Self::UserBlocked => row(403, "user_blocked", "You are blocked", Level::INFO),
            Self::OriginNotAllowed => row(403, "origin_not_allowed", "The web origin is not allowed", Level::DEBUG),
            Self::NotFound => row(404, "not_found", "There is nothing here", Level::DEBUG),
            Self::MethodNotAllowed => row(405, "method_not_allowed", "The method does not work here", Level::DEBUG),
            Self::NotAcceptable => row(406, "not_acceptable", "No acceptable form of the answer", Level::DEBUG),
            Self::RequestTimeout => row(408, "request_timeout", "The body took too long", Level::DEBUG),
            Self::IdempotencyConflict => row(409, "idempotency_conflict", "The Idempotency-Key was used before", Level::DEBUG),
            Self::CallAlreadyReported => row(409, "call_already_reported", "Another call was reported", Level::DEBUG),
            Self::BodyTooLarge => row(413, "body_too_large", "The body is too large", Level::DEBUG),
            Self::UnsupportedMediaType => row(415, "unsupported_media_type", "The body is not JSON", Level::DEBUG),
            Self::RateLimited => row(429, "rate_limited", "Too many requests", Level::DEBUG),
            Self::ConcurrencyLimited => row(429, "concurrency_limited", "Too many sessions at once", Level::DEBUG),
            Self::QuotaExhausted => row(429, "quota_exhausted", "The monthly quota is used up", Level::DEBUG),
            Self::Internal => row(500, "internal", "Something went wrong here", Level::ERROR),
            Self::UpstreamAuthFailed => row(502, "upstream_auth_failed", "The provider refuses the service's key", Level::ERROR),
            Self::UpstreamPermissionDenied => {
                row(502, "upstream_permission_denied", "The provider does not permit this", Level::ERROR)
            }
            Self::UpstreamRejected => row(502, "upstream_rejected", "The provider refuses the session", Level::ERROR),
            Self::UpstreamMalformed => row(502, "upstream_malformed", "The provider's answer cannot be used", Level::ERROR),
            Self::UpstreamBilling => row(502, "upstream_billing", "The provider account has no budget", Level::ERROR),
            Self::UpstreamRateLimited => row(503, "upstream_rate_limited", "The provider is limiting requests", Level::WARN),
            Self::UpstreamUnavailable => row(503, "upstream_unavailable", "The provider cannot be reached", Level::WARN),
            Self::IdentityUnavailable => row(503, "identity_unavailable", "Sign-in cannot be checked", Level::WARN),
            Self::CredentialUnavailable => row(503, "credential_unavailable", "The service has no credential", Level::ERROR),
            Self::StoreUnavailable => row(503, "store_unavailable", "Limits cannot be checked", Level::WARN),
            Self::LockedDown => row(503, "locked_down", "Nothing is minted right now", Level::INFO),
            Self::AuditUnavailable => row(503, "audit_unavailable", "The request cannot be recorded", Level::ERROR),
            Self::Overloaded => row(503, "overloaded", "Too busy", Level::WARN),
            Self::ShuttingDown => row(503, "shutting_down", "Shutting down", Level::DEBUG),
            Self::UpstreamTimeout => row(504, "upstream_timeout", "The provider did not answer in time", Level::WARN),
        }
    }
}

/// One refusal.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    /// A sentence that tells the caller what to do. Never holds a secret or an internal cause.
    pub(crate) detail: Cow<'static, str>,
    /// What the sentence is about: a JSON pointer, a header or a parameter.
    pub(crate) param: Option<Box<str>>,
    /// Seconds.
    pub(crate) retry_after: Option<u64>,
    /// Methods that work, for 405.
    pub(crate) allow: Option<&'static str>,
    pub(crate) limit: Option<Box<(Rule, Standing)>>,
    /// Of the DPoP scheme, in place of the usual one.
    pub(crate) challenge: Option<Box<Challenge>>,
    /// What the user has to show when they sign in again: a claims request (OpenID Connect Core, section 5.5), in base64.
    pub(crate) claims: Option<Box<str>>,
    /// What happened at the upstream, for log and audit.
    pub(crate) failure: Option<Box<Failure>>,
}

impl Refusal {
    pub(crate) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            param: None,
            retry_after: None,
            allow: None,
            limit: None,
            challenge: None,
            claims: None,
            failure: None,
        }
    }

    pub(crate) fn about(self, param: impl Into<Box<str>>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds.max(1)), ..self }
    }

    pub(crate) fn cause(&self) -> Option<&str> {
        self.failure.as_ref().map(|failure| failure.cause.as_str())
    }

    /// Logs the refusal at its own level. Called once, where the answer is made.
    pub(crate) fn log(&self, request_id: &str) {
        let Row { name: code, level, .. } = self.code.row();
        let cause = self.cause();
        match level {
            Level::ERROR => tracing::error!(request_id, code, cause, "refused"),
            Level::WARN => tracing::warn!(request_id, code, cause, "refused"),
            _ => tracing::debug!(request_id, code, cause, "refused"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Code;

    #[test]
    fn every_code_has_one_name_and_they_are_listed_by_status() {
        let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.row().name).collect();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(Code::ALL.is_sorted_by_key(|code| code.row().status));
        assert!(Code::ALL.iter().all(|code| code.row().title.ends_with(char::is_alphanumeric)));
    }
}
