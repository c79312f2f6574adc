//! What whoever is refused is told: the public sentence, apart from the cause.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::refusal::{Code, Refusal};
use crate::admit::{Denied, Rule, Whose, ceil_seconds};
use crate::authenticate::{Challenge, Fault, NotAGuest, NotSignedIn, Unauthenticated};
use crate::authorize::Forbidden;
use crate::bind::NotReported;
use crate::block::ShutOut;
use crate::domain::ask::BadAsk;
use crate::domain::ttl::Ttl;
use crate::provider::{Failure, Kind};
use crate::store::StoreDown;
use crate::tasks::Unfinished;

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
    let least = Ttl::MIN;
    let sentence = if most > least {
        format!("Ask for a whole number of seconds from {least} to {most}, or leave expires_after out.")
    } else {
        format!("Ask for {least} seconds, or leave expires_after out.")
    };
    Refusal::new(Code::TtlOutOfRange, sentence).about("/expires_after/seconds")
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
                let limit = format!("{}.{}", whose.section(), rule.name());
                let sentence = match whose {
                    Whose::User | Whose::Guest => format!("You have used up {limit} of this profile; {cure}."),
                    Whose::Person => format!("You have used up {limit}, over all profiles; {cure}."),
                    Whose::GuestAddress | Whose::Address => format!("{limit} is used up for your network address; {cure}."),
                    Whose::Tenant => format!("{limit} is used up by all users of your organization; {cure}."),
                    Whose::Profile => format!("{limit} is used up by all users of this profile; {cure}."),
                    Whose::Everybody => format!("{limit} is used up by all users of this service; {cure}."),
                };
                Self { limit: standing.map(|standing| Box::new((rule, standing))), ..Self::new(code, sentence) }.retry_after(ceil_seconds(retry_after))
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
            Denied::StoreDown(down) => down.into(),
        }
    }
}

impl From<StoreDown> for Refusal {
    fn from(_: StoreDown) -> Self {
        Self::new(Code::StoreUnavailable, "What you may have cannot be checked right now; try again shortly.").retry_after(2)
    }
}

impl From<ShutOut> for Refusal {
    fn from(shut_out: ShutOut) -> Self {
        match shut_out {
            ShutOut::Unknown => StoreDown.into(),
            ShutOut::Blocked => {
                Self::new(Code::UserBlocked, "You are blocked from new sessions; ask the service's operator why.")
            }
            ShutOut::LockedDown(ends_in) => {
                Self::new(Code::LockedDown, "The operator has stopped all new sessions for now; try again later.")
                    .retry_after(ends_in.unwrap_or(60))
            }
        }
    }
}

impl From<NotReported> for Refusal {
    fn from(not_reported: NotReported) -> Self {
        match not_reported {
            NotReported::Unknown => unknown_session(),
            NotReported::Over(_) => Self::new(Code::NotFound, "This session is over; its call is being hung up."),
            NotReported::AlreadyReported => Self::new(
                Code::CallAlreadyReported,
                "Another call was reported for this session, or this call for another session; mint a secret for each call.",
            )
            .about("/call_id"),
            NotReported::StoreDown(down) => down.into(),
        }
    }
}

pub(crate) fn unknown_session() -> Refusal {
    Refusal::new(Code::NotFound, "You have no such session; it may have expired.")
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        const OPERATOR: &str = "The service's own account at the provider has a problem; its operator has to fix it.";
        let asked = failure.retry_after.map(ceil_seconds);
        let claims = failure.claims.as_ref().map(|claims| STANDARD.encode(claims.as_bytes()).into());
        let refusal = match failure.kind {
            Kind::Interaction => Self::new(
                Code::InteractionRequired,
                "Sign in again, interactively and with the claims that this answer names, then send the new access token.",
            ),
            Kind::UserRefused => Self::new(
                Code::InvalidToken,
                "The provider is asked on your behalf: sign in again and send a fresh access token of yours that is for this service.",
            ),
            Kind::NoCredential => Self::new(
                Code::CredentialUnavailable,
                "The service cannot prove itself to the provider right now; try again shortly.",
            )
            .retry_after(5),
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
        Self { claims, failure: Some(Box::new(failure)), ..refusal }
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
