//! Sessions in this process's memory.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::{Binding, By, KEPT, LISTED, LONGEST_CALL, NotReported, Which};
use crate::domain::clock::SharedClock;
use crate::domain::ids::{CallId, Pseudonym, SessionId};
use crate::domain::ttl::Ttl;
use crate::durable::Unopened;
use crate::store::{Journal, StoreDown, Table};

/// Users with sessions at most; beyond that the least recently used go first.
const MOST_USERS: u64 = 1_000_000;
/// Calls at most that are known to belong to a session.
const MOST_CALLS: u64 = 1_000_000;
/// Sessions of one user at most that are over; beyond that the oldest go first.
const MOST_OVER: usize = 1000;
/// A user's sessions are dropped when nothing happened to them for as long as they can be known, and a little for clocks that differ.
const IDLE_USER: Duration = Duration::from_secs(Ttl::MAX.seconds() + LONGEST_CALL + KEPT + 30);
const FIRST_SWEEP: usize = 16;

/// All sessions of this process, by user: nobody can name another user's.
pub(crate) struct Memory {
    users: Cache<Pseudonym, Arc<Mutex<Sessions>>>,
    /// Which session a call was reported for: one call never ends another session.
    calls: Cache<CallId, SessionId>,
    /// Sessions whose call is still to be hung up: as many as there are calls at most.
    to_hang_up: Mutex<HashSet<(Pseudonym, SessionId)>>,
    journal: Journal,
    clock: SharedClock,
}

/// One user's sessions, in the order of their last mint.
#[derive(Default)]
struct Sessions {
    bindings: Vec<Binding>,
    /// The greatest id bound so far.
    newest: Option<SessionId>,
    /// At this size old ones are taken out, so that the cost of that stays in proportion to the number of mints.
    sweep_at: usize,
}

impl Memory {
    /// With what was written down.
    pub(super) fn restored(journal: Journal, clock: SharedClock) -> Result<Self, Unopened> {
        let forgotten = journal.clone();
        let forget = move |_, sessions: Arc<Mutex<Sessions>>, _| {
            for binding in &held(&sessions).bindings {
                forgotten.remove(Table::Sessions, || text(binding));
            }
        };
        let users = Cache::builder().max_capacity(MOST_USERS).eviction_policy(EvictionPolicy::lru()).time_to_idle(IDLE_USER);
        let calls = Cache::builder().max_capacity(MOST_CALLS).time_to_live(IDLE_USER).build();
        let memory = Self { users: users.eviction_listener(forget).build(), calls, to_hang_up: Mutex::default(), journal, clock };
        let mut known = Vec::new();
        memory.journal.read(Table::Sessions, |key, stored| match Binding::restored(stored) {
            Some(binding) if binding.known_until() > memory.now() => known.push(binding),
            _ => memory.journal.remove(Table::Sessions, || key.to_owned()),
        })?;
        // As they were minted.
        known.sort_unstable_by_key(|binding| binding.session);
        for binding in known {
            if let Some(call) = &binding.call {
                memory.calls.insert(call.id.clone(), binding.session);
            }
            memory.note(&binding);
            let sessions = memory.users.get_with(binding.owner.user, Arc::default);
            held(&sessions).push(binding);
        }
        Ok(memory)
    }

    /// Waits until all that happened so far is where it survives.
    pub(super) async fn settled(&self) -> Result<(), StoreDown> {
        self.journal.settled().await
    }

    pub(super) fn now(&self) -> u64 {
        self.clock.unix()
    }

    /// `None` when the session had ended.
    pub(super) fn bind(&self, binding: Binding) -> Option<Binding> {
        let (user, now) = (binding.owner.user, self.now());
        let sessions = self.users.get(&user).unwrap_or_else(|| self.users.get_with(user, Arc::default));
        held(&sessions).put(binding, now, &self.journal)
    }

    pub(super) fn of(&self, user: &Pseudonym) -> Vec<Binding> {
        let (Some(sessions), now) = (self.users.get(user), self.now()) else { return Vec::new() };
        let sessions = held(&sessions);
        sessions.bindings.iter().rev().filter(|binding| binding.known_until() > now).take(LISTED).cloned().collect()
    }

    pub(super) fn own(&self, user: &Pseudonym, session: SessionId) -> Option<Binding> {
        let (sessions, now) = (self.users.get(user)?, self.now());
        held(&sessions).find(session, now).cloned()
    }

