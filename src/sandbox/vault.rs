//! Client secrets that were minted and have not expired: their digests, never themselves.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::scenario::Scenario;
use super::session::Session;
use crate::domain::clock::SharedClock;
use crate::domain::secret::Sha256;

/// Secrets at once; beyond this the one that expires first is forgotten.
const MOST: usize = 4096;

/// What a client secret is good for.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) session: Session,
    pub(super) scenario: Scenario,
    /// Unix time in seconds: opens no sessions from then on.
    pub(super) expires_at: u64,
}

/// What a string that looks like a client secret is.
pub(super) enum Found {
    Good(Box<Grant>),
    Expired,
    Unknown,
}

pub(super) struct Vault {
    grants: Mutex<HashMap<Sha256, Grant>>,
    clock: SharedClock,
}

impl Vault {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { grants: Mutex::default(), clock }
    }

    pub(super) fn keep(&self, secret: &str, grant: Grant) {
        let mut grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        if grants.len() >= MOST
            && let Some(first) = grants.iter().min_by_key(|(_, grant)| grant.expires_at).map(|(digest, _)| *digest)
        {
            grants.remove(&first);
        }
        grants.insert(Sha256::of(secret.as_bytes()), grant);
    }

    pub(super) fn find(&self, secret: &str) -> Found {
        let grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        match grants.get(&Sha256::of(secret.as_bytes())) {
            Some(grant) if self.clock.unix() < grant.expires_at => Found::Good(Box::new(grant.clone())),
            Some(_) => Found::Expired,
            None => Found::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::{Found, Grant, MOST, Scenario, Session, Vault};
    use crate::domain::clock::manual::ManualClock;

    fn grant(expires_at: u64) -> Grant {
        let session = Session::parse(&json!({"type": "realtime"})).expect("settings");
        Grant { session, scenario: Scenario::Happy, expires_at }
    }

    #[test]
    fn a_secret_works_until_it_expires_as_often_as_one_likes() {
        let clock = ManualClock::at(1_000);
        let vault = Vault::new(clock.clone());
        vault.keep("ek_1", grant(1_010));
        assert!(matches!(vault.find("ek_1"), Found::Good(_)));
        clock.advance(Duration::from_secs(9));
        assert!(matches!(vault.find("ek_1"), Found::Good(_)));
        clock.advance(Duration::from_secs(1));
        assert!(matches!(vault.find("ek_1"), Found::Expired));
        assert!(matches!(vault.find("ek_2"), Found::Unknown));
    }

    #[test]
    fn their_number_is_bounded_and_the_first_to_expire_goes_first() {
        let vault = Vault::new(ManualClock::at(0));
        for number in 0..=MOST {
            vault.keep(&format!("ek_{number}"), grant(100 + u64::try_from(number).expect("small")));
        }
        assert!(matches!(vault.find("ek_0"), Found::Unknown));
        assert!(matches!(vault.find("ek_1"), Found::Good(_)));
        assert!(matches!(vault.find(&format!("ek_{MOST}")), Found::Good(_)));
    }
}
