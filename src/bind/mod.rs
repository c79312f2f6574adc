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
/// A binding stays known this long after its secret has expired: as long as a call lasts that was opened in the secret's last moment, so
/// that whoever hangs up can end it. Must not be shorter than idempotency keys are kept: an ended session's key could not be told from
/// one that is good.
const KEPT_EXPIRED: Duration = Duration::from_hours(1);
/// Expired bindings of one user at most; beyond that the oldest go first.
const MOST_EXPIRED: usize = 1000;
/// A user's bindings are dropped when nothing was bound for as long as the longest secret lives and is known afterwards, and a little
/// for clocks that differ. Must not be shorter than [`Ttl::MAX`]: a binding would be gone while its secret still opens sessions.
const IDLE_USER: Duration = Duration::from_secs(Ttl::MAX.seconds() + KEPT_EXPIRED.as_secs() + 30);
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

    fn is_known(&self, now: u64) -> bool {
        self.expires_at + KEPT_EXPIRED.as_secs() > now
    }
}

/// All bindings of this process, by user: nobody can name another user's. Each is shown until its secret
/// expires, and can be ended for an hour after that.
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
    /// At this size old ones are taken out, so that the cost of that stays in proportion to the number of mints.
    sweep_at: usize,
}

impl Bindings {
    pub(crate) fn new(clock: SharedClock) -> Self {
        let users = Cache::builder().max_capacity(MOST_USERS).eviction_policy(EvictionPolicy::lru()).time_to_idle(IDLE_USER);
        Self { users: users.build(), clock }
    }

    /// Remembers who holds the secret that was just minted. A retry under the same session replaces what was bound before; `None` when
    /// its owner has ended that session, which stays ended.
    pub(crate) fn bind(&self, grant: &Grant, session: SessionId, minted: &Minted) -> Option<Binding> {
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
        held(&sessions).put(binding.clone(), now).then_some(binding)
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
        let now = self.clock.unix();
        held(&sessions).find(session, now).filter(|binding| binding.expires_at > now).cloned()
    }

    /// Whether the user may have another secret for this session, expired or not: it is known and not ended.
    pub(crate) fn is_open(&self, user: &Pseudonym, session: SessionId) -> bool {
        let Some(sessions) = self.users.get(user) else { return false };
        held(&sessions).find(session, self.clock.unix()).is_some_and(|binding| !binding.ended)
    }

    /// Marks a user's session as ended, also when its secret has expired. `None` when it is not theirs, or known no more.
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
    /// `false` when the session was ended: then nothing changes.
    fn put(&mut self, binding: Binding, now: u64) -> bool {
        if self.bindings.len() >= self.sweep_at {
            self.sweep(now);
            self.sweep_at = (self.bindings.len() * 2).max(FIRST_SWEEP);
        }
        // Ids grow with time, so only a retry (or one of two mints at the same moment) has to look for a predecessor.
        if self.newest >= Some(binding.session) {
            if self.bindings.iter().any(|old| old.session == binding.session && old.ended) {
                return false;
            }
            self.bindings.retain(|old| old.session != binding.session);
        }
        self.newest = self.newest.max(Some(binding.session));
        self.bindings.push(binding);
        true
    }

    fn sweep(&mut self, now: u64) {
        let expired = self.bindings.iter().filter(|binding| binding.expires_at <= now).count();
        let mut surplus = expired.saturating_sub(MOST_EXPIRED);
        self.bindings.retain(|binding| {
            let drops = surplus > 0 && binding.expires_at <= now;
            surplus -= usize::from(drops);
            !drops && binding.is_known(now)
        });
    }

    fn find(&mut self, session: SessionId, now: u64) -> Option<&mut Binding> {
        self.bindings.iter_mut().find(|binding| binding.session == session && binding.is_known(now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Arc, Binding, Bindings, KEPT_EXPIRED, MOST_EXPIRED, SessionId, Sessions, Sha256, held};
    use crate::domain::clock::manual::ManualClock;
    use crate::domain::ids::Pseudonymizer;
    use crate::domain::secret::Secret;

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
    fn an_ended_session_stays_ended_whatever_is_bound_to_it() {
        let (mut sessions, id) = (Sessions::default(), SessionId::new());
        assert!(sessions.put(binding(id, 60), 0));
        sessions.find(id, 0).unwrap().ended = true;
        for now in [1, 59, 60, 60 + 600] {
            assert!(!sessions.put(binding(id, now + 60), now), "at {now}");
            let kept = sessions.find(id, now).unwrap();
            assert!(kept.ended && kept.expires_at == 60, "at {now}");
        }
    }

    #[test]
    fn expired_bindings_stay_known_for_an_hour_and_do_not_pile_up() {
        let mut sessions = Sessions::default();
        let first = SessionId::new();
        sessions.put(binding(first, 1), 0);
        assert!(sessions.find(first, KEPT_EXPIRED.as_secs()).is_some());
        assert!(sessions.find(first, KEPT_EXPIRED.as_secs() + 1).is_none());
        for now in 1..10_000 {
            sessions.put(binding(SessionId::new(), now + 10), now);
        }
        assert!(sessions.bindings.len() <= 2 * (MOST_EXPIRED + 10), "{}", sessions.bindings.len());
        assert_eq!(sessions.bindings.last().unwrap().expires_at, 9_999 + 10, "the oldest went first");
    }

    #[test]
    fn a_user_ends_their_own_session_after_its_secret_has_expired_and_it_is_not_shown_any_more() {
        let clock = ManualClock::at(1000);
        let bindings = Bindings::new(clock.clone());
        let names = Pseudonymizer::new(&Secret::from("a key of more than sixteen bytes".to_owned()));
        let (alice, bob) = (names.pseudonym("", "issuer", "alice"), names.pseudonym("", "issuer", "bob"));
        let id = SessionId::new();
        held(&bindings.users.get_with(alice, Arc::default)).put(binding(id, 1060), 1000);
        assert!(bindings.is_open(&alice, id) && bindings.own(&alice, id).is_some());
        clock.advance(Duration::from_mins(1));
        assert!(bindings.is_open(&alice, id), "its key may bring it a fresh secret");
        assert!(bindings.own(&alice, id).is_none() && bindings.of(&alice).is_empty());
        assert!(bindings.end(&bob, id).is_none() && !bindings.is_open(&bob, id));
        assert!(bindings.end(&alice, id).is_some() && bindings.end(&alice, id).is_some());
        clock.advance(KEPT_EXPIRED.saturating_sub(Duration::from_secs(1)));
        assert!(bindings.end(&alice, id).is_some() && !bindings.is_open(&alice, id));
        clock.advance(Duration::from_secs(1));
        assert!(bindings.end(&alice, id).is_none() && !bindings.is_open(&alice, id));
    }
}
