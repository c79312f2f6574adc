//! Where what is counted and remembered is kept: in this process, in a file beside it, or at a Redis that replicas share.

use std::sync::Arc;

use crate::config;
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
            config::Store::Memory => Ok(Self::Memory),
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

    /// Whether it takes what it is given.
    pub(crate) fn is_well(&self) -> bool {
        match self {
            Self::Memory => true,
            Self::File(durable) => durable.healthy(),
            Self::Shared(shared) => shared.alone_among.is_some() || shared.redis.is_well(),
        }
    }
}
