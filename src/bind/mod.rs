//! Which session belongs to whom. A [`Grant`] and a [`Minted`] in, a [`Binding`] out. The secret itself is not kept, only its SHA-256.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::authorize::Grant;
use crate::domain::clock::SharedClock;
use crate::domain::ids::{Pseudonym, SessionId};
use crate::domain::secret::Sha256;
use crate::provider::Minted;

/// Bindings kept at most; beyond that the least recently used go first.
const MOST: u64 = 1_000_000;

/// One session and its owner. Only this stage can make one.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    session: SessionId,
    user: Pseudonym,
    tenant: Box<str>,
    profile: Arc<str>,
    secret: Sha256,
    /// Seconds since 1970.
    issued_at: u64,
    expires_at: u64,
    ended: bool,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its secret is out and has not expired.
    Issued,
    /// Its owner ended it.
    Ended,
}

impl Binding {
    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    pub(crate) fn profile(&self) -> &Arc<str> {
        &self.profile
    }

    /// Empty when tokens name no tenant.
    pub(crate) fn tenant(&self) -> &str {
        &self.tenant
    }

    /// SHA-256 of the client secret: tells whose a secret is that turned up somewhere.
    pub(crate) fn secret(&self) -> &Sha256 {
        &self.secret
    }

    pub(crate) fn issued_at(&self) -> u64 {
        self.issued_at
    }

    pub(crate) fn expires_at(&self) -> u64 {
        self.expires_at
    }

    pub(crate) fn state(&self) -> State {
        if self.ended { State::Ended } else { State::Issued }
    }
}

/// All bindings of this process. Each is dropped when its secret expires.
pub(crate) struct Bindings {
    sessions: Cache<SessionId, Arc<Binding>>,
    /// Which of `sessions` are a user's; kept in step by the cache's own removals.
    owners: Arc<Owners>,
    clock: SharedClock,
}

impl Bindings {
    pub(crate) fn new(clock: SharedClock) -> Self {
        let owners = Arc::new(Owners::default());
        let forget = owners.clone();
        let sessions = Cache::builder()
            .max_capacity(MOST)
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(AtExpiry(clock.clone()))
            .eviction_listener(move |session: Arc<SessionId>, binding: Arc<Binding>, cause| {
                if cause != RemovalCause::Replaced {
                    forget.remove(&binding.user, *session);
                }
            })
            .build();
        Self { sessions, owners, clock }
    }

    /// Remembers who holds the secret that was just minted.
    pub(crate) fn bind(&self, grant: &Grant, session: SessionId, minted: &Minted) -> Arc<Binding> {
        let binding = Arc::new(Binding {
            session,
            user: *grant.principal().user(),
            tenant: grant.principal().tenant().into(),
            profile: grant.profile().name().clone(),
            secret: minted.token().digest(),
            issued_at: self.clock.unix(),
            expires_at: minted.expires_at(),
            ended: false,
        });
        self.owners.add(&binding.user, session);
        self.sessions.insert(session, binding.clone());
        binding
    }

    /// A user's own sessions that have not expired, the newest first.
    pub(crate) fn of(&self, user: &Pseudonym) -> Vec<Arc<Binding>> {
        let mut own: Vec<_> = self.owners.of(user).into_iter().filter_map(|session| self.own(user, session)).collect();
        own.sort_by_key(|binding| std::cmp::Reverse((binding.issued_at, binding.session)));
        own
    }

    /// One session, if it is the user's.
    pub(crate) fn own(&self, user: &Pseudonym, session: SessionId) -> Option<Arc<Binding>> {
        let now = self.clock.unix();
        self.sessions.get(&session).filter(|binding| binding.user == *user && binding.expires_at > now)
    }

    /// Forgets a session whose secret never left.
    pub(crate) fn forget(&self, session: SessionId) {
        self.sessions.invalidate(&session);
    }

    /// Marks a user's session as ended. `None` when it is not theirs, or expired.
    pub(crate) fn end(&self, user: &Pseudonym, session: SessionId) -> Option<Arc<Binding>> {
        let binding = self.own(user, session)?;
        if !binding.ended {
            let ended = Binding { ended: true, ..Binding::clone(&binding) };
            self.sessions.insert(session, Arc::new(ended));
        }
        Some(binding)
    }
}

struct AtExpiry(SharedClock);

impl AtExpiry {
    fn left(&self, binding: &Binding) -> Duration {
        Duration::from_secs(binding.expires_at).saturating_sub(self.0.wall())
    }
}

impl Expiry<SessionId, Arc<Binding>> for AtExpiry {
    fn expire_after_create(&self, _: &SessionId, binding: &Arc<Binding>, _: Instant) -> Option<Duration> {
        Some(self.left(binding))
    }

    fn expire_after_update(&self, _: &SessionId, binding: &Arc<Binding>, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(self.left(binding))
    }
}

const SHARDS: usize = 64;

type Shard = HashMap<Pseudonym, HashSet<SessionId>>;

struct Owners(Vec<Mutex<Shard>>);

impl Default for Owners {
    fn default() -> Self {
        Self(std::iter::repeat_with(Mutex::default).take(SHARDS).collect())
    }
}

impl Owners {
    fn add(&self, user: &Pseudonym, session: SessionId) {
        self.shard(user).entry(*user).or_default().insert(session);
    }

    fn remove(&self, user: &Pseudonym, session: SessionId) {
        let mut shard = self.shard(user);
        if let Some(sessions) = shard.get_mut(user) {
            sessions.remove(&session);
            if sessions.is_empty() {
                shard.remove(user);
            }
        }
    }

    fn of(&self, user: &Pseudonym) -> Vec<SessionId> {
        self.shard(user).get(user).into_iter().flatten().copied().collect()
    }

    /// Pseudonyms are MACs, so their bytes are spread evenly.
    fn shard(&self, user: &Pseudonym) -> MutexGuard<'_, Shard> {
        self.0[usize::from(user.spread()) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
