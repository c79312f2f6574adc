//! Who is calling? What they [`Presented`] in, a [`Principal`] out.
//!
//! Each kind of identity has a file of its own. Which one a credential is for shows in its form: none is tried in turn.

mod api_keys;
mod claims;
mod introspection;
mod issuers;
mod jwk;
mod jwks;
mod jwt;
mod memory;
mod verified;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::config::{ClaimPath, Identity};
use crate::domain::clock::SharedClock;
use crate::domain::ids::{Pseudonym, Pseudonymizer};
use crate::domain::secret::{Credential, Sha256};
use crate::outbound::{Outbound, Unbuildable};
use crate::telemetry::metrics::Metrics;
use api_keys::ApiKeys;
use introspection::Introspection;
use issuers::Issuers;

/// A caller whose token was verified. Only this stage can make one.
#[derive(Debug)]
pub(crate) struct Principal {
    /// The configured identity that vouches for the caller, as the audit trail names it: `jwt.main`.
    identity: Arc<str>,
    user: Pseudonym,
    tenant: Box<str>,
    groups: Vec<String>,
    /// Only the claims that some profile asks for.
    claims: Vec<(ClaimPath, Value)>,
    /// The only profiles that the caller may use. `None`: whatever profiles themselves allow.
    profiles: Option<Arc<[String]>>,
}

impl Principal {
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    pub(crate) fn user(&self) -> &Pseudonym {
        &self.user
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
    /// Who vouches for the token cannot be asked. The configured identity's name, and when to try again.
    #[error("{0} is not available")]
    Unavailable(Arc<str>, Duration),
}

/// What a caller presented to prove who they are.
pub(crate) struct Presented {
    pub(crate) credential: Credential,
    /// Whom a server says it acts for (`Ephemint-User`). Nothing but a claim: only a key with the right to it makes it count.
    pub(crate) acts_for: Option<Box<[u8]>>,
}

/// Knows every configured kind of identity.
pub(crate) struct Authenticator {
    issuers: Issuers,
    introspections: Vec<Arc<Introspection>>,
    api_keys: ApiKeys,
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
    ) -> Result<Self, Unbuildable> {
        let asked_claims = Arc::from(asked_claims);
        let api_keys = ApiKeys::new(std::mem::take(&mut identity.api_keys), names.clone(), clock.clone());
        let (entries, most) = (std::mem::take(&mut identity.introspection), identity.verified_tokens);
        let introspections = entries
            .into_iter()
            .map(|entry| {
                let (claims, names) = (Arc::clone(&asked_claims), names.clone());
                Introspection::new(entry, most, claims, names, outbound, clock.clone(), metrics.clone())
            })
            .collect::<Result<_, _>>()?;
        let issuers = Issuers::start(identity, &asked_claims, names, outbound, clock, metrics)?;
        Ok(Self { issuers, introspections, api_keys })
    }

    /// Whether every issuer's keys were fetched and are not too old to be used.
    pub(crate) fn is_ready(&self) -> bool {
        self.issuers.are_ready()
    }

    /// Finds out who presented this.
    pub(crate) async fn authenticate(&self, presented: &Presented) -> Result<Arc<Principal>, Unauthenticated> {
        let token = presented.credential.reveal();
        if !self.issuers.is_empty() && is_jwt(token) {
            return self.issuers.authenticate(token).await;
        }
        if self.api_keys.is_empty() && self.introspections.is_empty() {
            return Err(Unauthenticated::Invalid);
        }
        let digest = Sha256::of(token.as_bytes());
        if let Some(holder) = self.api_keys.holder(&digest, presented.acts_for.as_deref()) {
            return holder;
        }
        match self.introspections.iter().find(|server| server.takes(token)) {
            Some(server) => Box::pin(server.authenticate(token, digest)).await,
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
mod tests {
    use super::is_jwt;

    #[test]
    fn a_jwt_is_told_by_its_three_parts() {
        for good in ["a.b.c", "eyJ-_.A0.z"] {
            assert!(is_jwt(good), "{good}");
        }
        for bad in ["", "a", "a.b", "a.b.", ".b.c", "a..c", "a.b.c.d", "a.b.c=", "a.b+.c", "a.b.c ", "ory_at_x.y", "a.b.ü"] {
            assert!(!is_jwt(bad), "{bad}");
        }
    }
}
