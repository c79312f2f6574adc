//! Deliveries of webhooks that were dealt with. A block that an operator has lifted must not come back with a redelivery.

use std::sync::Arc;
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use redis::cmd as command;

use super::Blocks;
use crate::domain::ids::hex;
use crate::domain::secret::Sha256;
use crate::durable::Unopened;
use crate::redis::Redis;
use crate::store::{Journal, Store, StoreDown, Table};

/// `OpenAI` delivers again for up to 72 hours (its guide "Webhooks"), each time with a new timestamp.
const REMEMBERED: Duration = Duration::from_hours(73);
/// Deliveries at most; beyond that the oldest are forgotten. Only what was signed is remembered.
const MOST: u64 = 100_000;

/// Names of deliveries, under their SHA-256.
pub(super) enum Seen {
    Here(Cache<Sha256, ()>, Journal),
    Shared(Arc<Redis>),
}

impl Seen {
    /// With what was written down: that is remembered for as long as if it had just come.
    pub(super) fn restored(store: &Store) -> Result<Self, Unopened> {
        if let Store::Shared(shared) = store {
            return Ok(Self::Shared(shared.redis.clone()));
        }
        let journal = store.journal();
        let forgotten = journal.clone();
        let forget = move |delivery: Arc<Sha256>, (), _| forgotten.remove(Table::Webhooks, || hex(&delivery.0));
        let seen = Cache::builder().max_capacity(MOST).eviction_policy(EvictionPolicy::lru()).time_to_live(REMEMBERED);
        let seen = seen.eviction_listener(forget).build();
        journal.read(Table::Webhooks, |delivery, _| {
            if let Some(delivery) = Sha256::parse(delivery) {
                seen.insert(delivery, ());
            }
        })?;
        Ok(Self::Here(seen, journal))
    }
}

impl Blocks {
    /// Whether a delivery was dealt with before.
    pub(crate) async fn was_seen(&self, delivery: &str) -> Result<bool, StoreDown> {
        let delivery = Sha256::of(delivery.as_bytes());
        match &self.seen {
            Seen::Here(seen, _) => Ok(seen.contains_key(&delivery)),
            Seen::Shared(redis) => Ok(redis.command(command("EXISTS").arg(key(redis, &delivery))).await?),
        }
    }

    /// A delivery was dealt with. To be said only then: what is not seen is delivered again.
    pub(crate) async fn mark_seen(&self, delivery: &str) -> Result<(), StoreDown> {
        let delivery = Sha256::of(delivery.as_bytes());
        match &self.seen {
            Seen::Here(seen, journal) => {
                if !seen.contains_key(&delivery) {
                    seen.insert(delivery, ());
                    journal.put(Table::Webhooks, || hex(&delivery.0), || Some(Vec::new()));
                }
                journal.settled().await
            }
            Seen::Shared(redis) => {
                let key = key(redis, &delivery);
                Ok(redis.command(command("SET").arg(key).arg(1).arg("EX").arg(REMEMBERED.as_secs())).await?)
            }
        }
    }
}

fn key(redis: &Redis, delivery: &Sha256) -> String {
    format!("{}:webhook:{}", redis.prefix(), hex(&delivery.0))
}
