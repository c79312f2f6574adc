//! One permanent key: a new value where it comes from, and whether the upstream accepts it again after it was refused.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{AGAIN, Care};
use crate::config::check::malformed_key;
use crate::domain::secret_ref::SecretRef;
use crate::provider::{Key, Probe, Verdict};
use crate::secrets::{Found, Sources};

/// The metrics are no older.
const SHOW: Duration = Duration::from_mins(1);
/// Between two questions about the same value: doubling from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_mins(1));
/// A key that was accepted again and is refused within this time is asked about ever less often.
const PROVEN: Duration = Duration::from_mins(5);
const A_DAY: Duration = Duration::from_hours(24);

/// Looks after one key.
pub(super) struct Watch {
    care: Care,
    reference: SecretRef,
    warn_after: Option<Duration>,
    sources: Arc<Sources>,
    probe: Arc<Probe>,
    /// When the source is to be looked at next.
    look_at: Instant,
    /// When it was looked at last.
    looked_at: Option<Instant>,
    /// A value that is not in use, and why.
    candidate: Option<Candidate>,
    /// Pauses between questions about the key in use, while it is refused.
    patience: Patience,
    /// Whether the key in use was refused, as far as that is written down.
    is_resting: bool,
    /// What was logged last about the source.
    told: Option<String>,
    warned_at: Option<Instant>,
}

/// Why there is something to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Woken {
    Due,
    /// A request has run out of keys.
    Asked,
    /// A key was refused, and requests go on with another one.
    Refused,
    /// An operator wants everything to be tried at once.
    Reloaded,
}

/// A new value that was not adopted.
struct Candidate {
    fingerprint: String,
    patience: Patience,
    told: Option<&'static str>,
}

/// When to ask again.
struct Patience {
    pause: Duration,
    next: Instant,
    /// When the last question was asked.
    asked_at: Option<Instant>,
    since: Instant,
}

impl Patience {
    fn new() -> Self {
        let now = Instant::now();
        Self { pause: PAUSES.0, next: now, asked_at: None, since: now }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.next
    }

    fn grow(&mut self) {
        let now = Instant::now();
        (self.asked_at, self.next) = (Some(now), now + self.pause);
        self.pause = (self.pause * 2).min(PAUSES.1);
    }
}

impl Watch {
    pub(super) fn new(
        care: Care,
        reference: SecretRef,
        warn_after: Option<Duration>,
        sources: Arc<Sources>,
        probe: Arc<Probe>,
    ) -> Self {
        if care.slot().key().is_some_and(|key| key.is_legacy()) {
            warn_of_legacy(care.name(), &reference);
        }
        let (look_at, patience) = (Instant::now(), Patience::new());
        Self {
            care,
            reference,
            warn_after,
            sources,
            probe,
            look_at,
            looked_at: None,
            candidate: None,
            patience,
            is_resting: false,
            told: None,
            warned_at: None,
        }
    }

    /// For as long as the process lives.
    pub(super) async fn run(mut self) {
        let ring = self.care.upstream.ring();
        let (mut asked, mut refusals) = (ring.asked(), ring.refusals());
        let mut reload = self.care.inner.reload.subscribe();
        let mut woken = Woken::Due;
        loop {
            let number = *asked.borrow_and_update();
            let is_worth_a_look = match woken {
                Woken::Due => false,
                // A manager is not asked as often as requests come.
                Woken::Asked | Woken::Refused => {
                    !self.reference.is_remote() || self.looked_at.is_none_or(|at| at.elapsed() >= AGAIN)
                }
                Woken::Reloaded => {
                    // At once, but not as often as somebody may ask.
                    let now = Instant::now();
                    self.look_at = self.looked_at.map_or(now, |at| now.max(at + AGAIN));
                    if let Some(candidate) = &mut self.candidate {
                        candidate.patience.next = candidate.patience.asked_at.map_or(now, |at| now.max(at + AGAIN));
                    }
                    false
                }
            };
            if is_worth_a_look || Instant::now() >= self.look_at {
                self.look().await;
                self.looked_at = Some(Instant::now());
                self.look_at = Instant::now() + self.sources.interval(&self.reference);
            }
            self.revive(matches!(woken, Woken::Asked | Woken::Reloaded)).await;
            self.warn_of_age();
            self.care.show();
            self.care.upstream.ring().answer(self.care.slot(), number);
            woken = tokio::select! {
                () = sleep_until(self.due()) => Woken::Due,
                _ = asked.changed() => Woken::Asked,
                _ = refusals.changed() => Woken::Refused,
                _ = reload.changed() => Woken::Reloaded,
            };
        }
    }

    /// When something is to be done next.
    fn due(&self) -> Instant {
        let is_refused = self.care.slot().key().is_some_and(|key| key.is_refused());
        let due = if is_refused { self.look_at.min(self.patience.next) } else { self.look_at };
        due.min(Instant::now() + SHOW)
    }

