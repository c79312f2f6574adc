//! One mint at a profile's upstreams: each in its turn, and again after a pause, until one has minted or all have had their attempts.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::endpoint::Endpoint;
use super::key::Key;
use super::on_behalf::{OnBehalf, Whom};
use super::{Failure, Kind, Minted, Served, Shared, label, retry};
use crate::authorize::Grant;
use crate::domain::secret::Secret;
use crate::domain::trace::Trace;
use crate::telemetry::metrics::{FailureLabels, Metrics};

/// For how long an upstream that serves nobody, and does not say until when, is left alone where others serve in its place.
const REST: Duration = Duration::from_secs(10);

/// What goes along with a mint.
#[derive(Clone, Copy)]
pub(super) struct Carried<'a> {
    pub(super) trace: Option<&'a Trace>,
    /// The user's own access token, where the upstream is asked on their behalf.
    pub(super) assertion: Option<&'a Secret>,
}

/// Mints at the first upstream that can. `endpoints` are those of the profile, in its order.
pub(super) async fn mint(
    endpoints: &[&Endpoint],
    grant: &Grant,
    carried: Carried<'_>,
    metrics: &Metrics,
) -> Result<Minted, Failure> {
    let mut turns = turns(endpoints, grant);
    let outcome = rounds(&mut turns, grant, carried, metrics).await;
    for turn in &turns {
        if let (Some(start), Some(end)) = (turn.started, turn.ended) {
            turn.endpoint.duration.observe((end - start).as_secs_f64());
        }
    }
    outcome.map_err(|decisive| told(turns, decisive))
}

/// One upstream's part in a mint.
struct Turn<'a> {
    endpoint: &'a Endpoint,
    route: usize,
    /// What it is asked for.
    model: Option<&'a str>,
    /// The credential that the next attempt is made with.
    key: Option<Arc<Key>>,
    refused: Vec<Arc<Key>>,
    attempts: u32,
    /// What its own attempts, and pauses between them, leave of the upstream's deadline.
    left: Duration,
    started: Option<Instant>,
    ended: Option<Instant>,
    next: Next,
    /// Why the last attempt failed.
    failure: Option<Failure>,
}

/// When a turn's next attempt is due.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    At(Instant),
    /// When all others have failed for good: it is known to serve nobody.
    Last,
    Never,
}

/// How much is done for an attempt.
#[derive(Clone, Copy, PartialEq)]
enum Care {
    /// Others may serve: nobody waits for a credential here.
    Brief,
    /// There is nobody else: a credential that is just being replaced is waited for.
    Patient,
}

/// Where some can serve, the others are kept for the end; where none can, all are tried all the same.
fn turns<'a>(endpoints: &[&'a Endpoint], grant: &'a Grant) -> Vec<Turn<'a>> {
    let at_once = Next::At(Instant::now());
    let mut turns: Vec<_> = endpoints
        .iter()
        .enumerate()
        .map(|(route, endpoint)| Turn {
            endpoint,
            route,
            model: grant.model(route),
            key: None,
            refused: Vec::new(),
            attempts: 0,
            left: endpoint.shared.settings.timeout,
            started: None,
            ended: None,
            next: at_once,
            failure: None,
        })
        .collect();
    if turns.len() > 1 {
        let can_serve: Vec<_> = turns.iter().map(Turn::would_serve).collect();
        if can_serve.contains(&true) {
            for (turn, _) in turns.iter_mut().zip(can_serve).filter(|(_, can_serve)| !can_serve) {
                turn.next = Next::Last;
            }
        }
    }
    turns
}

