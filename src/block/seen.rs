//! Deliveries of webhooks that were dealt with. A block that an operator has lifted must not come back with a redelivery.

use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::Blocks;
use crate::domain::secret::Sha256;
use crate::store::StoreDown;

/// `OpenAI` delivers again for up to 72 hours (its guide "Webhooks"), each time with a new timestamp.
const REMEMBERED: Duration = Duration::from_hours(73);
/// Deliveries at most; beyond that the oldest are forgotten. Only what was signed is remembered.
const MOST: u64 = 100_000;

/// Names of deliveries, under their SHA-256.
pub(super) struct Seen(Cache<Sha256, ()>);

impl Seen {
    pub(super) fn new() -> Self {
        Self(Cache::builder().max_capacity(MOST).eviction_policy(EvictionPolicy::lru()).time_to_live(REMEMBERED).build())
    }
}

impl Blocks {
    /// Whether a delivery was dealt with before.
    #[expect(clippy::unused_async, reason = "replicas ask a store that they share")]
    pub(crate) async fn was_seen(&self, delivery: &str) -> Result<bool, StoreDown> {
        Ok(self.seen.0.contains_key(&Sha256::of(delivery.as_bytes())))
    }

    /// A delivery was dealt with. To be said only then: what is not seen is delivered again.
    #[expect(clippy::unused_async, reason = "replicas tell a store that they share")]
    pub(crate) async fn mark_seen(&self, delivery: &str) -> Result<(), StoreDown> {
        self.seen.0.insert(Sha256::of(delivery.as_bytes()), ());
        Ok(())
    }
}
