//! Retries under one `Idempotency-Key`: one booking, one session, a fresh secret for each.

use std::sync::Arc;
use std::time::Duration;

use moka::notification::RemovalCause;
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Denied, IdempotencyKey};
use crate::domain::clock::SharedClock;
use crate::domain::ids::{Pseudonym, SessionId, hex};
use crate::domain::secret::Sha256;
use crate::durable::Unopened;
use crate::store::{Journal, Table};

const KEPT_FOR: Duration = Duration::from_mins(10);
const MOST_RETRIES: u8 = 3;
const MOST_KEYS: u64 = 200_000;

/// A user's key, hashed: what callers choose does not decide how much memory it takes.
type Name = (Pseudonym, Sha256);

#[derive(Clone)]
pub(super) struct Records {
    known: Cache<Name, Arc<Record>>,
    journal: Journal,
    clock: SharedClock,
}

struct Record {
    request: Sha256,
    session: SessionId,
    state: watch::Sender<State>,
}

/// A record on disk, once its first mint has succeeded.
#[derive(Serialize, Deserialize)]
struct Stored {
    request: String,
    session: String,
    retries: u8,
    /// Seconds since 1970.
    until: u64,
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
pub(super) struct Retry {
    records: Records,
    name: Name,
    record: Arc<Record>,
}

impl First {
    pub(super) fn session(&self) -> SessionId {
        self.record.session
    }

    /// Notes down that a secret was minted, for the time after a restart. It is taken back when this is dropped before `minted`.
    pub(super) fn write_down(&self) {
        self.records.write_down(&self.name, &self.record, State::Minted { retries: 0 });
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
            self.records.known.invalidate(&self.name);
            self.records.journal.remove(Table::Keys, || text(&self.name));
            self.record.state.send_replace(State::Failed);
        }
    }
}

impl Retry {
    pub(super) fn session(&self) -> SessionId {
        self.record.session
    }

    /// Not even tried, so it does not count.
    pub(super) fn give_back(self) {
        self.record.state.send_modify(|state| {
            if let State::Minted { retries } = state {
                *retries = retries.saturating_sub(1);
            }
        });
        let state = *self.record.state.borrow();
        self.records.write_down(&self.name, &self.record, state);
    }
}

impl Records {
    /// With what was written down. What was, is kept for ten minutes from now on.
    pub(super) fn restored(journal: Journal, clock: &SharedClock) -> Result<Self, Unopened> {
        let forgotten = journal.clone();
        // Not when it was taken out by hand: then it was never written.
        let forget = move |name: Arc<Name>, _, cause: RemovalCause| {
            if cause.was_evicted() {
                forgotten.remove(Table::Keys, || text(&name));
            }
        };
        let known = Cache::builder().max_capacity(MOST_KEYS).time_to_live(KEPT_FOR).eviction_listener(forget).build();
        let now = clock.unix();
        journal.read(Table::Keys, |key, stored| match parse(key).zip(Record::restored(stored, now)) {
            Some((name, record)) => known.insert(name, Arc::new(record)),
            None => journal.remove(Table::Keys, || key.to_owned()),
        })?;
        Ok(Self { known, journal, clock: clock.clone() })
    }

    fn write_down(&self, name: &Name, record: &Record, state: State) {
        let until = self.clock.unix() + KEPT_FOR.as_secs();
        self.journal.put(Table::Keys, || text(name), || record.stored(state, until));
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
            let entry = self.known.entry(name).or_insert_with(fresh);
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
                return self.retry(name, record).map(Claim::Retry);
            }
        }
    }

    fn retry(&self, name: Name, record: Arc<Record>) -> Result<Retry, Denied> {
        let counted = record.state.send_if_modified(|state| match state {
            State::Minted { retries } if *retries < MOST_RETRIES => {
                *retries += 1;
                true
            }
            _ => false,
        });
        if !counted {
            return Err(Denied::IdempotencyConflict);
        }
        let state = *record.state.borrow();
        self.write_down(&name, &record, state);
        Ok(Retry { records: self.clone(), name, record })
    }
}

impl Record {
    fn stored(&self, state: State, until: u64) -> Option<Vec<u8>> {
        let State::Minted { retries } = state else { return None };
        let stored = Stored { request: hex(&self.request.0), session: self.session.to_string(), retries, until };
        serde_json::to_vec(&stored).ok()
    }

    /// `None` when its time is over.
    fn restored(stored: &[u8], now: u64) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(stored).ok().filter(|stored: &Stored| stored.until > now)?;
        Some(Self {
            request: Sha256::parse(&stored.request)?,
            session: SessionId::parse(&stored.session)?,
            state: watch::Sender::new(State::Minted { retries: stored.retries }),
        })
    }
}

fn text((user, key): &Name) -> String {
    format!("{user}:{}", hex(&key.0))
}

fn parse(text: &str) -> Option<Name> {
    let (user, key) = text.split_once(':')?;
    Some((Pseudonym::parse(user)?, Sha256::parse(key)?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::{join, join_all};

    use super::{Claim, Denied, First, IdempotencyKey, Journal, Records, Sha256, SharedClock};
    use crate::domain::clock::manual::ManualClock;
    use crate::domain::ids::{Pseudonym, Pseudonymizer};
    use crate::domain::secret::Secret;

    const PATIENCE: Duration = Duration::from_mins(1);

    fn alice() -> (Pseudonym, IdempotencyKey) {
        let names = Pseudonymizer::new(&Secret::from("a key of more than sixteen bytes".to_owned()));
        (names.pseudonym("", "issuer", "alice"), IdempotencyKey { key: "key-1".into(), request: Sha256::of(b"a") })
    }

    fn records() -> Records {
        let clock: SharedClock = ManualClock::at(1000);
        Records::restored(Journal::default(), &clock).unwrap()
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
        let ((user, key), records) = (alice(), records());
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
        let ((user, key), records) = (alice(), records());
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
