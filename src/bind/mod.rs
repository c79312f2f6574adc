//! Which session belongs to whom. A [`Grant`] and a [`Minted`] in, a [`Binding`] out. The secret itself is not kept, only its SHA-256.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::authorize::Grant;
use crate::domain::clock::SharedClock;
use crate::domain::ids::{Pseudonym, SessionId};
use crate::domain::secret::Sha256;
use crate::domain::ttl::Ttl;
use crate::provider::Minted;

/// Users with bindings at most; beyond that the least recently used go first.
const MOST_USERS: u64 = 1_000_000;
/// A user's bindings are dropped when nothing was bound for as long as the longest secret lives, and a little for clocks that differ.
/// Must not be shorter than [`Ttl::MAX`]: a binding would be gone while its secret still opens sessions.
const IDLE_USER: Duration = Duration::from_secs(Ttl::MAX.seconds() + 30);
const FIRST_SWEEP: usize = 16;

/// One session and its owner. Only this stage can make one.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    session: SessionId,
    tenant: Box<str>,
    profile: Arc<str>,
    secret: Sha256,
    /// Seconds since 1970.
    issued_at: u64,
    expires_at: u64,
    ended: bool,
    /// Where the guest came from who minted it.
    network: Option<Pseudonym>,
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

    /// Empty when tokens name no tenant.
    pub(crate) fn tenant(&self) -> &str {
        &self.tenant
    }

    pub(crate) fn profile(&self) -> &Arc<str> {
        &self.profile
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

    /// Where the guest came from who minted it; absent for everybody else.
    pub(crate) fn network(&self) -> Option<&Pseudonym> {
        self.network.as_ref()
    }

    pub(crate) fn state(&self) -> State {
        if self.ended { State::Ended } else { State::Issued }
    }
}

/// All bindings of this process, by user: nobody can name another user's. Each ends when its secret expires.
pub(crate) struct Bindings {
    users: Cache<Pseudonym, Arc<Mutex<Sessions>>>,
    clock: SharedClock,
}

/// One user's bindings, in the order of their last mint.
#[derive(Default)]
struct Sessions {
    bindings: Vec<Binding>,
    /// The greatest id bound so far.
    newest: Option<SessionId>,
    /// At this size expired ones are taken out, so that the cost of that stays in proportion to the number of mints.
    sweep_at: usize,
}

impl Bindings {
    pub(crate) fn new(clock: SharedClock) -> Self {
        let users = Cache::builder().max_capacity(MOST_USERS).eviction_policy(EvictionPolicy::lru()).time_to_idle(IDLE_USER);
        Self { users: users.build(), clock }
    }

    /// Remembers who holds the secret that was just minted. A retry under the same session replaces what was bound before.
    pub(crate) fn bind(&self, grant: &Grant, session: SessionId, minted: &Minted) -> Binding {
        let now = self.clock.unix();
        let binding = Binding {
            session,
            tenant: grant.principal().tenant().into(),
            profile: grant.profile().name().clone(),
            secret: minted.token().digest(),
            issued_at: now,
            expires_at: minted.expires_at(),
            ended: false,
            network: grant.principal().visit().map(|visit| *visit.network()),
        };
        let user = grant.principal().user();
        let sessions = self.users.get(user).unwrap_or_else(|| self.users.get_with(*user, Arc::default));
        held(&sessions).put(binding.clone(), now);
        binding
    }

    /// A user's own sessions that have not expired, the newest first.
    pub(crate) fn of(&self, user: &Pseudonym) -> Vec<Binding> {
        let now = self.clock.unix();
        let Some(sessions) = self.users.get(user) else { return Vec::new() };
        let sessions = held(&sessions);
        sessions.bindings.iter().rev().filter(|binding| binding.expires_at > now).cloned().collect()
    }

    /// One session, if it is the user's and has not expired.
    pub(crate) fn own(&self, user: &Pseudonym, session: SessionId) -> Option<Binding> {
        let sessions = self.users.get(user)?;
        held(&sessions).find(session, self.clock.unix()).cloned()
    }

    /// Whether the user ended this session.
    pub(crate) fn has_ended(&self, user: &Pseudonym, session: SessionId) -> bool {
        self.own(user, session).is_some_and(|binding| binding.ended)
    }

    /// Marks a user's session as ended. `None` when it is not theirs, or expired.
    pub(crate) fn end(&self, user: &Pseudonym, session: SessionId) -> Option<Binding> {
        let sessions = self.users.get(user)?;
        let mut sessions = held(&sessions);
        let binding = sessions.find(session, self.clock.unix())?;
        binding.ended = true;
        Some(binding.clone())
    }

    /// Forgets a session whose secret never left.
    pub(crate) fn forget(&self, user: &Pseudonym, session: SessionId) {
        if let Some(sessions) = self.users.get(user) {
            held(&sessions).bindings.retain(|binding| binding.session != session);
        }
    }
}

/// Nothing in a critical section can panic half-way through a change, so a poisoned lock still guards consistent bindings.
fn held(sessions: &Mutex<Sessions>) -> MutexGuard<'_, Sessions> {
    sessions.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    fn put(&mut self, binding: Binding, now: u64) {
        if self.bindings.len() >= self.sweep_at {
            self.bindings.retain(|old| old.expires_at > now);
            self.sweep_at = (self.bindings.len() * 2).max(FIRST_SWEEP);
        }
        // Ids grow with time, so only a retry (or one of two mints at the same moment) has to look for a predecessor.
        if self.newest >= Some(binding.session) {
            self.bindings.retain(|old| old.session != binding.session);
        }
        self.newest = self.newest.max(Some(binding.session));
        self.bindings.push(binding);
    }

    fn find(&mut self, session: SessionId, now: u64) -> Option<&mut Binding> {
        self.bindings.iter_mut().find(|binding| binding.session == session && binding.expires_at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, Binding, SessionId, Sessions, Sha256};

    fn binding(session: SessionId, expires_at: u64) -> Binding {
        Binding {
            session,
            tenant: "".into(),
            profile: Arc::from("p"),
            secret: Sha256::of(b""),
            issued_at: 0,
            expires_at,
            ended: false,
            network: None,
        }
    }

    #[test]
    fn a_retry_replaces_its_predecessor_wherever_it_stands() {
        let (mut sessions, ids) = (Sessions::default(), [(); 3].map(|()| SessionId::new()));
        for id in ids {
            sessions.put(binding(id, 100), 0);
        }
        sessions.put(binding(ids[0], 200), 0);
        sessions.put(binding(ids[2], 300), 0);
        let kept: Vec<_> = sessions.bindings.iter().map(|b| (b.session, b.expires_at)).collect();
        assert_eq!(kept, [(ids[1], 100), (ids[0], 200), (ids[2], 300)]);
    }

    #[test]
    fn expired_bindings_are_not_found_and_do_not_pile_up() {
        let mut sessions = Sessions::default();
        let first = SessionId::new();
        sessions.put(binding(first, 1), 0);
        assert!(sessions.find(first, 0).is_some() && sessions.find(first, 1).is_none());
        for now in 1..10_000 {
            sessions.put(binding(SessionId::new(), now + 10), now);
        }
        assert!(sessions.bindings.len() <= 64, "{}", sessions.bindings.len());
    }
}