/// The index of the turn whose failure counts is where a mint was refused for what was asked for.
async fn rounds(turns: &mut [Turn<'_>], grant: &Grant, carried: Carried<'_>, metrics: &Metrics) -> Result<Minted, Option<usize>> {
    let is_alone = turns.len() == 1;
    let care = if is_alone { Care::Patient } else { Care::Brief };
    // Turns that were kept for the end are not asked whether they can serve.
    let (mut is_end, mut is_begun) = (is_alone, false);
    while let Some(due) = earliest(turns, &mut is_end) {
        if due > Instant::now() {
            sleep_until(due).await;
        }
        for (index, turn) in turns.iter_mut().enumerate() {
            if !matches!(turn.next, Next::At(at) if at <= Instant::now()) {
                continue;
            }
            let shared = &turn.endpoint.shared;
            // Of an upstream that is open, the one that is let through is the trial.
            if turn.attempts == 0 && !turn.serves() && !is_end {
                turn.next = Next::Last;
                continue;
            }
            if turn.attempts == 0 && std::mem::replace(&mut is_begun, true) {
                metrics.upstream_failovers.get_or_create(&label(&shared.settings)).inc();
            }
            let failure = match turn.attempt(grant, carried, care).await {
                Ok(minted) => return Ok(minted),
                Err(failure) => failure,
            };
            turn.tell(&failure, is_alone, metrics);
            let is_over = !failure.is_of_upstream() && turn.next == Next::Never;
            turn.failure = Some(failure);
            if is_over {
                return Err(Some(index));
            }
        }
    }
    if is_alone { Err(None) } else { patiently(turns, grant, carried).await }
}

/// All have failed. Where that was for a credential, its secret may just have been replaced.
async fn patiently(turns: &mut [Turn<'_>], grant: &Grant, carried: Carried<'_>) -> Result<Minted, Option<usize>> {
    for turn in turns.iter_mut().filter(|turn| turn.lacks_credential()) {
        match turn.attempt(grant, carried, Care::Patient).await {
            Ok(minted) => return Ok(minted),
            Err(failure) => turn.failure = Some(failure),
        }
    }
    Err(None)
}

/// When the next attempt is due. Turns that were kept for the end are due when there is no other.
fn earliest(turns: &mut [Turn<'_>], is_end: &mut bool) -> Option<Instant> {
    let due = |turn: &Turn<'_>| if let Next::At(at) = turn.next { Some(at) } else { None };
    let earliest = turns.iter().filter_map(due).min();
    if earliest.is_some() {
        return earliest;
    }
    let now = Instant::now();
    *is_end = true;
    for turn in turns.iter_mut().filter(|turn| turn.next == Next::Last) {
        turn.next = Next::At(now);
    }
    turns.iter().filter_map(due).min()
}

impl Turn<'_> {
    /// Whether a mint that others could serve too goes here. Whoever is told yes has to try.
    fn serves(&self) -> bool {
        let (shared, now) = (&self.endpoint.shared, self.endpoint.clock.steady());
        shared.has_credential() && !self.is_absent(now) && shared.breaker.lets_through(now)
    }

    /// The same for whoever may not try after all.
    fn would_serve(&self) -> bool {
        let (shared, now) = (&self.endpoint.shared, self.endpoint.clock.steady());
        shared.has_credential() && !self.is_absent(now) && shared.breaker.would_let_through(now)
    }

    fn is_absent(&self, now: Duration) -> bool {
        self.model.is_some_and(|model| self.endpoint.shared.absent.has(model, now))
    }

    fn lacks_credential(&self) -> bool {
        let lacks = |failure: &Failure| failure.is_of_key() || failure.kind == Kind::NoCredential;
        self.endpoint.shared.on_behalf.is_none() && !self.left.is_zero() && self.failure.as_ref().is_some_and(lacks)
    }

    /// One attempt, with as many credentials as are refused on the way. All attempts together, and the pauses between them, take no longer
    /// than the upstream's deadline.
    async fn attempt(&mut self, grant: &Grant, carried: Carried<'_>, care: Care) -> Result<Minted, Failure> {
        let start = Instant::now();
        self.started.get_or_insert(start);
        self.next = Next::Never;
        if self.attempts > 0 {
            self.endpoint.retries.inc();
        }
        self.attempts += 1;
        let outcome = self.with_any_key(grant, carried, start + self.left, care).await;
        let end = Instant::now();
        self.ended = Some(end);
        self.left = self.left.saturating_sub(end - start);
        self.endpoint.shared.heard(&outcome, self.model, self.endpoint.clock.steady());
        let failure = match outcome {
            Ok(minted) => return Ok(minted),
            Err(failure) => failure,
        };
        if failure.retryable && self.attempts < self.endpoint.shared.settings.max_attempts {
            let pause = failure.retry_after.unwrap_or_else(|| retry::backoff(self.attempts));
            if let Some(left) = self.left.checked_sub(pause).filter(|left| !left.is_zero()) {
                (self.left, self.next) = (left, Next::At(end + pause));
            }
        }
        Err(failure)
    }

    fn tell(&self, failure: &Failure, is_alone: bool, metrics: &Metrics) {
        let (settings, cause) = (&self.endpoint.shared.settings, failure.cause.as_str());
        let labels = FailureLabels { upstream: settings.name.clone(), cause: failure.label() };
        metrics.upstream_failures.get_or_create(&labels).inc();
        let is_tried_again = matches!(self.next, Next::At(_));
        if !is_alone {
            tracing::info!(upstream = settings.name, cause, is_tried_again, "an upstream did not mint");
        } else if is_tried_again {
            tracing::info!(upstream = settings.name, cause, attempt = self.attempts, "the mint is tried again");
        }
    }

    async fn with_any_key(
        &mut self,
        grant: &Grant,
        carried: Carried<'_>,
        deadline: Instant,
        care: Care,
    ) -> Result<Minted, Failure> {
        if let Some(on_behalf) = &self.endpoint.shared.on_behalf {
            return self.on_behalf(on_behalf, grant, carried, deadline).await;
        }
        let (settings, ring) = (&self.endpoint.shared.settings, &self.endpoint.shared.ring);
        let mut key = match self.key.take().or_else(|| ring.pick(&[])) {
            Some(key) => key,
            None => self.first(deadline, care).await?,
        };
        loop {
            let attempt = self.endpoint.attempt(grant, self.route, carried.trace, &key);
            let failure = match timeout_at(deadline, attempt).await {
                Ok(Ok(minted)) => {
                    key.accepted();
                    return Ok(minted);
                }
                Ok(Err(failure)) => failure,
                Err(_) => {
                    let failure = Failure::new(Kind::TimedOut, "no answer within the deadline");
                    return Err(Failure { served: Served::by(settings, &key), ..failure });
                }
            };
            // A credential that is refused costs no attempt: the next one is used at once, so that the caller sees nothing of it.
            let goes_on = if failure.is_of_key() {
                ring.refused(&settings.name, &key, &failure.cause);
                true
            } else {
                failure.kind == Kind::RateLimited && ring.exhausted(&key, failure.retry_after)
            };
            if goes_on {
                self.refused.push(key.clone());
                if let Some(next) = self.next(&failure, deadline, care).await {
                    key = next;
                    continue;
                }
            }
            self.key = Some(key);
            return Err(failure);
        }
    }

    /// With the credential that speaks for the user.
    async fn on_behalf(
        &self,
        on_behalf: &Arc<OnBehalf>,
        grant: &Grant,
        carried: Carried<'_>,
        deadline: Instant,
    ) -> Result<Minted, Failure> {
        let principal = grant.principal();
        let whom = Whom { user: *principal.user(), tenant: principal.tenant().into() };
        let settings = &self.endpoint.shared.settings;
        let late = |kind, served: Served| Failure { served, ..Failure::new(kind, "no answer within the deadline") };
        let key = timeout_at(deadline, on_behalf.key(&whom, carried.assertion)).await;
        let key = key.unwrap_or_else(|_| Err(late(Kind::NoCredential, Served::of(settings))))?;
        let attempt = timeout_at(deadline, self.endpoint.attempt(grant, self.route, carried.trace, &key)).await;
        let outcome = attempt.unwrap_or_else(|_| Err(late(Kind::TimedOut, Served::by(settings, &key))));
        outcome.inspect(|_| on_behalf.accepted(&whom)).inspect_err(|failure| {
            if failure.is_of_key() {
                on_behalf.forget(&whom, &key, failure);
            }
        })
    }

    async fn first(&self, deadline: Instant, care: Care) -> Result<Arc<Key>, Failure> {
        let shared = &self.endpoint.shared;
        // Where another upstream can serve, nobody waits for this one's credential.
        let key = if care == Care::Patient { shared.ring.renewed(&[], deadline).await } else { None };
        key.ok_or_else(|| {
            let failure = Failure::new(Kind::NoCredential, "there is no credential for the upstream right now");
            Failure { served: Served::of(&shared.settings), ..failure }
        })
    }

    /// Another credential, in place of the last of those refused. When none is left, one of their secrets may just have been replaced: that
    /// is worth a moment.
    async fn next(&self, failure: &Failure, deadline: Instant, care: Care) -> Option<Arc<Key>> {
        let (ring, refused) = (&self.endpoint.shared.ring, self.refused.as_slice());
        match ring.pick(refused) {
            None if failure.kind == Kind::AuthFailed && care == Care::Patient => {
                ring.renewed(refused, deadline).await.or_else(|| ring.last_resort(refused))
            }
            next => next,
        }
    }
}

/// What callers are told: what may pass goes before what only a person can mend. The cause names all upstreams that were tried.
fn told(turns: Vec<Turn<'_>>, decisive: Option<usize>) -> Failure {
    let is_alone = turns.len() == 1;
    let passes = |failure: &Failure| matches!(failure.kind, Kind::RateLimited | Kind::Unavailable | Kind::TimedOut);
    let (mut causes, mut failures, mut first) = (Vec::new(), Vec::new(), None);
    for (index, Turn { endpoint, failure, .. }) in turns.into_iter().enumerate() {
        if let Some(failure) = failure {
            if decisive == Some(index) {
                first = Some(failures.len());
            }
            causes.push(format!("{}: {}", endpoint.shared.settings.name, failure.cause));
            failures.push(failure);
        }
    }
    let at = first.or_else(|| failures.iter().position(passes)).unwrap_or_else(|| failures.len().saturating_sub(1));
    let failure = failures.into_iter().nth(at);
    let failure = failure.unwrap_or_else(|| Failure::new(Kind::Unavailable, "the profile has no upstream"));
    if is_alone { failure } else { Failure { cause: causes.join("; "), ..failure } }
}

impl Shared {
    fn has_credential(&self) -> bool {
        self.on_behalf.is_some() || self.ring.has_awake()
    }

    /// What an attempt says of the upstream. `model` is what was asked for.
    fn heard(&self, outcome: &Result<Minted, Failure>, model: Option<&str>, now: Duration) {
        let has_answered = match outcome {
            Ok(_) => {
                self.absent.found(model.unwrap_or_default());
                true
            }
            Err(failure) => self.heard_of(failure, model, now),
        };
        if has_answered && self.breaker.answered(now) {
            self.open.set(0);
            tracing::warn!(upstream = self.settings.name, "the upstream answers again");
        }
    }

    /// Whether it answered.
    fn heard_of(&self, failure: &Failure, model: Option<&str>, now: Duration) -> bool {
        match (failure.kind, failure.blame) {
            (Kind::NoCredential | Kind::Interaction | Kind::UserRefused, _) => return false,
            (Kind::Unavailable | Kind::TimedOut, _) => {
                if self.breaker.failed(now) {
                    self.open.set(1);
                    let upstream = self.settings.name.as_str();
                    tracing::warn!(
                        upstream,
                        "the upstream fails again and again; where a profile has others, they serve in its place"
                    );
                }
                return false;
            }
            (Kind::RateLimited | Kind::Billing | Kind::Malformed, _) => {
                self.breaker.rest(now, failure.retry_after.unwrap_or(REST));
            }
            // Whatever else is refused may have to do with this profile, or this user.
            (_, Some(blame)) if blame.is_of_model() => {
                if let Some(model) = model {
                    self.absent.note(model, now);
                }
            }
            (_, Some(blame)) if blame.is_of_all() && self.on_behalf.is_none() => self.breaker.rest(now, REST),
            _ => {}
        }
        true
    }
}
