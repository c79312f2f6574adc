//! Limits as they are written: of each user of a profile, and across profiles.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// Mints within a minute where nobody says how many.
pub(crate) const DEFAULT_RATE: u64 = 120;

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLimits {
    /// Mints within a minute. Default 120.
    #[serde(serialize_with = "or_default_rate")]
    pub(crate) mints_per_minute: Option<u64>,
    /// Client secrets at once that are neither expired nor given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) concurrent_calls: Option<u64>,
    /// Mints within a calendar month, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) monthly_mints: Option<u64>,
}

#[expect(clippy::ref_option, reason = "serde hands it over like this")]
fn or_default_rate<S: Serializer>(rate: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(rate.unwrap_or(DEFAULT_RATE))
}

/// Limits of some together. What is left out is not limited.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawCeiling {
    /// Mints within a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mints_per_minute: Option<u64>,
    /// Client secrets and calls at once that are neither expired, over nor given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) concurrent_calls: Option<u64>,
    /// Mints within a calendar month, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) monthly_mints: Option<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawCeilings {
    /// Each user, over all profiles.
    pub(crate) per_user: RawCeiling,
    /// All users of a tenant together.
    pub(crate) per_tenant: RawCeiling,
    /// All callers from a client address (IPv6: from a /64) together. Behind proxies it needs `server.trusted_proxies`.
    pub(crate) per_address: RawCeiling,
    /// Everybody together.
    pub(crate) global: RawCeiling,
}
