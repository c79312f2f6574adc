//! May they have it now? Rate, concurrent calls and monthly quota in one step, booked before the mint and given back unless it is spent.

mod count;
mod embedded;
mod idempotency;
mod ledger;
mod redis;
mod rule;
mod subject;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use crate::authorize::{Grant, Policy};
use crate::config::{Ceilings, PerAddress};
use crate::domain::clock::SharedClock;
use crate::domain::ids::{Pseudonym, Pseudonymizer, SessionId};
use crate::domain::secret::Sha256;
use crate::durable::Unopened;
use crate::store::{Store, StoreDown};
use crate::telemetry::metrics::Metrics;
use ledger::Ledger;
use redis::SharedBooks;
pub(crate) use rule::{Rule, Standing, ceil_seconds};
pub(crate) use subject::{Owner, Whose};
use subject::{Rules, Subjects};

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

/// Keeps count.
pub(crate) struct Admission {
    rules: Rules,
    books: Books,
    clock: SharedClock,
}

/// Where counts are: a closed set, chosen by the configuration.
enum Books {
    Here(Arc<Ledger>),
    /// Shared by all replicas. While they are out of reach, in the ledger if there is one.
    Shared(Arc<SharedBooks>, Option<Alone>),
}

/// What a replica counts by while it cannot reach the others: a share of every limit.
struct Alone {
    ledger: Arc<Ledger>,
    among: u64,
    admitted: Counter,
}

/// Leave to mint once. Gives back what was booked when it is dropped unspent.
pub(crate) struct Permit {
    owner: Owner,
    standing: Option<Standing>,
    hold: Hold,
    clock: SharedClock,
}

#[expect(clippy::large_enum_variant, reason = "a box would be one more allocation for each mint")]
enum Hold {
    Here(ledger::Hold),
    Shared(redis::Hold),
}

impl Permit {
    pub(crate) fn session(&self) -> SessionId {
        match &self.hold {
            Hold::Here(hold) => hold.session(),
            Hold::Shared(hold) => hold.session(),
        }
    }

    /// Under what the session is counted.
    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Whether the first request under the same idempotency key booked it.
    pub(crate) fn is_retry(&self) -> bool {
        match &self.hold {
            Hold::Here(hold) => hold.is_retry(),
            Hold::Shared(hold) => hold.is_retry(),
        }
    }

    /// What is left of the rate, for the `RateLimit` headers. Absent where there is none.
    pub(crate) fn standing(&self) -> Option<Standing> {
        self.standing
    }

    /// Makes sure of what was booked, for a secret that expires at `expires_at` in seconds since 1970. It can still be given back.
    pub(crate) async fn keep(&self, expires_at: u64) -> Result<(), StoreDown> {
        match &self.hold {
            Hold::Here(hold) => hold.keep(expires_at).await,
            Hold::Shared(hold) => hold.keep(left(&self.clock, expires_at)).await,
        }
    }

    /// Gives back what was booked, before whoever was refused can try again.
    pub(crate) async fn give_back(self) {
        match self.hold {
            Hold::Here(hold) => drop(hold),
            Hold::Shared(hold) => hold.give_back().await,
        }
    }

    /// The secret is out: nothing is given back any more.
    pub(crate) fn spend(self) {
        match self.hold {
            Hold::Here(hold) => hold.spend(),
            Hold::Shared(hold) => hold.spend(),
        }
    }
}