    pub(super) fn end(&self, user: &Pseudonym, session: SessionId, by: By) -> Option<(Binding, bool)> {
        self.change(user, session, |binding, now| {
            let newly = binding.end_by(by, now);
            (binding.clone(), newly)
        })
    }

    pub(super) fn report(&self, user: &Pseudonym, session: SessionId, call: &CallId) -> Result<Binding, NotReported> {
        let known = self.own(user, session).ok_or(NotReported::Unknown)?;
        // Before the call is noted down, so that no session notes down more than one.
        if known.call.is_some_and(|known| known.id != *call)
            || *self.calls.entry_by_ref(call).or_insert(session).value() != session
        {
            return Err(NotReported::AlreadyReported);
        }
        let report = |binding: &mut Binding, now| binding.report(call, now).map(|()| binding.clone());
        self.change(user, session, report).ok_or(NotReported::Unknown)?
    }

    pub(super) fn hung_up(&self, user: &Pseudonym, session: SessionId) {
        self.change(user, session, |binding, _| {
            if let Some(end) = &mut binding.end {
                end.hang_up = false;
            }
        });
    }

    pub(super) fn forget(&self, user: &Pseudonym, session: SessionId) {
        if let Some(sessions) = self.users.get(user) {
            let mut sessions = held(&sessions);
            for forgotten in sessions.bindings.extract_if(.., |binding| binding.session == session) {
                self.journal.remove(Table::Sessions, || text(&forgotten));
            }
        }
    }

    /// Looks at all users, which is for operators alone.
    pub(super) fn find(&self, session: SessionId) -> Option<Binding> {
        self.users.iter().find_map(|(_, sessions)| held(&sessions).find(session, self.now()).cloned())
    }

    /// Looks at all users unless one is named.
    pub(super) fn list(&self, which: &Which, most: usize) -> Vec<Binding> {
        let now = self.now();
        let meant = |binding: &&Binding| binding.known_until() > now && which.takes(binding, now);
        let of_user = |sessions: Arc<Mutex<Sessions>>| held(&sessions).bindings.iter().filter(meant).cloned().collect::<Vec<_>>();
        let mut found: Vec<Binding> = match &which.user {
            Some(user) => self.users.get(user).map(of_user).unwrap_or_default(),
            None => self.users.iter().flat_map(|(_, sessions)| of_user(sessions)).collect(),
        };
        found.sort_unstable_by_key(|binding| std::cmp::Reverse(binding.session));
        found.truncate(most);
        found
    }

    /// Every one whose call is still to be hung up.
    pub(super) fn left_to_hang_up(&self, most: usize) -> Vec<Binding> {
        let left: Vec<_> = held(&self.to_hang_up).iter().take(most).copied().collect();
        let known = left.into_iter().filter_map(|(user, session)| match self.own(&user, session) {
            None => {
                held(&self.to_hang_up).remove(&(user, session));
                None
            }
            known => known,
        });
        known.collect()
    }

    fn note(&self, binding: &Binding) {
        let name = (binding.owner.user, binding.session);
        let mut to_hang_up = held(&self.to_hang_up);
        if binding.to_hang_up().is_some() {
            to_hang_up.insert(name);
        } else if !to_hang_up.is_empty() {
            to_hang_up.remove(&name);
        }
    }

    fn change<T>(&self, user: &Pseudonym, session: SessionId, change: impl FnOnce(&mut Binding, u64) -> T) -> Option<T> {
        let (sessions, now) = (self.users.get(user)?, self.now());
        let mut sessions = held(&sessions);
        let binding = sessions.find(session, now)?;
        let outcome = change(binding, now);
        self.note(binding);
        // While the list is locked, so that changes are written in the order in which they are made.
        self.journal.put(Table::Sessions, || text(binding), || binding.stored());
        Some(outcome)
    }
}

