//! One mint at a profile's upstreams: each in its turn, and again after a pause, until one has minted or all have had their attempts.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::endpoint::Endpoint;
use super::key::Key;
use super::{Failure, Kind, Minted, Served, label, retry};
use crate::authorize::Grant;
use crate::domain::trace::Trace;
use crate::telemetry::metrics::{FailureLabels, Metrics};

/// For how long an upstream that serves nobody, and does not say until when, is left alone where others serve in its place.
const REST: Duration = Duration::from_secs(10);

/// Mints at the first upstream that can. `endpoints` are those of the profile, in its order.
pub(super) async fn mint(
    endpoints: &[&Endpoint],
    grant: &Grant,
    trace: Option<&Trace>,
    metrics: &Metrics,
) -> Result<Minted, Failure> {
    let mut turns = turns(endpoints);
    let outcome = rounds(&mut turns, grant, trace, metrics).await;
    for turn in &turns {
        if let (Some(start), Some(end)) = (turn.started, turn.ended) {
            turn.endpoint.duration.observe((end - start).as_secs_f64());
        }
    }
    outcome.map_err(|failures| told(failures, endpoints.len()))
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
    /// When the next attempt is due. `None`: there is none.
    due: Option<Instant>,
}

/// Where some can serve, the others are left out; where none can, all are tried all the same.
fn turns<'a>(endpoints: &[&'a Endpoint]) -> Vec<Turn<'a>> {
    let now = Instant::now();
    let turn = |(route, endpoint): (usize, &&'a Endpoint)| Turn {
        endpoint,
        route,
        key: None,
        refused: Vec::new(),
        attempts: 0,
        started: None,
        ended: None,
        due: Some(now),
    };
    let all = || endpoints.iter().enumerate();
    if endpoints.len() > 1 {
        // The first that can is the one that is asked; a later one's trial would be nobody's.
        let first = all().position(|(_, endpoint)| endpoint.shared.can_serve(endpoint.clock.steady()));
        if let Some(first) = first {
            let others =
                all().enumerate().filter(|(at, (_, endpoint))| *at == first || *at > first && !endpoint.shared.is_open());
            return others.map(|(_, at)| turn(at)).collect();
        }
    }
    all().map(turn).collect()
}

async fn rounds(
    turns: &mut [Turn<'_>],
    grant: &Grant,
    trace: Option<&Trace>,
    metrics: &Metrics,
) -> Result<Minted, Vec<(usize, Failure)>> {
    let is_alone = turns.len() == 1;
    let mut failures = Vec::new();
    while let Some(due) = turns.iter().filter_map(|turn| turn.due).min() {
        if due > Instant::now() {
            sleep_until(due).await;
        }
        for turn in turns.iter_mut().filter(|turn| turn.due.is_some_and(|due| due <= Instant::now())) {
            let failure = match turn.attempt(grant, trace, is_alone).await {
                Ok(minted) => return Ok(minted),
                Err(failure) => failure,
            };
            let (shared, name) = (&turn.endpoint.shared, turn.endpoint.shared.settings.name.as_str());
            let labels = FailureLabels { upstream: name.to_owned(), cause: failure.label() };
            metrics.upstream_failures.get_or_create(&labels).inc();
            let is_last = !failure.is_of_upstream();
            if is_alone {
                tracing::debug!(upstream = name, cause = failure.cause, "an attempt failed");
            } else {
                tracing::info!(upstream = name, cause = failure.cause, "an upstream did not mint");
                metrics.upstream_failovers.get_or_create(&label(&shared.settings)).inc();
            }
            failures.push((turn.route, failure));
            if is_last && turn.due.is_none() {
                return Err(failures);
            }
        }
    }
    Err(failures)
}

impl Turn<'_> {
    /// One attempt, with as many credentials as are refused on the way. All attempts together end within the upstream's deadline.
    async fn attempt(&mut self, grant: &Grant, trace: Option<&Trace>, is_alone: bool) -> Result<Minted, Failure> {
        let start = *self.started.get_or_insert_with(Instant::now);
        let deadline = start + self.endpoint.shared.settings.timeout;
        self.due = None;
        if self.attempts > 0 {
            self.endpoint.retries.inc();
        }
        self.attempts += 1;
        let outcome = self.with_any_key(grant, trace, deadline, is_alone).await;
        self.ended = Some(Instant::now());
        self.endpoint.shared.heard(&outcome, self.endpoint.clock.steady());
        let failure = match outcome {
            Ok(minted) => return Ok(minted),
            Err(failure) => failure,
        };
        if failure.retryable && self.attempts < self.endpoint.shared.settings.max_attempts {
            let pause = failure.retry_after.unwrap_or_else(|| retry::backoff(self.attempts));
            self.due = Some(Instant::now() + pause).filter(|due| *due < deadline);
        }
        Err(failure)
    }

    async fn with_any_key(
        &mut self,
        grant: &Grant,
        trace: Option<&Trace>,
        deadline: Instant,
        is_alone: bool,
    ) -> Result<Minted, Failure> {
        let (settings, ring) = (&self.endpoint.shared.settings, &self.endpoint.shared.ring);
        let mut key = match self.key.take().or_else(|| ring.pick(&[])) {
            Some(key) => key,
            None => self.first(deadline, is_alone).await?,
        };
        loop {
            let attempt = self.endpoint.attempt(grant, self.route, trace, &key);
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
fn told(failures: Vec<(usize, Failure)>, upstreams: usize) -> Failure {
    let passes = |failure: &Failure| matches!(failure.kind, Kind::RateLimited | Kind::Unavailable | Kind::TimedOut);
    let mut causes: Vec<String> = Vec::new();
    for (_, failure) in &failures {
        let name = failure.served.upstream.as_ref().map_or("", |upstream| upstream.name.as_str());
        causes.push(format!("{name}: {}", failure.cause));
    }
    let at = failures.iter().rposition(|(_, failure)| passes(failure)).or_else(|| failures.len().checked_sub(1));
    let chosen = at.and_then(|at| failures.into_iter().nth(at)).map(|(_, failure)| failure);
    let failure = chosen.unwrap_or_else(|| Failure::new(Kind::Unavailable, "the profile has no upstream"));
    if upstreams < 2 {
        return failure;
    }
    causes.dedup();
    Failure { cause: causes.join("; "), ..failure }
}

impl super::Shared {
    /// Whether a mint that others could serve too goes here.
    fn can_serve(&self, now: Duration) -> bool {
        self.ring.has_awake() && self.breaker.lets_through(now)
    }

    fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// What an attempt says of the upstream as a whole.
    fn heard(&self, outcome: &Result<Minted, Failure>, now: Duration) {
        let name = self.settings.name.as_str();
        let kind = outcome.as_ref().err().map(|failure| failure.kind);
        match kind {
            Some(Kind::Unavailable | Kind::TimedOut) => {
                if self.breaker.failed(now) {
                    self.open.set(1);
                    tracing::warn!(
                        upstream = name,
                        "the upstream fails again and again; where a profile has others, they serve in its place"
                    );
                }
                return;
            }
            Some(Kind::NoCredential) => return,
            Some(Kind::RateLimited | Kind::Billing | Kind::PermissionDenied) => {
                let asked = outcome.as_ref().err().and_then(|failure| failure.retry_after);
                self.breaker.rest(now, asked.unwrap_or(REST));
            }
            _ => {}
        }
        if self.breaker.answered() {
            self.open.set(0);
            tracing::warn!(upstream = name, "the upstream answers again");
        }
    }
}
