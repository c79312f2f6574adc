//! `[store]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where counts, sessions and blocks are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StoreKind {
    /// In the process, and in a file when `path` is set: for one replica.
    #[default]
    Embedded,
    /// At a Redis or Valkey that all replicas share.
    Redis,
}

/// What happens while a shared store is out of reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnOutage {
    /// 503 `store_unavailable`.
    #[default]
    Refuse,
    /// Each replica counts alone, by limits divided by `replicas`.
    Local,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawStore {
    /// embedded or redis.
    pub(crate) kind: StoreKind,
    /// embedded: the file that counts, sessions and blocks survive a restart in. Without it they are in memory only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// redis: reference to the URL: redis://user:password@host:port/db, redis+sentinel://…/master or redis+cluster://…; rediss for TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// redis: what every key begins with.
    pub(crate) key_prefix: String,
    /// redis: how long an answer may take, in milliseconds. 10..=5000.
    pub(crate) timeout_ms: u64,
    /// redis: refuse, or local.
    pub(crate) on_outage: OnOutage,
    /// redis: how many replicas share the limits, for on_outage = "local". 1..=1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replicas: Option<u64>,
}

impl Default for RawStore {
    fn default() -> Self {
        Self {
            kind: StoreKind::Embedded,
            path: None,
            url: None,
            key_prefix: "ephemint".into(),
            timeout_ms: 250,
            on_outage: OnOutage::Refuse,
            replicas: None,
        }
    }
}