/// Nothing in a critical section can panic half-way through a change, so a poisoned lock still guards what is consistent.
fn held<T>(guarded: &Mutex<T>) -> MutexGuard<'_, T> {
    guarded.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    /// `None` when the session had ended: then nothing changes. A call that was reported before stays known.
    fn put(&mut self, mut binding: Binding, now: u64, journal: &Journal) -> Option<Binding> {
        if self.bindings.len() >= self.sweep_at {
            self.sweep(now, journal);
            self.sweep_at = (self.bindings.len() * 2).max(FIRST_SWEEP);
        }
        // Ids grow with time, so only a retry (or one of two mints at the same moment) has to look for a predecessor.
        if self.newest >= Some(binding.session)
            && let Some(at) = self.bindings.iter().position(|old| old.session == binding.session)
        {
            let old = self.bindings.get(at).filter(|old| old.end.is_none())?;
            binding.call.clone_from(&old.call);
            self.bindings.remove(at);
        }
        self.push(binding.clone());
        journal.put(Table::Sessions, || text(&binding), || binding.stored());
        Some(binding)
    }

    fn push(&mut self, binding: Binding) {
        self.newest = self.newest.max(Some(binding.session));
        self.bindings.push(binding);
    }

    fn sweep(&mut self, now: u64, journal: &Journal) {
        let is_over = |binding: &Binding| !binding.state(now).is_live() && binding.expires_at <= now;
        let mut surplus = self.bindings.iter().filter(|binding| is_over(binding)).count().saturating_sub(MOST_OVER);
        let goes = |binding: &mut Binding| {
            let drops = surplus > 0 && is_over(binding);
            surplus -= usize::from(drops);
            drops || binding.known_until() <= now
        };
        for gone in self.bindings.extract_if(.., goes) {
            journal.remove(Table::Sessions, || text(&gone));
        }
    }

    fn find(&mut self, session: SessionId, now: u64) -> Option<&mut Binding> {
        self.bindings.iter_mut().find(|binding| binding.session == session && binding.known_until() > now)
    }
}