    /// Reads the source, and puts a new value in use if the upstream accepts it.
    async fn look(&mut self) {
        let mut found = match self.sources.read(&self.reference).await {
            Ok(found) => found,
            Err(unreadable) => return self.unreadable(&unreadable.to_string()),
        };
        if self.told.take().is_some() {
            tracing::info!(upstream = self.care.name(), reference = %self.reference, "the key can be read again");
        }
        let fingerprint = found.secret.fingerprint();
        let slot = self.care.slot();
        if slot.key().is_some_and(|key| **key.fingerprint() == *fingerprint) {
            slot.history().made_at = found.made_at;
            self.candidate = None;
            return;
        }
        if self.candidate.as_ref().is_none_or(|candidate| candidate.fingerprint != fingerprint) {
            let Some(settled) = self.sources.settled(&self.reference, found).await else {
                return self.unreadable("it changes while it is read");
            };
            found = settled;
            let fingerprint = found.secret.fingerprint();
            self.candidate = Some(Candidate { fingerprint, patience: Patience::new(), told: None });
        }
        if self.candidate.as_ref().is_some_and(|candidate| candidate.patience.is_over()) {
            self.consider(found).await;
        }
    }

    async fn consider(&mut self, found: Found) {
        if let Some(cause) = malformed_key(self.care.upstream.settings().dialect.is_azure(), found.secret.reveal()) {
            return self.reject("refused", cause).await;
        }
        let Some(key) = Key::new(self.care.upstream.settings(), &found.secret, None) else {
            return self.reject("refused", "it cannot be sent in a header").await;
        };
        match self.verdict(&key).await {
            Verdict::Good => {}
            // There is nothing to lose: the upstream does not know the one that is there.
            Verdict::Unclear(_) if self.care.slot().key().is_none_or(|key| key.is_refused()) => {}
            Verdict::Unclear(cause) => return self.reject("unclear", &cause).await,
            Verdict::Refused(cause) => return self.reject("refused", &cause).await,
        }
        self.adopt(key, found.made_at).await;
    }

    async fn adopt(&mut self, key: Arc<Key>, made_at: Option<u64>) {
        if key.is_legacy() {
            warn_of_legacy(self.care.name(), &self.reference);
        }
        (self.candidate, self.warned_at, self.patience) = (None, None, Patience::new());
        self.care.adopt(key, made_at, "rotated").await;
    }

    async fn verdict(&self, key: &Key) -> Verdict {
        match self.care.upstream.question() {
            None => Verdict::Good,
            Some(question) => self.probe.verdict(&self.care.upstream, key, question).await,
        }
    }

    /// The value before stays in use.
    async fn reject(&mut self, outcome: &'static str, cause: &str) {
        self.care.count(outcome);
        let Some(candidate) = &mut self.candidate else { return };
        candidate.patience.grow();
        let is_news = candidate.told.replace(outcome) != Some(outcome);
        let key = candidate.fingerprint.clone();
        self.care.failed(&format!("the new value, {key}, is not used: {cause}"));
        if is_news {
            tracing::error!(upstream = self.care.name(), reference = %self.reference, key, cause, "a new key is not used; the one before stays");
            self.care
                .record(if outcome == "refused" { "new_key_refused" } else { "new_key_unclear" }, Some(cause), None, "")
                .await;
        }
    }

    /// The value before stays in use.
    fn unreadable(&mut self, cause: &str) {
        self.care.count("unreadable");
        self.care.failed(&format!("cannot be read: {cause}"));
        if self.told.as_deref() != Some(cause) {
            tracing::error!(upstream = self.care.name(), reference = %self.reference, cause, "the key cannot be read; the value before stays in use");
            self.told = Some(cause.to_owned());
        }
    }

    /// Asks the upstream about a key that it refused, ever less often; at once when a request has just run out of keys. Where nothing can be
    /// asked, the next request is the question, as seldom.
    async fn revive(&mut self, is_asked: bool) {
        let Some(key) = self.care.slot().key().filter(|key| key.is_refused()) else {
            self.is_resting = false;
            if self.patience.since.elapsed() > PROVEN {
                self.patience = Patience::new();
            }
            return;
        };
        let can_ask = self.care.upstream.question().is_some();
        if !std::mem::replace(&mut self.is_resting, true) {
            self.care.count("rested");
            let cause = self.care.slot().history().last_failure.as_ref().map(|(_, cause)| cause.clone());
            self.care.record("rested", cause.as_deref(), None, "").await;
            if !can_ask {
                self.patience.grow();
            }
        }
        let is_worth_it = self.patience.asked_at.is_none_or(|at| at.elapsed() >= AGAIN);
        if !(self.patience.is_over() || can_ask && is_asked && is_worth_it) {
            return;
        }
        self.patience.grow();
        match self.verdict(&key).await {
            Verdict::Good => {
                key.accepted();
                self.patience.since = Instant::now();
                let name = &**key.fingerprint();
                tracing::warn!(upstream = self.care.name(), key = name, "the upstream accepts a key again that it had refused");
                self.care.count("accepted_again");
                self.care.record("accepted_again", None, None, "").await;
            }
            Verdict::Refused(cause) | Verdict::Unclear(cause) => self.care.failed(&cause),
        }
    }

    /// Once a day.
    fn warn_of_age(&mut self) {
        let age = self.care.age();
        let is_old = self.warn_after.is_some_and(|most| age > most.as_secs());
        if is_old && self.warned_at.is_none_or(|at| at.elapsed() > A_DAY) {
            self.warned_at = Some(Instant::now());
            let days = age / A_DAY.as_secs();
            tracing::warn!(upstream = self.care.name(), reference = %self.reference, days, "a permanent key is old; replace it (deploy/docs/secrets.md)");
        }
    }
}

fn warn_of_legacy(upstream: &str, reference: &SecretRef) {
    tracing::warn!(upstream, %reference, "a key of a user, not of a project (sk- without proj or svcacct): it ends when its user leaves; create a service-account key");
}
