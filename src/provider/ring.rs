//! The credentials of one upstream: which one is used, which rest, and what a request does when one is refused.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::key::Key;
use crate::config::{self, Credential, FirstKey};
use crate::domain::clock::SharedClock;

/// For how long a request whose last credential was just refused waits for a new one.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a key rests whose rate limit is used up and does not say until when.
const RATE_REST: Duration = Duration::from_secs(5);
const LONGEST_RATE_REST: Duration = Duration::from_mins(1);

/// The credentials of one upstream, in the order in which they are used. Shared by all workers.
pub(crate) struct Ring {
    slots: Box<[Slot]>,
    /// Where the search for a usable one begins.
    preferred: AtomicUsize,
    rotate_on_rate_limit: bool,
    /// Counts requests to look whether there is something new.
    asked: watch::Sender<u64>,
    /// Counts credentials that began to rest because the upstream refused them.
    refusals: watch::Sender<u64>,
    answered: Notify,
    clock: SharedClock,
}

/// The place of one credential. What it holds is replaced when the secret behind it is.
pub(crate) struct Slot {
    /// As operators know it: the reference of the secret, or the kind of the credential.
    name: Box<str>,
    key: ArcSwapOption<Key>,
    /// The newest request to look that was answered here.
    answered: AtomicU64,
    history: Mutex<History>,
}

/// What operators are told about a slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// When its present value was first seen here, seconds since 1970.
    pub(crate) since: u64,
    /// When its present value was made, where that is known.
    pub(crate) made_at: Option<u64>,
    /// When it failed last and how: refused by the upstream, or its source cannot be read.
    pub(crate) last_failure: Option<(u64, String)>,
}

/// What a slot is good for right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    InUse,
    Ready,
    Resting,
    /// Nothing is there, or what is there has expired.
    Missing,
}

impl Ring {
    /// Takes the keys of the configuration. `None` when a credential has no form on the wire.
    pub(crate) fn new(settings: &config::Upstream, clock: &SharedClock) -> Option<Self> {
        let since = clock.unix();
        let slot = |name: String, key: Option<Arc<Key>>| Slot {
            name: name.into(),
            key: ArcSwapOption::new(key),
            answered: AtomicU64::new(0),
            history: Mutex::new(History { since, ..History::default() }),
        };
        let slots: Option<Box<[Slot]>> = match &settings.credential {
            Credential::Keys(keys) => {
                let slot =
                    |first: &FirstKey| Some(slot(first.reference.to_string(), Some(Key::new(settings, &first.take()?, None)?)));
                keys.keys.iter().map(slot).collect()
            }
            Credential::Workload(_) => Some([slot("workload_identity".into(), None)].into()),
            Credential::Entra(token) => Some([slot(token.identity.kind.name().into(), None)].into()),
            // Each user has one of their own.
            Credential::OnBehalf(_) => Some(Box::default()),
        };
        Some(Self {
            slots: slots?,
            preferred: AtomicUsize::new(0),
            rotate_on_rate_limit: matches!(&settings.credential, Credential::Keys(keys) if keys.rotate_on_rate_limit),
            asked: watch::channel(0).0,
            refusals: watch::channel(0).0,
            answered: Notify::new(),
            clock: clock.clone(),
        })
    }

    /// The first credential that does not rest and was not tried; when nothing has been tried and all rest, the first one all the same:
    /// nobody is refused for what the upstream said to others.
    pub(crate) fn pick(&self, tried: &[Arc<Key>]) -> Option<Arc<Key>> {
        let now = self.clock.steady();
        let awake = self.untried(tried).find(|key| !key.rests(now));
        awake.or_else(|| self.untried(tried).find(|_| tried.is_empty()))
    }

    /// Whether there is a credential that does not rest.
    pub(super) fn has_awake(&self) -> bool {
        let now = self.clock.steady();
        self.usable().any(|key| !key.rests(now))
    }

    /// When there is nothing else left to save a request with: one that rests, if it was not tried.
    pub(super) fn last_resort(&self, tried: &[Arc<Key>]) -> Option<Arc<Key>> {
        self.untried(tried).next()
    }

    fn untried(&self, tried: &[Arc<Key>]) -> impl Iterator<Item = Arc<Key>> {
        self.usable().filter(|key| !tried.iter().any(|tried| Arc::ptr_eq(tried, key)))
    }

