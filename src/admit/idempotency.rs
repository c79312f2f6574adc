//! Retries under one `Idempotency-Key`: one booking, one session, a fresh secret for each.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::watch;

use super::{Denied, IdempotencyKey};
use crate::domain::ids::{Pseudonym, SessionId};
use crate::domain::secret::Sha256;

const KEPT_FOR: Duration = Duration::from_mins(10);
const MOST_RETRIES: u8 = 3;
const MOST_KEYS: u64 = 200_000;

/// A user's key, hashed: what callers choose does not decide how much memory it takes.
type Name = (Pseudonym, Sha256);

#[derive(Clone)]
pub(super) struct Records(Cache<Name, Arc<Record>>);

struct Record {
    request: Sha256,
    session: SessionId,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The first mint is under way.
    Pending,
    Minted {
        retries: u8,
    },
    /// The first mint failed: this record is forgotten.
    Failed,
}

/// What a key stands for.
pub(super) enum Claim {
    First(First),
    Retry(Retry),
}

/// The first request under its key. Unless it is told that a secret was minted, the next one is the first.
pub(super) struct First {
    records: Records,
    name: Name,
    record: Arc<Record>,
}

/// A further request: booked already, and counted as one of the retries that its key is good for.
pub(super) struct Retry(Arc<Record>);

impl First {
    pub(super) fn session(&self) -> SessionId {
        self.record.session
    }

    /// Retries are welcome from now on.
    pub(super) fn minted(self) {
        self.record.state.send_replace(State::Minted { retries: 0 });
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if *self.record.state.borrow() == State::Pending {
            // Those who wait ask again after that, and must not find this record.
            self.records.0.invalidate(&self.name);
            self.record.state.send_replace(State::Failed);
        }
    }
}

impl Retry {
    pub(super) fn session(&self) -> SessionId {
        self.0.session
    }

    /// Not even tried, so it does not count.
    pub(super) fn give_back(self) {
        self.0.state.send_modify(|state| {
            if let State::Minted { retries } = state {
                *retries = retries.saturating_sub(1);
            }
        });
    }
}

impl Records {
    pub(super) fn new() -> Self {
        Self(Cache::builder().max_capacity(MOST_KEYS).time_to_live(KEPT_FOR).build())
    }

    /// Of all requests under one key exactly one is the first; the others wait until it is done, at most for `patience`.
    pub(super) async fn claim(&self, user: &Pseudonym, key: &IdempotencyKey, patience: Duration) -> Result<Claim, Denied> {
        tokio::time::timeout(patience, self.claimed(user, key)).await.unwrap_or(Err(Denied::UnderWay))
    }

    async fn claimed(&self, user: &Pseudonym, key: &IdempotencyKey) -> Result<Claim, Denied> {
        let name = (*user, Sha256::of(key.key.as_bytes()));
        loop {
            let fresh = || {
                Arc::new(Record { request: key.request, session: SessionId::new(), state: watch::Sender::new(State::Pending) })
            };
            let entry = self.0.entry(name).or_insert_with(fresh);
            let is_first = entry.is_fresh();
            let record = entry.into_value();
            if is_first {
                return Ok(Claim::First(First { records: self.clone(), name, record }));
            }
            if record.request != key.request {
                return Err(Denied::IdempotencyConflict);
            }
            let mut done = record.state.subscribe();
            // An error would mean that the record is gone, which is held here.
            let failed = done.wait_for(|state| *state != State::Pending).await.is_ok_and(|state| *state == State::Failed);
            if !failed {
                return record.retry().map(Claim::Retry);
            }
        }
    }
}

impl Record {
    fn retry(self: Arc<Self>) -> Result<Retry, Denied> {
        let counted = self.state.send_if_modified(|state| match state {
            State::Minted { retries } if *retries < MOST_RETRIES => {
                *retries += 1;
                true
            }
            _ => false,
        });
        if counted { Ok(Retry(self)) } else { Err(Denied::IdempotencyConflict) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::{join, join_all};

    use super::{Claim, Denied, First, IdempotencyKey, Records, Sha256};
    use crate::domain::ids::{Pseudonym, Pseudonymizer};
    use crate::domain::secret::Secret;

    const PATIENCE: Duration = Duration::from_mins(1);

    fn alice() -> (Pseudonym, IdempotencyKey) {
        let names = Pseudonymizer::new(&Secret::from("a key of more than sixteen bytes".to_owned()));
        (names.pseudonym("", "issuer", "alice"), IdempotencyKey { key: "key-1".into(), request: Sha256::of(b"a") })
    }

    async fn first(records: &Records) -> First {
        let (user, key) = alice();
        match records.claim(&user, &key, PATIENCE).await {
            Ok(Claim::First(first)) => first,
            _ => panic!("not the first"),
        }
    }

    #[tokio::test]
    async fn whoever_waits_longer_than_a_mint_may_take_is_refused_and_uses_no_retry_up() {
        let ((user, key), records) = (alice(), Records::new());
        let first = first(&records).await;
        for _ in 0..5 {
            let waited = records.claim(&user, &key, Duration::from_millis(1)).await;
            assert!(matches!(waited, Err(Denied::UnderWay)));
        }
        let session = first.session();
        first.minted();
        for _ in 0..3 {
            let retry = records.claim(&user, &key, PATIENCE).await;
            assert!(matches!(retry, Ok(Claim::Retry(retry)) if retry.session() == session));
        }
        assert!(matches!(records.claim(&user, &key, PATIENCE).await, Err(Denied::IdempotencyConflict)));
    }

    #[tokio::test]
    async fn of_all_who_wait_for_one_that_fails_exactly_one_is_the_next() {
        let ((user, key), records) = (alice(), Records::new());
        let fails = first(&records).await;
        let mints = async || match records.claim(&user, &key, PATIENCE).await {
            Ok(Claim::First(first)) => {
                let session = first.session();
                tokio::task::yield_now().await;
                first.minted();
                (true, session)
            }
            Ok(Claim::Retry(retry)) => (false, retry.session()),
            Err(denied) => panic!("{denied:?}"),
        };
        let (served, ()) = join(join_all([mints(), mints(), mints(), mints()]), async { drop(fails) }).await;
        assert_eq!(served.iter().filter(|(is_first, _)| *is_first).count(), 1);
        assert!(served.windows(2).all(|pair| pair[0].1 == pair[1].1), "{served:?}");
    }
}
