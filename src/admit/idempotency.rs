//! Retries under one `Idempotency-Key`: one booking, one session, a fresh secret for each.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;

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
    state: Mutex<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The first mint is under way.
    Pending,
    Minted {
        retries: u8,
    },
}

/// What a key stands for.
pub(super) enum Claim {
    /// The first request under this key.
    First(SessionId),
    /// A further one: booked already.
    Retry(SessionId),
}

impl Records {
    pub(super) fn new() -> Self {
        Self(Cache::builder().max_capacity(MOST_KEYS).time_to_live(KEPT_FOR).build())
    }

    /// Of all requests under one key exactly one is the first.
    pub(super) fn claim(&self, user: &Pseudonym, key: &IdempotencyKey) -> Result<Claim, Denied> {
        let session = SessionId::new();
        let fresh = || Arc::new(Record { request: key.request, session, state: Mutex::new(State::Pending) });
        let record = self.0.entry(name(user, key)).or_insert_with(fresh);
        if record.is_fresh() {
            return Ok(Claim::First(session));
        }
        let record = record.into_value();
        if record.request != key.request {
            return Err(Denied::IdempotencyConflict);
        }
        let mut state = record.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            State::Minted { retries } if *retries < MOST_RETRIES => {
                *retries += 1;
                Ok(Claim::Retry(record.session))
            }
            State::Minted { .. } | State::Pending => Err(Denied::IdempotencyConflict),
        }
    }

    /// The first mint succeeded: retries are welcome from now on.
    pub(super) fn minted(&self, user: &Pseudonym, key: &IdempotencyKey) {
        if let Some(record) = self.0.get(&name(user, key)) {
            *record.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Minted { retries: 0 };
        }
    }

    /// The first mint failed: the next request under this key is a first one again.
    pub(super) fn forget(&self, user: &Pseudonym, key: &IdempotencyKey) {
        self.0.invalidate(&name(user, key));
    }
}

fn name(user: &Pseudonym, key: &IdempotencyKey) -> Name {
    (*user, Sha256::of(key.key.as_bytes()))
}
