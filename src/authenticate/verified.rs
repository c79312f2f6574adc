//! Tokens that were verified shortly before.
//!
//! An entry is dropped after the configured time, when the token expires, or when the issuer's keys change; `exp` and `nbf` are checked
//! again on every hit. The cache lives and dies with one configuration, so no entry outlives the rules it was verified under.

use std::sync::Arc;
use std::time::Duration;

use super::jwks::KeyLease;
use super::memory::Memory;
use super::{Principal, Unauthenticated};
use crate::domain::secret::Sha256;

/// What verification of one token found out.
#[derive(Clone)]
pub(super) struct Verified {
    pub(super) principal: Arc<Principal>,
    pub(super) validity: Validity,
    pub(super) keys: KeyLease,
}

/// When a token is good, in seconds since 1970, the leeway already counted in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validity {
    pub(super) from: u64,
    /// Exclusive.
    pub(super) until: u64,
}

impl Validity {
    pub(super) fn check(self, now: u64) -> Result<(), Unauthenticated> {
        if now >= self.until {
            return Err(Unauthenticated::Expired);
        }
        if now < self.from { Err(Unauthenticated::Invalid) } else { Ok(()) }
    }
}

pub(super) struct VerifiedTokens {
    memory: Memory<Verified>,
    lifetime: Duration,
}

impl VerifiedTokens {
    /// `None` when nothing is to be remembered.
    pub(super) fn new(most: u64, lifetime: Duration) -> Option<Self> {
        let wanted = most > 0 && !lifetime.is_zero();
        wanted.then(|| Self { memory: Memory::of(most), lifetime })
    }

    pub(super) fn get(&self, token: &Sha256) -> Option<Verified> {
        self.memory.get(token)
    }

    pub(super) fn remember(&self, token: Sha256, verified: Verified, now: u64) {
        let left = Duration::from_secs(verified.validity.until.saturating_sub(now));
        self.memory.put(token, verified, left.min(self.lifetime));
    }
}

#[cfg(test)]
mod tests {
    use super::{Unauthenticated, Validity};

    #[test]
    fn a_token_is_good_from_its_first_second_until_before_its_last() {
        let validity = Validity { from: 970, until: 1030 };
        for (now, outcome) in [
            (969, Err(Unauthenticated::Invalid)),
            (970, Ok(())),
            (1029, Ok(())),
            (1030, Err(Unauthenticated::Expired)),
            (u64::MAX, Err(Unauthenticated::Expired)),
        ] {
            assert_eq!(validity.check(now), outcome, "{now}");
        }
    }
}
