//! Who is calling? What they [`Presented`] in, a [`Principal`] out.
//!
//! Each kind of identity has a file of its own. Which one a credential is for shows in its form: none is tried in turn.

mod api_keys;
mod claims;
mod introspection;
mod dpop;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod guests;
mod issuers;
mod jwk;
mod jwks;
mod jws;
mod jwt;
mod memory;
mod login;
pub(crate) mod trial;
mod verified;
mod webhook;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::config::{ClaimPath, Identity};
use crate::domain::clock::SharedClock;
use crate::domain::ids::{Pseudonym, Pseudonymizer};
use crate::domain::secret::{Credential, Secret, Sha256};
use crate::outbound::{Outbound, Unbuildable};
use crate::telemetry::metrics::Metrics;
use api_keys::ApiKeys;
use dpop::Dpop;
pub(crate) use dpop::{Challenge, Fault, Offer, Possession, Target};
pub(crate) use guests::{GuestToken, Guests, NotAGuest};
use introspection::Introspection;
use issuers::Issuers;
use jwk::Thumbprint;
pub(crate) use login::{ClaimsRequest, Cookies, Jar, Login, NotSignedIn, SignedIn};
pub(crate) use webhook::{Delivery, Envelope, Sender};

/// A caller whose token was verified. Only this stage can make one.
#[derive(Debug)]
pub(crate) struct Principal {
    /// The configured identity that vouches for the caller, as the audit trail names it: `jwt.main`.
    identity: Arc<str>,
    user: Pseudonym,
    /// The subject as the issuer has it. `None` unless the audit trail is to name users in plain.
    user_name: Option<Box<str>>,
    tenant: Box<str>,
    groups: Vec<String>,
    /// Only the claims that some profile asks for.
    claims: Vec<(ClaimPath, Value)>,
    /// The only profiles that the caller may use. `None`: whatever profiles themselves allow.
    profiles: Option<Arc<[String]>>,
    /// The key that the caller must prove to hold (RFC 9449). `None`: whoever has the credential may use it.
    bound_to: Option<Thumbprint>,
    /// Present for guests.
    visit: Option<Visit>,
}

/// What limits of guests are keyed on, beside their id.
#[derive(Debug)]
pub(crate) struct Visit {
    /// Where this request comes from.
    network: Pseudonym,
    /// When the guest is one no more, seconds since 1970.
    until: u64,
}

impl Visit {
    pub(crate) fn network(&self) -> &Pseudonym {
        &self.network
    }

    pub(crate) fn until(&self) -> u64 {
        self.until
    }
}

impl Principal {
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    pub(crate) fn user(&self) -> &Pseudonym {
        &self.user
    }

    /// For the audit trail alone.
    pub(crate) fn user_name(&self) -> Option<&str> {
        self.user_name.as_deref()
    }

    /// Empty when tokens name no tenant.
    pub(crate) fn tenant(&self) -> &str {
        &self.tenant
    }

    pub(crate) fn groups(&self) -> &[String] {
        &self.groups
    }

    /// Whether this caller may use the profile, as far as their credential goes.
    pub(crate) fn may_use(&self, profile: &str) -> bool {
        self.profiles.as_ref().is_none_or(|only| only.iter().any(|name| name == profile))
    }

    /// Absent unless the caller is a guest.
    pub(crate) fn visit(&self) -> Option<&Visit> {
        self.visit.as_ref()
    }

    pub(crate) fn claim(&self, path: &ClaimPath) -> Option<&Value> {
        self.claims.iter().find(|(known, _)| known == path).map(|(_, value)| value)
    }
}

/// Why a caller is not known. Says no more than the caller may hear.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unauthenticated {
    #[error("the token is not valid")]
    Invalid,
    #[error("the token has expired")]
    Expired,
    #[error("the token lacks a required scope")]
    InsufficientScope,
    /// A server that may name its user did so in a way that names nobody.
    #[error("the user's name cannot be used")]
    UnusableUser,
    #[error("the token is not bound to a key")]
    Unbound,
    /// Refused for this cause, which is answered with this challenge.
    #[error("{}", .0.0)]
    Challenged(Box<(Unauthenticated, Challenge)>),
    /// The caller makes proofs of possession faster than anyone may. When to try again.
    #[error("too many proofs of possession")]
    TooManyProofs(Duration),
    /// All callers together do.
    #[error("no room for further proofs of possession")]
    Full,
    /// Who vouches for the token cannot be asked. The configured identity's name, and when to try again.
    #[error("{0} is not available")]
    Unavailable(Arc<str>, Duration),
}

/// What a caller presented to prove who they are.
pub(crate) struct Presented {
    pub(crate) credential: Credential,
    /// Whom a server says it acts for (`Ephemint-User`). Nothing but a claim: only a key with the right to it makes it count.
    pub(crate) acts_for: Option<Box<[u8]>>,
    /// Present under the DPoP scheme, boxed because few have it.
    pub(crate) possession: Option<Box<Possession>>,
    /// Where the request comes from; needed of guests alone.
    pub(crate) from: Option<IpAddr>,
    /// There when the credential is a session's cookie: where its successor goes.
    pub(crate) session: Option<Jar>,
}

