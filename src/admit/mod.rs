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
use embedded::{Counts, Resumed};
use idempotency::{Claim, First, Records};
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
    /// The key was used for another request, for a session that has ended, or for as many retries as it is good for.
    #[error("the idempotency key was used otherwise")]
    IdempotencyConflict,
    /// The first request under the key took longer than a mint may take.
    #[error("the first request under the idempotency key is still under way")]
    UnderWay,
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
    first: Option<First>,
    state: Booked,
}

/// What a permit still owes.
#[derive(PartialEq, Eq)]
enum Booked {
    /// Booked for this permit; to be given back.
    Here,
    /// Booked by the first request under the same idempotency key; its lease goes on, or is to be given back.
    Before(Option<Resumed>),
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
        matches!(self.state, Booked::Before(_))
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
            Booked::Here => self.books.counts.refund(&self.user, self.session, &self.limits),
            Booked::Before(Some(resumed)) => self.books.counts.suspend(&self.user, self.session, resumed),
            Booked::Before(None) | Booked::Spent => {}
        }
    }
}

impl Admission {
    pub(crate) fn new(clock: SharedClock) -> Self {
        Self { books: Arc::new(Books { counts: Counts::default(), records: Records::new(), clock }) }
    }

    /// Books one mint. Nothing is taken when any rule refuses. A retry under the same key is not booked again, but needs a place; it waits
    /// for the first request to be done, and is refused when its session is not open any more.
    pub(crate) async fn admit(
        &self,
        grant: &Grant,
        retry_of: Option<&IdempotencyKey>,
        is_open: impl Fn(SessionId) -> bool,
    ) -> Result<Permit, Denied> {
        let books = &self.books;
        let user = UserOfProfile { user: *grant.principal().user(), profile: grant.profile().name().clone() };
        let limits = *grant.profile().limits();
        let claim = match retry_of {
            Some(key) => Some(books.records.claim(&user, key, grant.profile().upstream().timeout).await?),
            None => None,
        };
        let permit = |session, standing, first, state| Permit {
            books: books.clone(),
            user: user.clone(),
            session,
            limits,
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
                return match books.counts.resume(&user, session, &limits, grant.ttl(), &books.clock) {
                    Ok((standing, resumed)) => Ok(permit(session, standing, None, Booked::Before(resumed))),
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
        let standing = books.counts.book(&user, session, &limits, grant.ttl(), &books.clock)?;
        Ok(permit(session, standing, first, Booked::Here))
    }

    /// Ends the lease of a session before it expires.
    pub(crate) fn release(&self, user: &Pseudonym, profile: &Arc<str>, session: SessionId) {
        self.books.counts.release(&UserOfProfile { user: *user, profile: profile.clone() }, session);
    }
}
