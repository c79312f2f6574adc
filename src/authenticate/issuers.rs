//! JSON Web Tokens of every configured issuer: remembered, or verified.

use std::collections::HashMap;
use std::sync::Arc;

use super::jwks::KeySource;
use super::jwt::{Issuer, Unverified};
use super::verified::{Verified, VerifiedTokens};
use super::{Principal, Unauthenticated};
use crate::config::{ClaimPath, Identity};
use crate::domain::clock::SharedClock;
use crate::domain::ids::Pseudonymizer;
use crate::domain::secret::Sha256;
use crate::outbound::{Outbound, Unbuildable};
use crate::telemetry::metrics::Metrics;

/// All configured issuers, and the tokens of theirs that were verified shortly before.
pub(super) struct Issuers {
    issuers: HashMap<Box<str>, Issuer>,
    tokens: Option<VerifiedTokens>,
    names: Pseudonymizer,
    clock: SharedClock,
    metrics: Metrics,
}

impl Issuers {
    /// Starts one background task per issuer, on the current runtime, that keeps its keys fresh.
    pub(super) fn start(
        identity: Identity,
        asked_claims: &Arc<[ClaimPath]>,
        names: Pseudonymizer,
        outbound: &Outbound,
        clock: SharedClock,
        metrics: Metrics,
    ) -> Result<Self, Unbuildable> {
        let tokens = VerifiedTokens::new(identity.verified_tokens, identity.verified_token_lifetime);
        let mut issuers = HashMap::new();
        for settings in identity.jwt {
            let identity = format!("jwt.{}", settings.name).into();
            let keys = KeySource::start(&settings, outbound, clock.clone(), metrics.clone())?;
            issuers
                .insert(settings.issuer.clone().into(), Issuer { identity, settings, keys, asked_claims: asked_claims.clone() });
        }
        Ok(Self { issuers, tokens, names, clock, metrics })
    }

    /// Whether every issuer's keys were fetched and are not too old to be used.
    pub(super) fn are_ready(&self) -> bool {
        self.issuers.values().all(|issuer| issuer.keys.current().is_ok())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// Verifies a token, or remembers that it did.
    pub(super) async fn authenticate(&self, token: &str) -> Result<Arc<Principal>, Unauthenticated> {
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
        issuer.principal(issuer.signed(unverified).await?, &self.names)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Issuers, KeySource, Metrics, Principal, Pseudonymizer, Sha256, Unauthenticated, Verified, VerifiedTokens};
    use crate::authenticate::jwks::KeyLease;
    use crate::authenticate::verified::Validity;
    use crate::domain::clock::manual::ManualClock;
    use crate::domain::secret::Secret;

    const TOKEN: &str = "remembered";

    /// No issuer, and one token, good from 1000 until 1060.
    fn remembering(clock: &Arc<ManualClock>, keys: &Arc<KeySource>, lease: KeyLease) -> Issuers {
        let names = Pseudonymizer::new(&Secret::from("a key of more than sixteen bytes".to_owned()));
        let user = names.pseudonym("", "issuer", "alice");
        let principal = Arc::new(Principal {
            identity: "jwt.main".into(),
            user,
            user_name: None,
            tenant: "".into(),
            groups: Vec::new(),
            claims: Vec::new(),
            profiles: None,
            bound_to: None,
            visit: None,
        });
        let tokens = VerifiedTokens::new(10, Duration::from_mins(5)).unwrap();
        let validity = Validity { from: 1000, until: 1060 };
        tokens.remember(Sha256::of(TOKEN.as_bytes()), Verified { principal, validity, keys: lease }, 1000);
        assert!(keys.current().is_ok());
        let metrics = Metrics::new(Duration::ZERO).0;
        Issuers { issuers: [].into(), tokens: Some(tokens), names, clock: clock.clone(), metrics }
    }

    #[tokio::test]
    async fn a_remembered_token_is_checked_for_its_time_on_every_hit() {
        let clock = ManualClock::at(1000);
        let keys = KeySource::fixed(1, clock.clone());
        let issuers = remembering(&clock, &keys, KeyLease::new(&keys, &keys.current().unwrap()));
        let outcome = async || issuers.authenticate(TOKEN).await.map(drop);
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
        let issuers = remembering(&clock, &new, lease);
        // Verified again, it is no token at all.
        assert_eq!(issuers.authenticate(TOKEN).await.map(drop), Err(Unauthenticated::Invalid));
    }
}
