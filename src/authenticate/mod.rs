//! Who is calling? A bearer token in, a [`Principal`] out.

mod jwk;
mod jwks;
mod jwt;
mod verified;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::Identity;
use crate::domain::clock::SharedClock;
use crate::domain::ids::{Pseudonym, Pseudonymizer};
use crate::domain::secret::{Credential, Sha256};
use crate::outbound::{Outbound, Unbuildable};
use crate::telemetry::metrics::Metrics;
use jwks::{KeySource, NoKey};
use jwt::{Issuer, Unverifiable, Unverified};
use verified::{Verified, VerifiedTokens};

/// A caller whose token was verified. Only this stage can make one.
#[derive(Debug)]
pub(crate) struct Principal {
    user: Pseudonym,
    tenant: Box<str>,
    groups: Vec<String>,
    /// Only the claims that some profile asks for.
    claims: Map<String, Value>,
}

impl Principal {
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

    pub(crate) fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.get(name)
    }
}

/// Why a caller is not known. Says no more than the caller may hear.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unauthenticated {
    #[error("the token is not valid")]
    Invalid,
    #[error("the token has expired")]
    Expired,
    #[error("the token lacks a required scope")]
    InsufficientScope,
    /// The issuer's keys cannot be had. The issuer's configured name, and when to try again.
    #[error("the keys of issuer {0} are not available")]
    Unavailable(Arc<str>, Duration),
}

/// Verifies tokens of every configured issuer.
pub(crate) struct Authenticator {
    issuers: HashMap<Box<str>, Issuer>,
    tokens: Option<VerifiedTokens>,
    names: Pseudonymizer,
    clock: SharedClock,
    metrics: Metrics,
}

impl Authenticator {
    /// `asked_claims` are the claims that profiles ask for; no others are kept.
    /// Starts one background task per issuer, on the current runtime, that keeps its keys fresh.
    pub(crate) fn start(
        identity: Identity,
        asked_claims: Vec<String>,
        names: Pseudonymizer,
        outbound: &Outbound,
        clock: SharedClock,
        metrics: Metrics,
    ) -> Result<Self, Unbuildable> {
        let tokens = VerifiedTokens::new(identity.verified_tokens, identity.verified_token_lifetime);
        let asked_claims: Arc<[String]> = asked_claims.into();
        let mut issuers = HashMap::new();
        for settings in identity.jwt {
            let keys = KeySource::start(&settings, outbound, clock.clone(), metrics.clone())?;
            issuers.insert(settings.issuer.clone().into(), Issuer { settings, keys, asked_claims: asked_claims.clone() });
        }
        Ok(Self { issuers, tokens, names, clock, metrics })
    }

    /// Whether every issuer's keys were fetched and are not too old to be used.
    pub(crate) fn is_ready(&self) -> bool {
        self.issuers.values().all(|issuer| issuer.keys.current().is_ok())
    }

    /// Verifies a bearer token.
    pub(crate) async fn authenticate(&self, credential: &Credential) -> Result<Arc<Principal>, Unauthenticated> {
        let token = credential.reveal();
        let digest = self.tokens.as_ref().map(|tokens| (tokens, Sha256::of(token.as_bytes())));
        let remembered = digest.and_then(|(tokens, digest)| tokens.get(&digest));
        if let Some(verified) = remembered.filter(|verified| verified.keys.is_current()) {
            self.metrics.token_cache_hits.inc();
            verified.validity.check(self.clock.unix())?;
            return Ok(verified.principal);
        }
        self.metrics.token_cache_misses.inc();
        // Boxed: it is large, and the hits above would carry its place along.
        let verified = Box::pin(self.verify(token)).await?;
        verified.validity.check(self.clock.unix())?;
        if let Some((tokens, digest)) = digest {
            tokens.remember(digest, verified.clone(), self.clock.unix());
        }
        Ok(verified.principal)
    }

    async fn verify(&self, token: &str) -> Result<Verified, Unauthenticated> {
        let unverified = Unverified::parse(token)?;
        let issuer =
            unverified.unverified_issuer().and_then(|issuer| self.issuers.get(issuer)).ok_or(Unauthenticated::Invalid)?;
        issuer.accepts_header(&unverified)?;
        let verified = match issuer.verify(&unverified) {
            Err(Unverifiable::NoKey(NoKey::Unknown)) if issuer.keys.refreshed().await => issuer.verify(&unverified),
            Err(Unverifiable::NoKey(NoKey::NotFetchedYet)) => {
                issuer.keys.first_fetch().await;
                issuer.verify(&unverified)
            }
            outcome => outcome,
        };
        let keys = verified.map_err(|unverifiable| issuer.refusal(unverifiable))?;
        issuer.principal(unverified.signed_with(keys), &self.names)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{
        Authenticator, Credential, KeySource, Metrics, Principal, Pseudonymizer, Sha256, Unauthenticated, Verified,
        VerifiedTokens,
    };
    use crate::authenticate::jwks::KeyLease;
    use crate::authenticate::verified::Validity;
    use crate::domain::clock::manual::ManualClock;
    use crate::domain::secret::Secret;

    const TOKEN: &str = "remembered";

    /// An authenticator that knows no issuer and remembers one token, good from 1000 until 1060.
    fn remembering(clock: &Arc<ManualClock>, keys: &Arc<KeySource>, lease: KeyLease) -> Authenticator {
        let names = Pseudonymizer::new(&Secret::from("a key of more than sixteen bytes".to_owned()));
        let user = names.pseudonym("", "issuer", "alice");
        let principal = Arc::new(Principal { user, tenant: "".into(), groups: Vec::new(), claims: serde_json::Map::new() });
        let tokens = VerifiedTokens::new(10, Duration::from_mins(5)).unwrap();
        let validity = Validity { from: 1000, until: 1060 };
        tokens.remember(Sha256::of(TOKEN.as_bytes()), Verified { principal, validity, keys: lease }, 1000);
        assert!(keys.current().is_ok());
        let metrics = Metrics::new(Duration::ZERO).0;
        Authenticator { issuers: [].into(), tokens: Some(tokens), names, clock: clock.clone(), metrics }
    }

    #[tokio::test]
    async fn a_remembered_token_is_checked_for_its_time_on_every_hit() {
        let clock = ManualClock::at(1000);
        let keys = KeySource::fixed(1, clock.clone());
        let authenticator = remembering(&clock, &keys, KeyLease::new(&keys, &keys.current().unwrap()));
        let outcome = async || authenticator.authenticate(&Credential::from(TOKEN)).await.map(drop);
        assert_eq!(outcome().await, Ok(()));
        clock.advance(Duration::from_secs(59));
        assert_eq!(outcome().await, Ok(()));
        clock.advance(Duration::from_secs(1));
        assert_eq!(outcome().await, Err(Unauthenticated::Expired));
    }

    #[tokio::test]
    async fn a_token_is_not_remembered_beyond_the_keys_it_was_verified_with() {
        let clock = ManualClock::at(1000);
        let (old, new) = (KeySource::fixed(1, clock.clone()), KeySource::fixed(2, clock.clone()));
        let lease = KeyLease::new(&new, &old.current().unwrap());
        let authenticator = remembering(&clock, &new, lease);
        // Verified again, it is no token at all.
        assert_eq!(authenticator.authenticate(&Credential::from(TOKEN)).await.map(drop), Err(Unauthenticated::Invalid));
    }
}
