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
    let mut turns = turns(endpoints);
    let minted = rounds(&mut turns, grant, carried, metrics).await;
    for turn in &turns {
        if let (Some(start), Some(end)) = (turn.started, turn.ended) {
            turn.endpoint.duration.observe((end - start).as_secs_f64());
        }
    }
    minted.ok_or_else(|| told(turns))
}

/// One upstream's part in a mint.
struct Turn<'a> {
    endpoint: &'a Endpoint,
    route: usize,
    /// The credential that the next attempt is made with.
    key: Option<Arc<Key>>,
    refused: Vec<Arc<Key>>,
    attempts: u32,
    started: Option<Instant>,
    ended: Option<Instant>,
    next: Next,
    /// Why the last attempt failed.
    failure: Option<Failure>,
}

/// When a turn's next attempt is due.
#[derive(Clone, Copy)]
enum Next {
    At(Instant),
    /// When all others have failed for good: it is known to serve nobody.
    Last,
    Never,
}

/// Where some can serve, the others are kept for the end; where none can, all are tried all the same.
fn turns<'a>(endpoints: &[&'a Endpoint]) -> Vec<Turn<'a>> {
    let at_once = Next::At(Instant::now());
    // Of an upstream that is given a trial, the trial is this mint: so nobody looks further.
    let first = (endpoints.len() > 1).then(|| endpoints.iter().position(|it| it.shared.serves(it.clock.steady()))).flatten();
    let next = |route: usize, endpoint: &Endpoint| match first {
        Some(first) if route != first && (route < first || !endpoint.shared.would_serve(endpoint.clock.steady())) => Next::Last,
        _ => at_once,
    };
    let turn = |(route, endpoint): (usize, &&'a Endpoint)| Turn {
        endpoint,
        route,
        key: None,
        refused: Vec::new(),
        attempts: 0,
        started: None,
        ended: None,
        next: next(route, endpoint),
        failure: None,
    };
    endpoints.iter().enumerate().map(turn).collect()
}

