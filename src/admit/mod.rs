//! May they have it now? Rate, concurrent sessions and monthly quota in one step, booked before the mint and given back unless it is spent.

mod count;
mod embedded;
mod idempotency;
mod rule;
mod subject;

use std::sync::Arc;
use std::time::Duration;

use crate::authorize::Grant;
use crate::config::{Limits, PerAddress};
use crate::domain::clock::SharedClock;
use crate::domain::ids::{Pseudonym, SessionId};
use crate::domain::secret::Sha256;
use crate::domain::ttl::Ttl;
use count::Resumed;
use embedded::Counts;
use idempotency::{Claim, First, Records};
pub(crate) use rule::{Rule, Standing, ceil_seconds};
pub(crate) use subject::Whose;
use subject::{Key, Subject, Subjects};

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
    Limited { whose: Whose, rule: Rule, standing: Standing, retry_after: Duration },
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
}

/// Keeps count.
pub(crate) struct Admission {
    books: Arc<Books>,
}

struct Books {
    counts: Counts,
    records: Records,
    clock: SharedClock,
    /// Present where there are guests.
    per_address: Option<PerAddress>,
    /// What is counted of an address, apart from each other.
    mints: Arc<str>,
    proofs: Arc<str>,
}

/// Leave to mint once. Gives back what was booked when it is dropped unspent.
pub(crate) struct Permit {
    books: Arc<Books>,
    subjects: Subjects,
    session: SessionId,
    standing: Standing,
    first: Option<First>,
    state: Booked,
}

/// What a permit still owes.
#[derive(PartialEq, Eq)]
enum Booked {
    /// Booked for this permit; to be given back.
    Here,
    /// Booked by the first request under the same idempotency key; its leases go on, or are to be given back.
    Before(Vec<Option<Resumed>>),
    Spent,
}

impl Permit {
    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    /// Whether the first request under the same idempotency key booked it.
    pub(crate) fn is_retry(&self) -> bool {
        matches!(self.state, Booked::Before(_))
    }

    /// What is left of the rate, for the `RateLimit` headers.
    pub(crate) fn standing(&self) -> Standing {
        self.standing
    }

    /// Keeps what was booked. The lease ends when the secret does, at `expires_at` in seconds since 1970.
    pub(crate) fn spend(mut self, expires_at: u64) {
        let left = Duration::from_secs(expires_at).saturating_sub(self.books.clock.wall());
        self.books.counts.hold_until(&self.subjects, self.session, self.books.clock.steady() + left);
        if let Some(first) = self.first.take() {
            first.minted();
        }
        self.state = Booked::Spent;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // `first` is dropped after this: whoever waits for it finds the booking given back.
        match &self.state {
            Booked::Here => self.books.counts.refund(&self.subjects, self.session),
            Booked::Before(resumed) => self.books.counts.suspend(&self.subjects, self.session, resumed),
            Booked::Spent => {}
        }
    }
}

impl Admission {
    pub(crate) fn new(clock: SharedClock, per_address: Option<PerAddress>) -> Self {
        let (counts, records) = (Counts::default(), Records::new());
        let (mints, proofs) = ("mints".into(), "proofs".into());
        Self { books: Arc::new(Books { counts, records, clock, per_address, mints, proofs }) }
    }

    /// Books one mint with everyone whose limits it comes under. Nothing is taken when any rule refuses. A retry under the same key is
    /// not booked again, but needs a place; it waits for the first request to be done, and is refused when its session is not open any
    /// more.
    pub(crate) async fn admit(
        &self,
        grant: &Grant,
        retry_of: Option<&IdempotencyKey>,
        is_open: impl Fn(SessionId) -> bool,
    ) -> Result<Permit, Denied> {
        let books = &self.books;
        let subjects = books.subjects(grant);
        let claim = match retry_of {
            Some(key) => Some(books.records.claim(&subjects.first.key.name, key, grant.profile().upstream().timeout).await?),
            None => None,
        };
        let permit = |subjects, session, standing, first, state| Permit {
            books: books.clone(),
            subjects,
            session,
            standing,
            first,
            state,
        };
        let first = match claim {
            Some(Claim::Retry(retry)) => {
                let session = retry.session();
                if !is_open(session) {
                    return Err(Denied::IdempotencyConflict);
                }
                return match books.counts.resume(&subjects, session, grant.ttl(), &books.clock) {
                    Ok((standing, resumed)) => Ok(permit(subjects, session, standing, None, Booked::Before(resumed))),
                    Err(denied) => {
                        retry.give_back();
                        Err(denied)
                    }
                };
            }
            Some(Claim::First(first)) => Some(first),
            None => None,
        };
        let session = first.as_ref().map_or_else(SessionId::new, First::session);
        let standing = books.counts.book(&subjects, session, grant.ttl(), &books.clock)?;
        Ok(permit(subjects, session, standing, first, Booked::Here))
    }

    /// Counts one proof of a client's network that is about to be checked.
    pub(crate) fn admit_proof(&self, network: &Pseudonym) -> Result<(), Denied> {
        let books = &self.books;
        let per_minute = books.per_address.map_or(0, |per_address| per_address.proofs_per_minute);
        let limits = Limits { mints_per_minute: per_minute, concurrent_calls: None, monthly_mints: None };
        let key = Key { name: *network, within: books.proofs.clone() };
        let subject = Subject { whose: Whose::Address, key, limits, known_until: Duration::MAX };
        match books.counts.book(&Subjects::one(subject), SessionId::new(), Ttl::MIN, &books.clock) {
            Ok(_) => Ok(()),
            Err(Denied::Limited { retry_after, .. }) => Err(Denied::TooManyProofs(retry_after)),
            Err(denied) => Err(denied),
        }
    }

    /// Ends the lease of a session before it expires. `network` is where the guest came from who minted it.
    pub(crate) fn release(&self, user: &Pseudonym, profile: &Arc<str>, network: Option<&Pseudonym>, session: SessionId) {
        let books = &self.books;
        let whose = if network.is_some() { Whose::Guest } else { Whose::User };
        books.counts.release(whose, &Key { name: *user, within: profile.clone() }, session);
        if let Some(network) = network {
            books.counts.release(Whose::Address, &Key { name: *network, within: books.mints.clone() }, session);
        }
    }
}

impl Books {
    fn subjects(&self, grant: &Grant) -> Subjects {
        let (principal, profile) = (grant.principal(), grant.profile());
        let key = Key { name: *principal.user(), within: profile.name().clone() };
        let limits = *profile.limits();
        let Some(visit) = principal.visit() else {
            return Subjects::one(Subject { whose: Whose::User, key, limits, known_until: Duration::MAX });
        };
        let left = Duration::from_secs(visit.until()).saturating_sub(self.clock.wall());
        let guest = Subject { whose: Whose::Guest, key, limits, known_until: self.clock.steady() + left };
        let address = self.per_address.map(|per_address| Subject {
            whose: Whose::Address,
            key: Key { name: *visit.network(), within: self.mints.clone() },
            limits: per_address.mints,
            known_until: Duration::MAX,
        });
        Subjects { first: guest, more: address.into_iter().collect() }
    }
}
