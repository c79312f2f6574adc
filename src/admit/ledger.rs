//! The books of one process: counts, and what retries under idempotency keys rely on.

use std::sync::Arc;
use std::time::Duration;

use super::count::{Month, Resumed};
use super::embedded::Counts;
use super::idempotency::{Claim, First, Records, Retry};
use super::rule::Standing;
use super::subject::Subjects;
use super::{Denied, IdempotencyKey};
use crate::domain::clock::SharedClock;
use crate::domain::ids::{Pseudonym, SessionId};
use crate::domain::ttl::Ttl;
use crate::durable::Unopened;
use crate::store::{Journal, StoreDown};

pub(super) struct Ledger {
    counts: Counts,
    records: Records,
    journal: Journal,
    clock: SharedClock,
}

/// What was booked. Given back when it is dropped before it was spent.
pub(super) struct Hold {
    ledger: Arc<Ledger>,
    subjects: Subjects,
    session: SessionId,
    first: Option<First>,
    state: Booked,
}

/// What a hold still owes.
#[derive(PartialEq, Eq)]
enum Booked {
    /// Booked for this mint, in this month; to be given back.
    Here(Month),
    /// Booked by the first request under the same idempotency key; its leases go on, or are to be given back.
    Before(Vec<Option<Resumed>>),
    Spent,
}

impl Ledger {
    /// With what was written down.
    pub(super) fn restored(journal: &Journal, clock: SharedClock) -> Result<Arc<Self>, Unopened> {
        let counts = Counts::restored(journal.clone(), &clock)?;
        let records = Records::restored(journal.clone(), &clock)?;
        Ok(Arc::new(Self { counts, records, journal: journal.clone(), clock }))
    }

    /// Books one mint; or, when it is a retry, only what a retry needs: nothing is booked again, but a place must be free. It waits for the
    /// first request under its key to be done, at most for `patience`.
    pub(super) async fn admit(
        self: &Arc<Self>,
        subjects: Subjects,
        user: &Pseudonym,
        retry_of: Option<&IdempotencyKey>,
        patience: Duration,
        ttl: Ttl,
        is_open: impl AsyncFn(SessionId) -> Result<bool, StoreDown>,
    ) -> Result<(Option<Standing>, Hold), Denied> {
        // Otherwise what is refused in the end would still be added to what waits for the disk.
        self.journal.takes_more()?;
        let claim = match retry_of {
            Some(key) => Some(self.records.claim(user, key, patience).await?),
            None => None,
        };
        match claim {
            Some(Claim::Retry(retry)) if !is_open(retry.session()).await? => Err(Denied::IdempotencyConflict),
            Some(Claim::Retry(retry)) => self.resume(subjects, retry, ttl),
            Some(Claim::First(first)) => self.book(subjects, Some(first), ttl),
            None => self.book(subjects, None, ttl),
        }
    }

    fn book(
        self: &Arc<Self>,
        mut subjects: Subjects,
        first: Option<First>,
        ttl: Ttl,
    ) -> Result<(Option<Standing>, Hold), Denied> {
        let session = first.as_ref().map_or_else(SessionId::new, First::session);
        let (standing, month) = self.counts.book(&mut subjects, session, ttl, &self.clock)?;
        Ok((standing, Hold { ledger: self.clone(), subjects, session, first, state: Booked::Here(month) }))
    }

    fn resume(self: &Arc<Self>, subjects: Subjects, retry: Retry, ttl: Ttl) -> Result<(Option<Standing>, Hold), Denied> {
        let session = retry.session();
        match self.counts.resume(&subjects, session, ttl, &self.clock) {
            Ok((standing, resumed)) => {
                Ok((standing, Hold { ledger: self.clone(), subjects, session, first: None, state: Booked::Before(resumed) }))
            }
            Err(denied) => {
                retry.give_back();
                Err(denied)
            }
        }
    }

    /// Counts one event that is given back by nobody.
    pub(super) fn count(&self, subjects: &Subjects) -> Result<(), Denied> {
        self.counts.book(&mut subjects.clone(), SessionId::new(), Ttl::MIN, &self.clock).map(drop)
    }

    /// Holds a place until then, in seconds since 1970, with everyone who counts them.
    pub(super) async fn hold(&self, subjects: &Subjects, session: SessionId, until: u64) -> Result<(), StoreDown> {
        self.counts.hold(subjects, session, self.steady(until), &self.clock);
        self.journal.settled().await
    }

    pub(super) async fn release(&self, subjects: &Subjects, session: SessionId) -> Result<(), StoreDown> {
        self.counts.release(subjects, session, &self.clock);
        self.journal.settled().await
    }

    fn steady(&self, unix: u64) -> Duration {
        self.clock.steady() + Duration::from_secs(unix).saturating_sub(self.clock.wall())
    }
}

impl Hold {
    pub(super) fn session(&self) -> SessionId {
        self.session
    }

    pub(super) fn is_retry(&self) -> bool {
        matches!(self.state, Booked::Before(_))
    }

    /// Sets the lease's end to that of the secret, in seconds since 1970, and waits until all that was booked is where it survives.
    pub(super) async fn keep(&self, expires_at: u64) -> Result<(), StoreDown> {
        let ledger = &self.ledger;
        ledger.counts.hold_until(&self.subjects, self.session, ledger.steady(expires_at), &ledger.clock);
        if let Some(first) = &self.first {
            first.write_down();
        }
        ledger.journal.settled().await
    }

    pub(super) fn spend(mut self) {
        if let Some(first) = self.first.take() {
            first.minted();
        }
        self.state = Booked::Spent;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // `first` is dropped after this: whoever waits for it finds the booking given back.
        match &self.state {
            Booked::Here(month) => self.ledger.counts.refund(&self.subjects, self.session, *month, &self.ledger.clock),
            Booked::Before(resumed) => self.ledger.counts.suspend(&self.subjects, self.session, resumed, &self.ledger.clock),
            Booked::Spent => {}
        }
    }
}
