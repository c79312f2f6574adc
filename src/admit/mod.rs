//! May they have it now? Rate, concurrent calls and monthly quota in one step, booked before the mint and given back unless it is spent.

mod count;
mod embedded;
mod idempotency;
mod ledger;
mod rule;
mod subject;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::authorize::{Grant, Policy};
use crate::config::{Ceilings, PerAddress};
use crate::domain::clock::SharedClock;
use crate::domain::ids::{Pseudonym, Pseudonymizer, SessionId};
use crate::domain::secret::Sha256;
use idempotency::Claim;
use ledger::{Hold, Ledger};
pub(crate) use rule::{Rule, Standing, ceil_seconds};
use subject::Rules;
pub(crate) use subject::{Owner, Whose};

/// A retry's name, as the caller wrote it, and the digest of what it asks for.
#[derive(Clone)]
pub(crate) struct IdempotencyKey {
    pub(crate) key: Box<str>,
    pub(crate) request: Sha256,
}

/// Why a caller has to wait.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// The rule that refuses, whose it is, and when to try again.
    #[error("{rule:?} of {whose:?} refuses for {retry_after:?}")]
    Limited { whose: Whose, rule: Rule, standing: Option<Standing>, retry_after: Duration },
    /// Too many proofs from one address. Holds when to try again.
    #[error("too many proofs: refused for {0:?}")]
    TooManyProofs(Duration),
    /// The key was used for another request, for a session that has ended, or for as many retries as it is good for.
    #[error("the idempotency key was used otherwise")]
    IdempotencyConflict,
    /// The first request under the key took longer than a mint may take.
    #[error("the first request under the idempotency key is still under way")]
    UnderWay,
    /// As many users, guests or addresses are counted as may be; unknown ones have to wait.
    #[error("no room to count another one")]
    Full,
    #[error(transparent)]
    StoreDown(#[from] StoreDown),
}

/// What is counted and remembered cannot be read or written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is not available")]
pub(crate) struct StoreDown;

/// Keeps count.
pub(crate) struct Admission {
    rules: Rules,
    ledger: Arc<Ledger>,
    clock: SharedClock,
}

/// Leave to mint once. Gives back what was booked when it is dropped unspent.
pub(crate) struct Permit {
    owner: Owner,
    standing: Option<Standing>,
    hold: Hold,
}

impl Permit {
    pub(crate) fn session(&self) -> SessionId {
        self.hold.session()
    }

    /// Under what the session is counted.
    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Whether the first request under the same idempotency key booked it.
    pub(crate) fn is_retry(&self) -> bool {
        self.hold.is_retry()
    }

    /// What is left of the rate, for the `RateLimit` headers. Absent where there is none.
    pub(crate) fn standing(&self) -> Option<Standing> {
        self.standing
    }

    /// Makes sure of what was booked, for a secret that expires at `expires_at` in seconds since 1970. It can still be given back.
    pub(crate) async fn keep(&self, expires_at: u64) -> Result<(), StoreDown> {
        self.hold.keep(expires_at).await
    }

    /// Gives back what was booked, before whoever was refused can try again.
    pub(crate) async fn give_back(self) {
        drop(self.hold);
    }

    /// The secret is out: nothing is given back any more.
    pub(crate) fn spend(self) {
        self.hold.spend();
    }
}

impl Admission {
    pub(crate) fn new(
        policy: &Policy,
        ceilings: Ceilings,
        guest_address: Option<PerAddress>,
        names: Pseudonymizer,
        clock: SharedClock,
    ) -> Self {
        Self { rules: Rules::new(policy, ceilings, guest_address, names), ledger: Ledger::new(clock.clone()), clock }
    }

    /// Whether callers who are no guests are counted by where they come from.
    pub(crate) fn counts_addresses(&self) -> bool {
        self.rules.counts_addresses()
    }

    /// Books one mint with everyone whose limits it comes under. Nothing is taken when any rule refuses. A retry under the same key is
    /// not booked again, but needs a place; it waits for the first request to be done, and is refused when its session is not open any
    /// more.
    pub(crate) async fn admit(
        &self,
        grant: &Grant,
        from: Option<IpAddr>,
        retry_of: Option<&IdempotencyKey>,
        is_open: impl AsyncFn(SessionId) -> Result<bool, StoreDown>,
    ) -> Result<Permit, Denied> {
        let owner = self.rules.owner(grant, from);
        let subjects = self.rules.subjects(&owner, &self.clock).ok_or(Denied::Full)?;
        let claim = match retry_of {
            Some(key) => Some(self.ledger.claim(&owner.user, key, grant.profile().upstream().timeout).await?),
            None => None,
        };
        let (standing, hold) = match claim {
            Some(Claim::Retry(retry)) if !is_open(retry.session()).await? => return Err(Denied::IdempotencyConflict),
            Some(Claim::Retry(retry)) => self.ledger.resume(subjects, retry, grant.ttl())?,
            Some(Claim::First(first)) => self.ledger.book(subjects, Some(first), grant.ttl())?,
            None => self.ledger.book(subjects, None, grant.ttl())?,
        };
        Ok(Permit { owner, standing, hold })
    }

    /// Counts one proof of a client's network that is about to be checked.
    pub(crate) fn admit_proof(&self, network: &Pseudonym) -> Result<(), Denied> {
        self.ledger.count(&self.rules.proofs(network)).map_err(|denied| match denied {
            Denied::Limited { retry_after, .. } => Denied::TooManyProofs(retry_after),
            denied => denied,
        })
    }

    /// Holds the places of a session until then, in seconds since 1970: its call is under way.
    pub(crate) async fn hold(&self, owner: &Owner, session: SessionId, until: u64) -> Result<(), StoreDown> {
        if let Some(subjects) = self.rules.subjects(owner, &self.clock) {
            self.ledger.hold(&subjects, session, until);
        }
        Ok(())
    }

    /// Ends the leases of a session before they expire.
    pub(crate) async fn release(&self, owner: &Owner, session: SessionId) -> Result<(), StoreDown> {
        if let Some(subjects) = self.rules.subjects(owner, &self.clock) {
            self.ledger.release(&subjects, session);
        }
        Ok(())
    }
}