impl Admission {
    /// Must run inside the process's runtime.
    pub(crate) fn new(
        policy: &Policy,
        ceilings: Ceilings,
        guest_address: Option<PerAddress>,
        names: Pseudonymizer,
        clock: &SharedClock,
        store: &Store,
        metrics: &Metrics,
    ) -> Result<Self, Unopened> {
        let ledger = || Ledger::restored(&store.journal(), clock.clone());
        let books = match store {
            Store::Memory | Store::File(_) => Books::Here(ledger()?),
            Store::Shared(shared) => {
                let alone = shared
                    .alone_among
                    .map(|among| Ok(Alone { ledger: ledger()?, among, admitted: metrics.admitted_alone.clone() }))
                    .transpose()?;
                Books::Shared(SharedBooks::new(shared.redis.clone()), alone)
            }
        };
        Ok(Self { rules: Rules::new(policy, ceilings, guest_address, names), books, clock: clock.clone() })
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
        let (ttl, patience) = (grant.ttl(), grant.profile().patience());
        let (standing, hold) = match &self.books {
            Books::Here(ledger) => {
                let subjects = self.subjects(&owner, 1).ok_or(Denied::Full)?;
                ledger.admit(subjects, &owner.user, retry_of, patience, ttl, is_open).await.map(here)?
            }
            Books::Shared(books, alone) => {
                let subjects = self.subjects(&owner, 1).ok_or(Denied::Full)?;
                match (books.admit(&subjects, &owner.user, retry_of, patience, ttl, &is_open).await, alone) {
                    (Err(Denied::StoreDown(_)), Some(alone)) => {
                        let subjects = self.subjects(&owner, alone.among).ok_or(Denied::Full)?;
                        let admitted = alone.ledger.admit(subjects, &owner.user, retry_of, patience, ttl, is_open).await?;
                        alone.admitted.inc();
                        here(admitted)
                    }
                    (admitted, _) => {
                        let (standing, hold) = admitted?;
                        (standing, Hold::Shared(hold))
                    }
                }
            }
        };
        Ok(Permit { owner, standing, hold, clock: self.clock.clone() })
    }

    /// Counts one proof of a client's network that is about to be checked.
    pub(crate) async fn admit_proof(&self, network: &Pseudonym) -> Result<(), Denied> {
        let counted = match &self.books {
            Books::Here(ledger) => ledger.count(&self.rules.proofs(network, 1)),
            Books::Shared(books, alone) => match (books.count(&self.rules.proofs(network, 1), network).await, alone) {
                (Err(Denied::StoreDown(_)), Some(alone)) => alone.ledger.count(&self.rules.proofs(network, alone.among)),
                (counted, _) => counted,
            },
        };
        counted.map_err(|denied| match denied {
            Denied::Limited { retry_after, .. } => Denied::TooManyProofs(retry_after),
            denied => denied,
        })
    }

    /// Holds the places of a session until then, in seconds since 1970: its call is under way.
    pub(crate) async fn hold(&self, owner: &Owner, session: SessionId, until: u64) -> Result<(), StoreDown> {
        let Some(subjects) = self.subjects(owner, 1) else { return Ok(()) };
        match &self.books {
            Books::Here(ledger) => ledger.hold(&subjects, session, until).await,
            Books::Shared(books, alone) => {
                if let Some(alone) = alone {
                    alone.ledger.hold(&subjects, session, until).await?;
                }
                let held = books.hold(&subjects, &owner.user, session, left(&self.clock, until)).await;
                if alone.is_some() { Ok(()) } else { held }
            }
        }
    }

    /// Ends the leases of a session before they expire.
    pub(crate) async fn release(&self, owner: &Owner, session: SessionId) -> Result<(), StoreDown> {
        let Some(subjects) = self.subjects(owner, 1) else { return Ok(()) };
        match &self.books {
            Books::Here(ledger) => ledger.release(&subjects, session).await,
            Books::Shared(books, alone) => {
                if let Some(alone) = alone {
                    alone.ledger.release(&subjects, session).await?;
                }
                let released = books.release(&subjects, &owner.user, session).await;
                if alone.is_some() { Ok(()) } else { released }
            }
        }
    }

    fn subjects(&self, owner: &Owner, among: u64) -> Option<Subjects> {
        self.rules.subjects(owner, among, &self.clock)
    }
}

fn here((standing, hold): (Option<Standing>, ledger::Hold)) -> (Option<Standing>, Hold) {
    (standing, Hold::Here(hold))
}

fn left(clock: &SharedClock, until: u64) -> Duration {
    Duration::from_secs(until).saturating_sub(clock.wall())
}
