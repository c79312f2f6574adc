//! Limits: of users of a profile, and across profiles.

use super::Check;
use crate::config::raw::{DEFAULT_RATE, RawCeiling, RawCeilings, RawLimits};
use crate::config::{Ceilings, Limits};

const MOST: u64 = 1_000_000_000;

impl Check<'_> {
    /// With a rate in any case: a user without one could have as many secrets as there are.
    pub(super) fn limits(&mut self, key: &str, raw: &RawLimits) -> Limits {
        let limits = Limits {
            mints_per_minute: Some(raw.mints_per_minute.unwrap_or(DEFAULT_RATE)),
            concurrent_calls: raw.concurrent_calls,
            monthly_mints: raw.monthly_mints,
        };
        self.in_range(key, limits)
    }

    pub(super) fn ceilings(&mut self, raw: &RawCeilings) -> Ceilings {
        Ceilings {
            per_user: self.ceiling("limits.per_user", &raw.per_user),
            per_tenant: self.ceiling("limits.per_tenant", &raw.per_tenant),
            per_address: self.ceiling("limits.per_address", &raw.per_address),
            global: self.ceiling("limits.global", &raw.global),
        }
    }

    /// `None` when nothing is limited.
    pub(super) fn ceiling(&mut self, key: &str, raw: &RawCeiling) -> Option<Limits> {
        let RawCeiling { mints_per_minute, concurrent_calls, monthly_mints } = *raw;
        (*raw != RawCeiling::default()).then(|| self.in_range(key, Limits { mints_per_minute, concurrent_calls, monthly_mints }))
    }

    fn in_range(&mut self, key: &str, limits: Limits) -> Limits {
        for (name, value) in [
            ("mints_per_minute", limits.mints_per_minute),
            ("concurrent_calls", limits.concurrent_calls),
            ("monthly_mints", limits.monthly_mints),
        ] {
            if let Some(value) = value {
                self.range(&format!("{key}.{name}"), value, 1, MOST);
            }
        }
        limits
    }
}