    /// Every credential, those that rest too.
    pub(super) fn usable(&self) -> impl Iterator<Item = Arc<Key>> {
        let (first, wall) = (self.preferred.load(Ordering::Relaxed), self.clock.unix());
        let (after, before) = (self.slots.iter().skip(first), self.slots.iter().take(first));
        after.chain(before).filter_map(|slot| slot.key.load_full()).filter(move |key| !key.has_expired(wall))
    }

    /// The upstream does not know this credential (any more). It rests until somebody has found it good again.
    pub(super) fn refused(&self, upstream: &str, key: &Key, cause: &str) {
        if key.rest() {
            tracing::error!(
                upstream,
                key = &**key.fingerprint(),
                cause,
                "the upstream refuses a credential; it rests until it is accepted again"
            );
            self.refusals.send_modify(|count| *count += 1);
        }
        if let Some(slot) = self.slot_of(key) {
            slot.history().last_failure = Some((self.clock.unix(), cause.to_owned()));
        }
    }

    /// The rate limit of this credential is used up. Whether requests go on to another one.
    pub(super) fn exhausted(&self, key: &Key, retry_after: Option<Duration>) -> bool {
        if self.rotate_on_rate_limit {
            key.rest_until(self.clock.steady() + retry_after.unwrap_or(RATE_REST).min(LONGEST_RATE_REST));
        }
        self.rotate_on_rate_limit
    }

    /// Asks for a look at where the credentials come from, and waits for one that can be used: until every slot has been looked at, until
    /// `deadline`, and no longer than three seconds.
    pub(super) async fn renewed(&self, tried: &[Arc<Key>], deadline: Instant) -> Option<Arc<Key>> {
        let asked = self.ask();
        let found = async {
            loop {
                let mut answered = std::pin::pin!(self.answered.notified());
                // From here on, no answer is missed.
                answered.as_mut().enable();
                let is_answered = self.slots.iter().all(|slot| slot.answered.load(Ordering::Acquire) >= asked);
                let found = self.pick(tried);
                if found.is_some() || is_answered {
                    return found;
                }
                answered.await;
            }
        };
        timeout_at(deadline.min(Instant::now() + PATIENCE), found).await.ok().flatten()
    }

    /// Asks for a look at where the credentials come from. Which request this is.
    pub(crate) fn ask(&self) -> u64 {
        let mut number = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            number = *asked;
        });
        number
    }

    /// Changes with every [`Self::ask`].
    pub(crate) fn asked(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }

    /// Changes whenever a credential begins to rest because the upstream refused it.
    pub(crate) fn refusals(&self) -> watch::Receiver<u64> {
        self.refusals.subscribe()
    }

    /// The look that was asked for is over at this slot.
    pub(crate) fn answer(&self, slot: &Slot, asked: u64) {
        slot.answered.fetch_max(asked, Ordering::Release);
        self.answered.notify_waiters();
    }

    /// A new value for a slot. The value before is wiped when the last request that uses it ends.
    pub(crate) fn put(&self, slot: &Slot, key: Arc<Key>, made_at: Option<u64>) {
        *slot.history() = History { since: self.clock.unix(), made_at, last_failure: None };
        slot.key.store(Some(key));
        self.answered.notify_waiters();
    }

    /// Puts a slot first. `false` when there is no such slot.
    pub(crate) fn prefer(&self, slot: usize) -> bool {
        let exists = slot < self.slots.len();
        if exists {
            self.preferred.store(slot, Ordering::Relaxed);
        }
        exists
    }

    /// All slots, in the order of the configuration.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// What each slot is good for, in the order of the configuration.
    pub(crate) fn states(&self) -> Vec<State> {
        let (wall, now, used) = (self.clock.unix(), self.clock.steady(), self.pick(&[]));
        let state = |slot: &Slot| match slot.key() {
            None => State::Missing,
            Some(key) if key.has_expired(wall) => State::Missing,
            Some(key) if key.rests(now) => State::Resting,
            Some(key) if used.as_ref().is_some_and(|used| Arc::ptr_eq(used, &key)) => State::InUse,
            Some(_) => State::Ready,
        };
        self.slots.iter().map(state).collect()
    }

    fn slot_of(&self, key: &Key) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.key().is_some_and(|held| std::ptr::eq(&raw const *held, key)))
    }
}

impl Slot {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn key(&self) -> Option<Arc<Key>> {
        self.key.load_full()
    }

    /// Held for as long as it takes to read or write it.
    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