/// Why callers cannot be authenticated at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Client(#[from] Unbuildable),
    #[error("keys for cookies cannot be made")]
    Keys,
}

/// Knows every configured kind of identity.
pub(crate) struct Authenticator {
    issuers: Issuers,
    introspections: Vec<Arc<Introspection>>,
    api_keys: ApiKeys,
    dpop: Dpop,
    login: Option<Login>,
    guests: Option<Guests>,
}

impl Authenticator {
    /// `asked_claims` are the claims that profiles ask for; no others are kept.
    /// Starts one background task per issuer, on the current runtime, that keeps its keys fresh.
    pub(crate) fn start(
        mut identity: Identity,
        asked_claims: Vec<ClaimPath>,
        names: Pseudonymizer,
        outbound: &Outbound,
        clock: SharedClock,
        metrics: Metrics,
    ) -> Result<Self, StartError> {
        let asked_claims = Arc::from(asked_claims);
        let dpop = Dpop::new(identity.dpop.clone(), &names, clock.clone());
        let api_keys = ApiKeys::new(std::mem::take(&mut identity.api_keys), names.clone(), clock.clone());
        let (entries, most) = (std::mem::take(&mut identity.introspection), identity.verified_tokens);
        let introspections = entries
            .into_iter()
            .map(|entry| {
                let (claims, names) = (Arc::clone(&asked_claims), names.clone());
                Introspection::new(entry, most, claims, names, outbound, clock.clone(), metrics.clone())
            })
            .collect::<Result<_, _>>()?;
        let login = identity
            .login
            .take()
            .map(|login| Login::start(login, &asked_claims, names.clone(), outbound, clock.clone(), metrics.clone()))
            .transpose()?;
        let guests = identity.guest.take().map(|guest| Guests::new(guest, names.clone(), outbound, clock.clone())).transpose()?;
        let issuers = Issuers::start(identity, &asked_claims, names, outbound, clock, metrics)?;
        Ok(Self { issuers, introspections, api_keys, dpop, login, guests })
    }

    /// Browser sign-in, where it is configured.
    pub(crate) fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// Guests, where they are configured.
    pub(crate) fn guests(&self) -> Option<&Guests> {
        self.guests.as_ref()
    }

    /// Whether every issuer's keys were fetched and are not too old to be used.
    pub(crate) fn is_ready(&self) -> bool {
        self.issuers.are_ready() && self.login.as_ref().is_none_or(Login::is_ready)
    }

    /// What clients are told of DPoP. `None`: nothing, because it is not switched on.
    pub(crate) fn dpop_offer(&self) -> Option<Offer> {
        self.dpop.offer()
    }

    /// Finds out who presented this, and whether they hold the key that it may be bound to.
    pub(crate) async fn authenticate(&self, presented: &Presented) -> Result<Arc<Principal>, Unauthenticated> {
        let known = self.identify(presented).await;
        self.dpop.held(presented, known)
    }

    /// The access token of a user whom an issuer vouches for: what can be traded on their behalf.
    pub(crate) fn assertion(&self, presented: &Presented, principal: &Principal) -> Option<Secret> {
        let credential = presented.credential.reveal();
        if presented.session.is_some() {
            return self.login.as_ref()?.access_token(credential);
        }
        principal.identity.starts_with("jwt.").then(|| Secret::from(credential.to_owned()))
    }

    /// Whose credential it is, whoever presents it.
    async fn identify(&self, presented: &Presented) -> Result<Arc<Principal>, Unauthenticated> {
        let credential = presented.credential.reveal();
        if let Some(jar) = &presented.session {
            let login = self.login.as_ref().ok_or(Unauthenticated::Invalid)?;
            return Box::pin(login.authenticate(credential, jar)).await;
        }
        if let Some(guests) = self.guests.as_ref().filter(|_| guests::is_token(credential)) {
            return guests.authenticate(credential, presented.from);
        }
        if !self.issuers.is_empty() && is_jwt(credential) {
            return self.issuers.authenticate(credential).await;
        }
        if self.api_keys.is_empty() && self.introspections.is_empty() {
            return Err(Unauthenticated::Invalid);
        }
        let digest = Sha256::of(credential.as_bytes());
        if let Some(holder) = self.api_keys.holder(&digest, presented.acts_for.as_deref()) {
            return holder;
        }
        match self.introspections.iter().find(|server| server.takes(credential)) {
            Some(server) => Box::pin(server.authenticate(credential, digest)).await,
            None => Err(Unauthenticated::Invalid),
        }
    }
}

/// Whether a token has the form of a JWT: three parts of base64url, none empty (RFC 7515, section 7.1). Whether they are anything, its
/// verification tells.
fn is_jwt(token: &str) -> bool {
    let mut parts = token.split('.');
    let three = (0..3).all(|_| parts.next().is_some_and(|part| !part.is_empty())) && parts.next().is_none();
    // Counting looks at every byte, and still takes less time than stopping at the first wrong one.
    three && token.bytes().filter(|&b| !b.is_ascii_alphanumeric() && !matches!(b, b'-' | b'_' | b'.')).count() == 0
}

#[cfg(test)]
mod tests;