/// `None`: every turn has its failure, but those that none of the others left anything to do.
async fn rounds(turns: &mut [Turn<'_>], grant: &Grant, carried: Carried<'_>, metrics: &Metrics) -> Option<Minted> {
    let is_alone = turns.len() == 1;
    while let Some(due) = earliest(turns) {
        if due > Instant::now() {
            sleep_until(due).await;
        }
        for turn in turns.iter_mut().filter(|turn| matches!(turn.next, Next::At(at) if at <= Instant::now())) {
            let failure = match turn.attempt(grant, carried, is_alone).await {
                Ok(minted) => return Some(minted),
                Err(failure) => failure,
            };
            turn.tell(&failure, is_alone, metrics);
            let is_over = !failure.is_of_upstream() && matches!(turn.next, Next::Never);
            turn.failure = Some(failure);
            if is_over {
                return None;
            }
        }
    }
    None
}

/// When the next attempt is due. Turns that were kept for the end are due when there is no other.
fn earliest(turns: &mut [Turn<'_>]) -> Option<Instant> {
    let due = |turn: &Turn<'_>| if let Next::At(at) = turn.next { Some(at) } else { None };
    let earliest = turns.iter().filter_map(due).min();
    if earliest.is_some() {
        return earliest;
    }
    let (now, mut is_any_left) = (Instant::now(), false);
    for turn in turns.iter_mut().filter(|turn| matches!(turn.next, Next::Last)) {
        (turn.next, is_any_left) = (Next::At(now), true);
    }
    is_any_left.then_some(now)
}

impl Turn<'_> {
    /// One attempt, with as many credentials as are refused on the way. All attempts together end within the upstream's deadline.
    async fn attempt(&mut self, grant: &Grant, carried: Carried<'_>, is_alone: bool) -> Result<Minted, Failure> {
        let start = *self.started.get_or_insert_with(Instant::now);
        let deadline = start + self.endpoint.shared.settings.timeout;
        self.next = Next::Never;
        if self.attempts > 0 {
            self.endpoint.retries.inc();
        }
        self.attempts += 1;
        let outcome = self.with_any_key(grant, carried, deadline, is_alone).await;
        self.ended = Some(Instant::now());
        self.endpoint.shared.heard(&outcome, self.endpoint.clock.steady());
        let failure = match outcome {
            Ok(minted) => return Ok(minted),
            Err(failure) => failure,
        };
        if failure.retryable && self.attempts < self.endpoint.shared.settings.max_attempts {
            let pause = failure.retry_after.unwrap_or_else(|| retry::backoff(self.attempts));
            let due = Instant::now() + pause;
            self.next = if due < deadline { Next::At(due) } else { Next::Never };
        }
        Err(failure)
    }

    fn tell(&self, failure: &Failure, is_alone: bool, metrics: &Metrics) {
        let (settings, cause) = (&self.endpoint.shared.settings, failure.cause.as_str());
        let labels = FailureLabels { upstream: settings.name.clone(), cause: failure.label() };
        metrics.upstream_failures.get_or_create(&labels).inc();
        let is_tried_again = matches!(self.next, Next::At(_));
        if !is_alone {
            metrics.upstream_failovers.get_or_create(&label(settings)).inc();
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
        is_alone: bool,
    ) -> Result<Minted, Failure> {
        if let Some(on_behalf) = &self.endpoint.shared.on_behalf {
            return self.on_behalf(on_behalf, grant, carried, deadline).await;
        }
        let (settings, ring) = (&self.endpoint.shared.settings, &self.endpoint.shared.ring);
        let mut key = match self.key.take().or_else(|| ring.pick(&[])) {
            Some(key) => key,
            None => self.first(deadline, is_alone).await?,
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
                if let Some(next) = self.next(&failure, deadline, is_alone).await {
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
        attempt.unwrap_or_else(|_| Err(late(Kind::TimedOut, Served::by(settings, &key)))).inspect_err(|failure| {
            if failure.is_of_key() {
                on_behalf.forget(&whom, &key);
            }
        })
    }

    async fn first(&self, deadline: Instant, is_alone: bool) -> Result<Arc<Key>, Failure> {
        let shared = &self.endpoint.shared;
        // Where another upstream can serve, nobody waits for this one's credential.
        let key = if is_alone { shared.ring.renewed(&[], deadline).await } else { None };
        key.ok_or_else(|| {
            let failure = Failure::new(Kind::NoCredential, "there is no credential for the upstream right now");
            Failure { served: Served::of(&shared.settings), ..failure }
        })
    }

    /// Another credential, in place of the last of those refused. When none is left, one of their secrets may just have been replaced: that
    /// is worth a moment.
    async fn next(&self, failure: &Failure, deadline: Instant, is_alone: bool) -> Option<Arc<Key>> {
        let (ring, refused) = (&self.endpoint.shared.ring, self.refused.as_slice());
        match ring.pick(refused) {
            None if failure.kind == Kind::AuthFailed && is_alone => {
                ring.renewed(refused, deadline).await.or_else(|| ring.last_resort(refused))
            }
            next => next,
        }
    }
}

/// What callers are told: what may pass goes before what only a person can mend. The cause names all upstreams that were tried.
fn told(turns: Vec<Turn<'_>>) -> Failure {
    let is_alone = turns.len() == 1;
    let passes = |failure: &Failure| matches!(failure.kind, Kind::RateLimited | Kind::Unavailable | Kind::TimedOut);
    let (mut causes, mut failures) = (Vec::new(), Vec::new());
    for Turn { endpoint, failure, .. } in turns {
        if let Some(failure) = failure {
            causes.push(format!("{}: {}", endpoint.shared.settings.name, failure.cause));
            failures.push(failure);
        }
    }
    let at = failures.iter().position(passes).unwrap_or_else(|| failures.len().saturating_sub(1));
    let failure = failures.into_iter().nth(at);
    let failure = failure.unwrap_or_else(|| Failure::new(Kind::Unavailable, "the profile has no upstream"));
    if is_alone { failure } else { Failure { cause: causes.join("; "), ..failure } }
}

impl Shared {
    /// Whether a mint that others could serve too goes here. Whoever is told yes has to try.
    fn serves(&self, now: Duration) -> bool {
        self.has_credential() && self.breaker.lets_through(now)
    }

    fn has_credential(&self) -> bool {
        self.on_behalf.is_some() || self.ring.has_awake()
    }

    fn would_serve(&self, now: Duration) -> bool {
        self.has_credential() && self.breaker.would_let_through(now)
    }

    /// What an attempt says of the upstream as a whole.
    fn heard(&self, outcome: &Result<Minted, Failure>, now: Duration) {
        let name = self.settings.name.as_str();
        if let Err(failure) = outcome {
            match failure.kind {
                Kind::NoCredential | Kind::Interaction | Kind::UserRefused => return,
                Kind::Unavailable | Kind::TimedOut => {
                    if self.breaker.failed(now) {
                        self.open.set(1);
                        tracing::warn!(
                            upstream = name,
                            "the upstream fails again and again; where a profile has others, they serve in its place"
                        );
                    }
                    return;
                }
                // Where users have credentials of their own, one's refusal says nothing of the others.
                Kind::PermissionDenied | Kind::AuthFailed if self.on_behalf.is_some() => {}
                Kind::RateLimited | Kind::Billing | Kind::PermissionDenied => {
                    self.breaker.rest(now, failure.retry_after.unwrap_or(REST));
                }
                // An identity without the role: no credential rests for that.
                Kind::AuthFailed if !failure.is_of_key() => self.breaker.rest(now, REST),
                Kind::AuthFailed | Kind::Rejected | Kind::Malformed => {}
            }
        }
        if self.breaker.answered() {
            self.open.set(0);
            tracing::warn!(upstream = name, "the upstream answers again");
        }
    }
}
