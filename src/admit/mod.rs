//! May they have it now? Rate, concurrent sessions and monthly quota in one step, booked before the mint and given back unless it is spent.

mod embedded;
mod idempotency;
mod rule;

use std::sync::Arc;
use std::time::Duration;

use crate::authorize::Grant;
use crate::config::Limits;
use crate::domain::clock::SharedClock;
use crate::domain::ids::{Pseudonym, SessionId};
use crate::domain::secret::Sha256;
use embedded::Counts;
use idempotency::{Claim, Records};
pub(crate) use rule::{Rule, Standing, ceil_seconds};

/// A retry's name, as the caller wrote it, and the digest of what it asks for.
#[derive(Clone)]
pub(crate) struct IdempotencyKey {
    pub(crate) key: Box<str>,
    pub(crate) request: Sha256,
}

/// Why a caller has to wait.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// The rule that refuses, and when to try again.
    #[error("{rule:?} refuses for {retry_after:?}")]
    Limited { rule: Rule, standing: Standing, retry_after: Duration },
    /// The key was used for another request, is in use by one under way, or was used for as many retries as it is good for.
    #[error("the idempotency key was used otherwise")]
    IdempotencyConflict,
    /// As many users are counted as may be; unknown ones have to wait.
    #[error("no room to count another user")]
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
}

/// Leave to mint once. Gives back what was booked when it is dropped unspent.
pub(crate) struct Permit {
    books: Arc<Books>,
    user: UserOfProfile,
    session: SessionId,
    limits: Limits,
    standing: Standing,
    retry_of: Option<IdempotencyKey>,
    state: Booked,
}

/// What a permit still owes.
#[derive(PartialEq, Eq)]
enum Booked {
    /// Booked for this permit; to be given back.
    Here,
    /// Booked by the first request under the same idempotency key.
    Before,
    Spent,
}

/// Limits of a profile are per user of that profile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct UserOfProfile {
    user: Pseudonym,
    profile: Arc<str>,
}

impl Permit {
    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    /// Whether the first request under the same idempotency key booked it.
    pub(crate) fn is_retry(&self) -> bool {
        self.state == Booked::Before
    }

    /// What is left of the rate, for the `RateLimit` headers.
    pub(crate) fn standing(&self) -> Standing {
        self.standing
    }

    /// Keeps what was booked. The lease ends when the secret does, at `expires_at` in seconds since 1970.
    pub(crate) fn spend(mut self, expires_at: u64) {
        let left = Duration::from_secs(expires_at).saturating_sub(self.books.clock.wall());
        if self.limits.concurrent_calls.is_some() {
            self.books.counts.hold_until(&self.user, self.session, self.books.clock.steady() + left);
        }
        if let (Booked::Here, Some(key)) = (&self.state, &self.retry_of) {
            self.books.records.minted(&self.user, key);
        }
        self.state = Booked::Spent;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.state == Booked::Here {
            self.books.counts.refund(&self.user, self.session, &self.limits);
            if let Some(key) = &self.retry_of {
                self.books.records.forget(&self.user, key);
            }
        }
    }
}

impl Admission {
    pub(crate) fn new(clock: SharedClock) -> Self {
        Self { books: Arc::new(Books { counts: Counts::default(), records: Records::new(), clock }) }
    }

    /// Books one mint. Nothing is taken when any rule refuses. A retry under the same key is not booked again.
    pub(crate) fn admit(&self, grant: &Grant, retry_of: Option<&IdempotencyKey>) -> Result<Permit, Denied> {
        let books = &self.books;
        let user = UserOfProfile { user: *grant.principal().user(), profile: grant.profile().name().clone() };
        let limits = *grant.profile().limits();
        let claim = retry_of.map_or_else(|| Ok(Claim::First(SessionId::new())), |key| books.records.claim(&user, key))?;
        let (session, standing, state) = match claim {
            Claim::First(session) => {
                let booked = books.counts.book(&user, session, &limits, grant.ttl(), &books.clock);
                let standing = booked.inspect_err(|_| retry_of.into_iter().for_each(|key| books.records.forget(&user, key)))?;
                (session, standing, Booked::Here)
            }
            Claim::Retry(session) => {
                let now = books.clock.steady();
                // A session that was ended gave its place away; its key brings it back no more.
                if limits.concurrent_calls.is_some() && !books.counts.holds(&user, session, now) {
                    return Err(Denied::IdempotencyConflict);
                }
                (session, books.counts.standing(&user, &limits, now), Booked::Before)
            }
        };
        Ok(Permit { books: books.clone(), user, session, limits, standing, retry_of: retry_of.cloned(), state })
    }

    /// Ends the lease of a session before it expires.
    pub(crate) fn release(&self, user: &Pseudonym, profile: &Arc<str>, session: SessionId) {
        self.books.counts.release(&UserOfProfile { user: *user, profile: profile.clone() }, session);
    }
}
