//! Hanging up, again and again until the provider has done it.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::audit::{Auditor, Entry};
use crate::bind::{Binding, Bindings, LONGEST_CALL};
use crate::domain::clock::SharedClock;
use crate::domain::ids::{CallId, SessionId};
use crate::provider::{Calls, HungUp, Whom};
use crate::telemetry::metrics::{Metrics, OutcomeLabel};

const AT_ONCE: usize = 32;
/// Calls taken up at one look.
const TAKEN_UP: usize = 10_000;
/// Calls of the last two hours at most that are known to have been taken.
const MOST_TAKEN: u64 = 1_000_000;
const LOOK_AROUND: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Hangs up in the background.
#[derive(Clone)]
pub(crate) struct HangUps(Arc<Shared>);

/// How far a call is hung up by this process.
#[derive(Clone, Copy)]
enum Progress {
    UnderWay,
    Done,
}

struct Shared {
    calls: Calls,
    bindings: Arc<Bindings>,
    auditor: Arc<Auditor>,
    turns: Semaphore,
    taken: Cache<SessionId, Progress>,
    counted: Family<OutcomeLabel, Counter>,
    clock: SharedClock,
    /// The process's runtime: a call is hung up also when the worker that was asked to is gone.
    runtime: Handle,
}

impl HangUps {
    /// Must run inside the process's runtime.
    pub(crate) fn new(
        calls: Calls,
        bindings: Arc<Bindings>,
        auditor: Arc<Auditor>,
        clock: SharedClock,
        metrics: &Metrics,
    ) -> Self {
        let turns = Semaphore::new(AT_ONCE);
        let taken = Cache::builder().max_capacity(MOST_TAKEN).time_to_live(Duration::from_secs(2 * LONGEST_CALL)).build();
        let counted = metrics.hang_ups.clone();
        Self(Arc::new(Shared { calls, bindings, auditor, turns, taken, counted, clock, runtime: Handle::current() }))
    }

    /// Where work goes on that no request waits for.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.0.runtime
    }

    /// Hangs up the call of a session that is over, if it has one that is not. Once for each, however often it is asked to.
    pub(crate) fn start(&self, binding: Binding) {
        let Some(call) = binding.to_hang_up().cloned() else { return };
        let shared = self.0.clone();
        let taken = shared.taken.entry(binding.session()).or_insert(Progress::UnderWay);
        match (taken.is_fresh(), taken.into_value()) {
            (true, _) => drop(self.0.runtime.spawn(async move { shared.until_done(&binding, &call).await })),
            (false, Progress::UnderWay) => {}
            // It is done, and could not be noted down then.
            (false, Progress::Done) => drop(self.0.runtime.spawn(async move { shared.note_down(&binding).await })),
        }
    }

    /// Takes up what was left undone, for as long as the process lives.
    pub(crate) fn take_up(&self) {
        let hang_ups = self.clone();
        self.0.runtime.spawn(async move {
            loop {
                // What cannot be read now is looked for again.
                for binding in hang_ups.0.bindings.left_to_hang_up(TAKEN_UP).await.unwrap_or_default() {
                    hang_ups.start(binding);
                }
                sleep(LOOK_AROUND).await;
            }
        });
    }
}

impl Shared {
    async fn until_done(&self, binding: &Binding, call: &CallId) {
        let last = binding.call().map_or(0, |call| call.reported_at + LONGEST_CALL);
        let whom = Whom { user: binding.owner().user, tenant: (&*binding.owner().tenant).into() };
        let mut pause = FIRST_PAUSE;
        let (outcome, cause) = loop {
            let outcome = {
                // The semaphore is never closed.
                let _turn = self.turns.acquire().await;
                self.calls.hang_up(binding.upstream(), binding.key(), &whom, call).await
            };
            let failure = match outcome {
                Ok(HungUp::Now) => break ("hung_up", None),
                Ok(HungUp::Before) => break ("already_over", None),
                Ok(HungUp::Never) => break ("given_up", Some("the upstream's api_version has no way to end a call".to_owned())),
                Err(failure) => failure,
            };
            self.count("failed");
            tracing::warn!(session = %binding.session(), cause = failure.cause, "a call could not be hung up; it is tried again");
            if self.clock.unix() + pause.as_secs() >= last {
                // No call lasts longer.
                break ("given_up", Some(failure.cause));
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        self.count(outcome);
        self.taken.insert(binding.session(), Progress::Done);
        self.note_down(binding).await;
        let mut entry = Entry::about("hang_up", self.clock.wall(), "");
        entry.session(binding);
        entry.outcome = outcome;
        entry.cause = cause.as_deref();
        // The auditor has logged why not.
        let _ = self.auditor.record(&entry).await;
    }

    async fn note_down(&self, binding: &Binding) {
        if let Err(error) = self.bindings.hung_up(&binding.owner().user, binding.session()).await {
            tracing::warn!(session = %binding.session(), %error, "it is not noted down yet that a call was hung up");
        }
    }

    fn count(&self, outcome: &'static str) {
        self.counted.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}
