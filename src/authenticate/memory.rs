//! What was found out about tokens, each finding for a time of its own, under the SHA-256 of the whole token: no two tokens share one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;

use crate::domain::secret::Sha256;

struct Entry<V> {
    finding: V,
    lifetime: Duration,
}

pub(super) struct Memory<V>(Cache<Sha256, Arc<Entry<V>>>);

impl<V: Clone + Send + Sync + 'static> Memory<V> {
    /// Remembers at most so many findings; beyond that the least used go first.
    pub(super) fn of(most: u64) -> Self {
        Self(Cache::builder().max_capacity(most).expire_after(PerEntry).build())
    }

    pub(super) fn get(&self, token: &Sha256) -> Option<V> {
        self.0.get(token).map(|entry| entry.finding.clone())
    }

    pub(super) fn put(&self, token: Sha256, finding: V, lifetime: Duration) {
        self.0.insert(token, Arc::new(Entry { finding, lifetime }));
    }
}

struct PerEntry;

impl<V> Expiry<Sha256, Arc<Entry<V>>> for PerEntry {
    fn expire_after_create(&self, _: &Sha256, entry: &Arc<Entry<V>>, _: Instant) -> Option<Duration> {
        Some(entry.lifetime)
    }

    fn expire_after_update(&self, _: &Sha256, entry: &Arc<Entry<V>>, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(entry.lifetime)
    }
}