fn text(binding: &Binding) -> String {
    format!("{}:{}", binding.owner.user, binding.session)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        Arc, Binding, By, CallId, Journal, KEPT, LONGEST_CALL, MOST_OVER, Memory, NotReported, SessionId, Sessions, Which,
    };
    use crate::admit::Owner;
    use crate::bind::State;
    use crate::domain::clock::manual::ManualClock;
    use crate::domain::ids::{Pseudonym, Pseudonymizer};
    use crate::domain::secret::{Secret, Sha256};

    fn user(name: &str) -> Pseudonym {
        Pseudonymizer::new(&Secret::from("a key of more than sixteen bytes".to_owned())).pseudonym("", "issuer", name)
    }

    fn binding(session: SessionId, expires_at: u64) -> Binding {
        let owner = Owner { user: user("alice"), tenant: "".into(), profile: Arc::from("p"), network: None, guest_until: None };
        Binding {
            session,
            owner,
            upstream: "openai".into(),
            key: None,
            secret: Sha256::of(b""),
            issued_at: 0,
            expires_at,
            call: None,
            end: None,
        }
    }

    fn call(id: &str) -> CallId {
        CallId::parse(id).unwrap()
    }

    #[test]
    fn a_retry_replaces_its_predecessor_wherever_it_stands_and_keeps_its_call() {
        let (mut sessions, ids) = (Sessions::default(), [(); 3].map(|()| SessionId::new()));
        for id in ids {
            sessions.put(binding(id, 100), 0, &Journal::default());
        }
        sessions.find(ids[0], 0).unwrap().report(&call("rtc_1"), 0).unwrap();
        sessions.put(binding(ids[0], 200), 0, &Journal::default());
        sessions.put(binding(ids[2], 300), 0, &Journal::default());
        let kept: Vec<_> = sessions.bindings.iter().map(|b| (b.session, b.expires_at, b.call.is_some())).collect();
        assert_eq!(kept, [(ids[1], 100, false), (ids[0], 200, true), (ids[2], 300, false)]);
    }

    #[test]
    fn an_ended_session_stays_ended_whatever_is_bound_to_it() {
        let (mut sessions, id) = (Sessions::default(), SessionId::new());
        assert!(sessions.put(binding(id, 60), 0, &Journal::default()).is_some());
        assert!(sessions.find(id, 0).unwrap().end_by(By::Owner, 0));
        for now in [1, 59, 60, 60 + 600] {
            assert!(sessions.put(binding(id, now + 60), now, &Journal::default()).is_none(), "at {now}");
            let kept = sessions.find(id, now).unwrap();
            assert!(kept.state(now) == State::Ended && kept.expires_at == 60, "at {now}");
        }
    }

    #[test]
    fn sessions_stay_known_for_an_hour_after_they_are_over_and_do_not_pile_up() {
        let mut sessions = Sessions::default();
        let first = SessionId::new();
        sessions.put(binding(first, 1), 0, &Journal::default());
        assert!(sessions.find(first, KEPT).is_some());
        assert!(sessions.find(first, KEPT + 1).is_none());
        for now in 1..10_000 {
            sessions.put(binding(SessionId::new(), now + 10), now, &Journal::default());
        }
        assert!(sessions.bindings.len() <= 2 * (MOST_OVER + 10), "{}", sessions.bindings.len());
        assert_eq!(sessions.bindings.last().unwrap().expires_at, 9_999 + 10, "the oldest went first");
    }

    #[test]
    fn a_session_in_call_is_never_swept_out() {
        let (mut sessions, id) = (Sessions::default(), SessionId::new());
        sessions.put(binding(id, 10), 0, &Journal::default());
        sessions.find(id, 0).unwrap().report(&call("rtc_1"), 5).unwrap();
        for _ in 0..5 * MOST_OVER {
            sessions.put(binding(SessionId::new(), 12), 11, &Journal::default());
            sessions.put(binding(SessionId::new(), 12), 20, &Journal::default());
        }
        assert_eq!(sessions.find(id, 5 + LONGEST_CALL - 1).unwrap().state(5 + LONGEST_CALL - 1), State::InCall);
    }

    #[test]
    fn a_session_goes_from_issued_to_its_end_and_is_known_to_its_user_alone() {
        let clock = ManualClock::at(1000);
        let memory = Memory::restored(Journal::default(), clock.clone()).unwrap();
        let (alice, bob, id) = (user("alice"), user("bob"), SessionId::new());
        assert!(memory.bind(binding(id, 1060)).is_some());
        let state = || memory.own(&alice, id).map(|binding| binding.state(memory.now()));
        assert_eq!(state(), Some(State::Issued));
        clock.advance(Duration::from_mins(1));
        assert_eq!(state(), Some(State::Expired), "its key may bring it a fresh secret");
        assert!(memory.own(&bob, id).is_none() && memory.end(&bob, id, By::Owner).is_none() && memory.of(&bob).is_empty());
        assert_eq!(memory.report(&bob, id, &call("rtc_1")), Err(NotReported::Unknown));
        assert!(memory.report(&alice, id, &call("rtc_1")).is_ok() && memory.report(&alice, id, &call("rtc_1")).is_ok());
        assert_eq!(state(), Some(State::InCall));
        assert_eq!(memory.report(&alice, id, &call("rtc_2")), Err(NotReported::AlreadyReported));
        let (ended, newly) = memory.end(&alice, id, By::Operator).unwrap();
        assert!(newly && ended.to_hang_up() == Some(&call("rtc_1")) && state() == Some(State::Revoked));
        let (again, newly) = memory.end(&alice, id, By::Owner).unwrap();
        assert!(!newly && again == ended);
        memory.hung_up(&alice, id);
        assert_eq!(memory.own(&alice, id).unwrap().to_hang_up(), None);
    }

    #[test]
    fn a_call_belongs_to_one_session_and_one_that_is_reported_too_late_is_to_be_hung_up() {
        let memory = Memory::restored(Journal::default(), ManualClock::at(1000)).unwrap();
        let (alice, first, second) = (user("alice"), SessionId::new(), SessionId::new());
        for id in [first, second] {
            memory.bind(binding(id, 1060));
        }
        memory.report(&alice, first, &call("rtc_1")).unwrap();
        assert_eq!(memory.report(&alice, second, &call("rtc_1")), Err(NotReported::AlreadyReported));
        memory.end(&alice, second, By::Owner);
        let over = memory.report(&alice, second, &call("rtc_2"));
        assert!(matches!(over, Err(NotReported::Over(binding)) if binding.to_hang_up() == Some(&call("rtc_2"))));
        let which = Which { state: Some(State::InCall), ..Which::default() };
        assert_eq!(memory.list(&which, 10).iter().map(|binding| binding.session).collect::<Vec<_>>(), [first]);
        assert_eq!(memory.list(&Which::default(), 1).len(), 1);
        assert!(memory.find(second).is_some() && memory.find(SessionId::new()).is_none());
    }
}
