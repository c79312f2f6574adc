//! Where what is counted and remembered is kept: in this process, in a file beside it, or at a Redis that replicas share.

use std::sync::Arc;
use std::time::Duration;

use crate::config;
pub(crate) use crate::durable::Table;
use crate::durable::{Durable, Lost, Unopened};
use crate::redis::{BadUrl, Origin, Redis, Unavailable};
use crate::telemetry::metrics::{KindLabel, Metrics};

/// One of them, chosen by `[store]`.
#[derive(Clone)]
pub(crate) enum Store {
    /// Gone with the process.
    Memory,
    /// In memory, and on disk before it is answered.
    File(Arc<Durable>),
    Shared(Shared),
}

/// A Redis, and what is done while it is out of reach.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) redis: Arc<Redis>,
    /// With `on_outage = "local"`: by how many replicas limits are divided while each counts alone. Absent: nothing is admitted.
    pub(crate) alone_among: Option<u64>,
}

/// Writes changes of this process's memory down, where they are to survive it.
#[derive(Clone, Default)]
pub(crate) struct Journal(Option<Arc<Durable>>);

impl Journal {
    /// The entry is this from now on. Never waits. Changes of one entry must come in the order in which they were made.
    pub(crate) fn put(&self, table: Table, key: impl FnOnce() -> String, value: impl FnOnce() -> Option<Vec<u8>>) {
        if let (Some(durable), Some(value)) = (&self.0, self.0.as_ref().and_then(|_| value())) {
            let _settled_with_others = durable.put(table, key().as_bytes(), Some(&value));
        }
    }

    /// The entry is no more.
    pub(crate) fn remove(&self, table: Table, key: impl FnOnce() -> String) {
        if let Some(durable) = &self.0 {
            let _settled_with_others = durable.put(table, key().as_bytes(), None);
        }
    }

    /// Whether what is changed now can be expected to be on disk soon.
    pub(crate) fn takes_more(&self) -> Result<(), StoreDown> {
        if self.0.as_ref().is_none_or(|durable| durable.healthy()) { Ok(()) } else { Err(StoreDown) }
    }

    /// Waits until all changes so far are on disk.
    pub(crate) async fn settled(&self) -> Result<(), StoreDown> {
        match &self.0 {
            Some(durable) => Ok(durable.settled(durable.write([])).await?),
            None => Ok(()),
        }
    }

    /// Hands on every entry that was there when the process started.
    pub(crate) fn read(&self, table: Table, mut each: impl FnMut(&str, &[u8])) -> Result<(), Unopened> {
        let Some(durable) = &self.0 else { return Ok(()) };
        durable.read(table, |key, value| each(&String::from_utf8_lossy(key), value))
    }
}

/// What is counted and remembered cannot be read or written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is not available")]
pub(crate) struct StoreDown;

impl From<Unavailable> for StoreDown {
    fn from(_: Unavailable) -> Self {
        Self
    }
}

impl From<Lost> for StoreDown {
    fn from(_: Lost) -> Self {
        Self
    }
}

const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// A store that cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("store.path: {0}")]
    File(#[from] Unopened),
    #[error("store.url: {0}")]
    Url(#[from] BadUrl),
}

impl Store {
    /// Must run inside the process's runtime.
    pub(crate) fn open(settings: config::Store, metrics: &Metrics) -> Result<Self, Unusable> {
        match settings {
            config::Store::Memory { is_meant } => {
                if !is_meant {
                    tracing::warn!(
                        "store.path is not set: counts, leases, sessions and blocks are in memory only, and a restart begins anew"
                    );
                }
                Ok(Self::Memory)
            }
            config::Store::File(path) => {
                let failures = metrics.store_failures.get_or_create_owned(&KindLabel { kind: "write" });
                Ok(Self::File(Arc::new(Durable::open(&path, failures)?)))
            }
            config::Store::Redis(settings) => {
                let origin = Origin::parse(&settings.url)?;
                let redis = Arc::new(Redis::connect(origin, settings.key_prefix, settings.timeout, metrics));
                Ok(Self::Shared(Shared { redis, alone_among: settings.alone_among }))
            }
        }
    }

    /// Writes what waits. Nothing is taken after that.
    pub(crate) async fn close(&self) {
        if let Self::File(durable) = self
            && durable.close(CLOSE_WITHIN).await.is_err()
        {
            tracing::error!("not everything that was counted could be written to the store before the end");
        }
    }

    /// For what is kept in memory.
    pub(crate) fn journal(&self) -> Journal {
        match self {
            Self::Memory | Self::Shared(_) => Journal::default(),
            Self::File(durable) => Journal(Some(durable.clone())),
        }
    }

    /// Whether it takes what it is given.
    pub(crate) fn is_well(&self) -> bool {
        match self {
            Self::Memory => true,
            Self::File(durable) => durable.healthy(),
            Self::Shared(shared) => shared.alone_among.is_some() || shared.redis.is_well(),
        }
    }
}
