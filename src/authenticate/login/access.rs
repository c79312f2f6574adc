//! Access tokens of signed-in users, where an upstream is asked on their behalf. They are too large for a cookie, so each replica has those
//! of the sessions that it saw, and gets others with the session's refresh token.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;

use crate::domain::secret::Secret;

/// Sessions whose tokens are kept.
const MOST: u64 = 100_000;
/// Where the issuer does not say how long a token lives, and how long it is remembered that it gave none.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(5);
const LONGEST: Duration = Duration::from_hours(24);

/// By the session's id. Absent: nobody needs them.
#[derive(Clone)]
pub(super) struct AccessTokens(Option<Cache<Box<str>, Kept>>);

#[derive(Clone)]
struct Kept {
    token: Option<Arc<Secret>>,
    lifetime: Duration,
}

impl AccessTokens {
    pub(super) fn new(are_needed: bool) -> Self {
        Self(are_needed.then(|| Cache::builder().max_capacity(MOST).expire_after(UntilItsEnd).build()))
    }

    /// `expires_in` is in seconds.
    pub(super) fn keep(&self, session: &str, token: Option<Secret>, expires_in: Option<u64>) {
        if let Some(tokens) = &self.0 {
            let lifetime = expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs).min(LONGEST);
            tokens.insert(session.into(), Kept { token: token.map(Arc::new), lifetime });
        }
    }

    /// Whether the issuer has to be asked for one.
    pub(super) fn lacks(&self, session: &str) -> bool {
        self.0.as_ref().is_some_and(|tokens| !tokens.contains_key(session))
    }

    pub(super) fn get(&self, session: &str) -> Option<Secret> {
        self.0.as_ref()?.get(session)?.token.as_deref().cloned()
    }
}

struct UntilItsEnd;

impl Expiry<Box<str>, Kept> for UntilItsEnd {
    fn expire_after_create(&self, _: &Box<str>, kept: &Kept, _: Instant) -> Option<Duration> {
        Some(kept.lifetime)
    }

    fn expire_after_update(&self, _: &Box<str>, kept: &Kept, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(kept.lifetime)
    }
}
