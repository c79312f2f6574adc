//! Every way to be refused: status, stable code, title and log level side by side, and the public sentence apart from the cause.

use std::borrow::Cow;

use tracing::Level;

use crate::admit::{Denied, Rule, Standing, Whose, ceil_seconds};
use crate::authenticate::{Challenge, Fault, NotAGuest, NotSignedIn, Unauthenticated};
use crate::authorize::Forbidden;
use crate::domain::ask::BadAsk;
use crate::domain::ttl::Ttl;
use crate::provider::{Failure, Kind};
use crate::tasks::Unfinished;

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
    InsufficientScope,
    ProfileForbidden,
    SessionFieldNotAllowed,
    OriginNotAllowed,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    RequestTimeout,
    IdempotencyConflict,
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
    AuditUnavailable,
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
    pub(crate) const ALL: [Self; 35] = [
        Self::InvalidJson,
        Self::UnknownField,
        Self::DuplicateHeader,
        Self::TtlOutOfRange,
        Self::InvalidIdempotencyKey,
        Self::MissingCredentials,
        Self::InvalidToken,
        Self::TokenExpired,
        Self::InsufficientScope,
        Self::ProfileForbidden,
        Self::SessionFieldNotAllowed,
        Self::OriginNotAllowed,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::RequestTimeout,
        Self::IdempotencyConflict,
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
        Self::AuditUnavailable,
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
            Self::InsufficientScope => row(403, "insufficient_scope", "The token lacks a scope", Level::DEBUG),
            Self::ProfileForbidden => row(403, "profile_forbidden", "The profile is not for you", Level::DEBUG),
            Self::SessionFieldNotAllowed => row(403, "session_field_not_allowed", "The session field is fixed", Level::DEBUG),
            Self::OriginNotAllowed => row(403, "origin_not_allowed", "The web origin is not allowed", Level::DEBUG),
            Self::NotFound => row(404, "not_found", "There is nothing here", Level::DEBUG),
            Self::MethodNotAllowed => row(405, "method_not_allowed", "The method does not work here", Level::DEBUG),
            Self::NotAcceptable => row(406, "not_acceptable", "No acceptable form of the answer", Level::DEBUG),
            Self::RequestTimeout => row(408, "request_timeout", "The body took too long", Level::DEBUG),
            Self::IdempotencyConflict => row(409, "idempotency_conflict", "The Idempotency-Key was used before", Level::DEBUG),
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

impl From<BadAsk> for Refusal {
    fn from(bad: BadAsk) -> Self {
        match bad {
            BadAsk::Malformed(sentence) => Self::new(Code::InvalidJson, sentence),
            BadAsk::UnknownField(pointer) => Self::new(
                Code::UnknownField,
                format!("There is no field {pointer}; a mint request has expires_after and session."),
            )
            .about(pointer),
            BadAsk::TtlOutOfRange => ttl_out_of_range(Ttl::MAX),
        }
    }
}

fn ttl_out_of_range(most: Ttl) -> Refusal {
    Refusal::new(
        Code::TtlOutOfRange,
        format!("Ask for a whole number of seconds from {} to {most}, or leave expires_after out.", Ttl::MIN),
    )
    .about("/expires_after/seconds")
}

impl From<Unauthenticated> for Refusal {
    fn from(unauthenticated: Unauthenticated) -> Self {
        match unauthenticated {
            Unauthenticated::Invalid | Unauthenticated::Unbound => {
                Self::new(Code::InvalidToken, "Sign in again and send a valid access token for this service.")
            }
            Unauthenticated::UnusableUser => Self::new(
                Code::InvalidToken,
                "Name the user in Ephemint-User with 1 to 256 characters, none of them a control character, or leave it out.",
            )
            .about("Ephemint-User"),
            Unauthenticated::Expired => Self::new(Code::TokenExpired, "The access token has expired; refresh it and try again."),
            Unauthenticated::InsufficientScope => Self::new(
                Code::InsufficientScope,
                "The access token lacks a scope that this service requires; ask for it at sign-in.",
            ),
            Unauthenticated::Challenged(refused) => challenged(*refused),
            Unauthenticated::TooManyProofs(wait) => {
                Self::new(Code::RateLimited, "You send too many DPoP proofs; wait for as long as Retry-After says.")
                    .retry_after(ceil_seconds(wait))
            }
            Unauthenticated::Full => overloaded(),
            Unauthenticated::Unavailable(identity, wait) => {
                tracing::warn!(identity = &*identity, "a token cannot be checked: who vouches for it is not available");
                Self::new(Code::IdentityUnavailable, "Sign-in cannot be checked right now; try again shortly.")
                    .retry_after(ceil_seconds(wait))
            }
        }
    }
}

fn challenged((cause, challenge): (Unauthenticated, Challenge)) -> Refusal {
    let of_proof = |sentence: &'static str| Refusal::new(Code::InvalidToken, sentence).about("DPoP");
    let refusal = match challenge.fault {
        Fault::Token => Refusal::from(cause),
        Fault::Proof => {
            of_proof("Send a new DPoP proof, made for this request and this token with the key that the token is bound to.")
        }
        Fault::Nonce => of_proof("Send a new DPoP proof with the nonce that the DPoP-Nonce header has."),
    };
    Refusal { challenge: Some(Box::new(challenge)), ..refusal }
}

impl From<NotSignedIn> for Refusal {
    fn from(not_signed_in: NotSignedIn) -> Self {
        match not_signed_in {
            NotSignedIn::Declined => {
                Self::new(Code::InvalidToken, "The sign-in was not completed at the identity provider; try again.")
            }
            NotSignedIn::Invalid => Self::new(
                Code::InvalidToken,
                "This sign-in took too long, was used before, began in another browser or cannot be accepted; try again.",
            ),
            NotSignedIn::Unavailable(unauthenticated) => unauthenticated.into(),
        }
    }
}

impl From<NotAGuest> for Refusal {
    fn from(not_a_guest: NotAGuest) -> Self {
        match not_a_guest {
            NotAGuest::Refused => {
                Self::new(Code::InvalidToken, "The proof is not accepted; have the widget make a new one and send it once.")
            }
            NotAGuest::Unavailable => {
                Self::new(Code::IdentityUnavailable, "Proofs cannot be checked right now; try again shortly.").retry_after(5)
            }
        }
    }
}

impl From<Forbidden> for Refusal {
    fn from(forbidden: Forbidden) -> Self {
        match forbidden {
            Forbidden::Profile => Self::new(
                Code::ProfileForbidden,
                "There is no such profile for you here; check the profile parameter, the path and your groups.",
            )
            .about("profile"),
            Forbidden::Ttl(most) => ttl_out_of_range(most),
            Forbidden::Field { pointer, other_value_allowed } => {
                let advice = if other_value_allowed { "The profile allows only certain values for" } else { "The profile fixes" };
                Self::new(
                    Code::SessionFieldNotAllowed,
                    format!("{advice} {pointer}; leave it out or send what the profile allows."),
                )
                .about(pointer)
            }
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Limited { whose, rule, standing, retry_after } => {
                let (code, cure) = match rule {
                    Rule::MintsPerMinute => (Code::RateLimited, "wait for as long as Retry-After says"),
                    Rule::ConcurrentCalls => (Code::ConcurrencyLimited, "end a session or wait until one expires"),
                    Rule::MonthlyMints => (Code::QuotaExhausted, "it starts anew with the month (UTC)"),
                };
                let name = rule.name();
                let sentence = match whose {
                    Whose::User | Whose::Guest => format!("You have used up {name}; {cure}."),
                    Whose::Address => format!("The limit {name} for your network address is used up; {cure}."),
                };
                Self { limit: Some(Box::new((rule, standing))), ..Self::new(code, sentence) }.retry_after(ceil_seconds(retry_after))
            }
            Denied::TooManyProofs(wait) => {
                Self::new(Code::RateLimited, "Too many proofs were sent for your network address; wait for as long as Retry-After says.")
                    .retry_after(ceil_seconds(wait))
            }
            Denied::IdempotencyConflict => Self::new(
                Code::IdempotencyConflict,
                "This Idempotency-Key belongs to another request, to a session that has ended, or was retried three times; send a new key.",
            )
            .about("Idempotency-Key"),
            Denied::UnderWay => Self::new(
                Code::UpstreamTimeout,
                "The first request under this Idempotency-Key is still under way; try again with the same key.",
            )
            .retry_after(1),
            Denied::Full => overloaded(),
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        const OPERATOR: &str = "The service's own account at the provider has a problem; its operator has to fix it.";
        let asked = failure.retry_after.map(ceil_seconds);
        let refusal = match failure.kind {
            Kind::AuthFailed => Self::new(Code::UpstreamAuthFailed, OPERATOR),
            Kind::PermissionDenied => Self::new(Code::UpstreamPermissionDenied, OPERATOR),
            Kind::Billing => Self::new(Code::UpstreamBilling, OPERATOR),
            Kind::Rejected => Self::new(
                Code::UpstreamRejected,
                "The provider does not accept this session; the service's operator has to check the profile.",
            ),
            Kind::Malformed => {
                Self::new(Code::UpstreamMalformed, "The provider answered in an unexpected form; try again later.")
            }
            Kind::RateLimited => {
                Self::new(Code::UpstreamRateLimited, "The provider is limiting requests; try again after Retry-After seconds.")
                    .retry_after(asked.unwrap_or(5))
            }
            Kind::Unavailable => {
                Self::new(Code::UpstreamUnavailable, "The provider cannot be reached; try again after Retry-After seconds.")
                    .retry_after(asked.unwrap_or(2))
            }
            Kind::TimedOut => Self::new(Code::UpstreamTimeout, "The provider did not answer in time; try again."),
        };
        Self { failure: Some(Box::new(failure)), ..refusal }
    }
}

impl From<Unfinished> for Refusal {
    fn from(unfinished: Unfinished) -> Self {
        match unfinished {
            Unfinished::ShuttingDown => {
                Self::new(Code::ShuttingDown, "This instance is shutting down; try again, another one will answer.")
                    .retry_after(1)
            }
            Unfinished::Panicked => Self::new(
                Code::Internal,
                "Something went wrong here; try again, and tell the operator the request id if it stays.",
            ),
        }
    }
}

pub(crate) fn overloaded() -> Refusal {
    Refusal::new(Code::Overloaded, "The service is handling as many requests as it can; try again shortly.").retry_after(1)
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
