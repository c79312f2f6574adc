//! Keeps the credentials of upstreams fresh: looks where they come from, tries what is new, and puts it in use. No user's request waits for
//! any of this but one whose last key was just refused.

mod follow;
mod report;
mod watch;
mod workload;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch::{Sender, channel};

use crate::audit::{Auditor, Entry};
use crate::config::{Credential, Followed};
use crate::domain::clock::SharedClock;
use crate::outbound::{Outbound, Unbuildable};
use crate::provider::{Key, Probe, Shared, Slot, State};
use crate::secrets::Sources;
use crate::telemetry::metrics::{CredentialLabels, Metrics, SlotLabels};
use watch::Watch;
use workload::Exchange;
pub(crate) use workload::{EXCHANGE, NotTraded, Trade};

/// Between two looks, exchanges or questions that requests or operators ask for.
const AGAIN: Duration = Duration::from_secs(1);

/// The credentials of all upstreams.
#[derive(Clone)]
pub(crate) struct Credentials(Arc<Inner>);

struct Inner {
    upstreams: Vec<Arc<Shared>>,
    auditor: Arc<Auditor>,
    /// Changes whenever all secrets are to be looked at.
    reload: Sender<u64>,
    metrics: Metrics,
    clock: SharedClock,
}

/// What whoever looks after one slot has.
#[derive(Clone)]
struct Care {
    inner: Arc<Inner>,
    upstream: Arc<Shared>,
    /// Its place in the configuration.
    index: usize,
}

/// Why nothing was promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotPromoted {
    NoSuchUpstream,
    /// No key has this fingerprint, or there is no other key.
    NoSuchKey,
    /// The upstream refuses it, or it has expired.
    NotUsable,
}

impl Credentials {
    /// Begins to look, for as long as the process lives. Must run inside the process's runtime.
    pub(crate) fn start(
        upstreams: &[Arc<Shared>],
        followed: Vec<Followed>,
        sources: &Arc<Sources>,
        outbound: &Outbound,
        auditor: &Arc<Auditor>,
        clock: &SharedClock,
        metrics: &Metrics,
    ) -> Result<Self, Unbuildable> {
        let (auditor, clock, metrics) = (auditor.clone(), clock.clone(), metrics.clone());
        let inner =
            Arc::new(Inner { upstreams: upstreams.to_vec(), auditor, reload: channel(0).0, metrics, clock: clock.clone() });
        let probe = Arc::new(Probe::new(outbound, clock)?);
        for upstream in upstreams {
            let care = |index| Care { inner: inner.clone(), upstream: upstream.clone(), index };
            match &upstream.settings().credential {
                Credential::Keys(keys) => {
                    for (index, key) in keys.keys.iter().enumerate() {
                        let watch =
                            Watch::new(care(index), key.reference.clone(), keys.warn_after, sources.clone(), probe.clone());
                        Handle::current().spawn(watch.run());
                    }
                }
                Credential::Workload(settings) => {
                    let trade = Trade::federation(settings, sources.clone(), outbound)?;
                    Handle::current().spawn(Exchange::new(care(0), trade).run());
                }
                Credential::OnBehalf(_) => {}
                Credential::Entra(settings) => {
                    let trade = Trade::entra(settings, sources, outbound, inner.clock.clone())?;
                    Handle::current().spawn(Exchange::new(care(0), trade).run());
                }
            }
        }
        for followed in followed {
            Handle::current().spawn(follow::follow(followed, sources.clone(), inner.reload.subscribe()));
        }
        Ok(Self(inner))
    }

    /// Looks at once, everywhere.
    pub(crate) fn reload(&self) {
        self.0.reload.send_modify(|count| *count += 1);
    }

    /// Uses another key from now on: the one with this fingerprint, or else the next that can be used.
    pub(crate) async fn promote(
        &self,
        upstream: &str,
        fingerprint: Option<&str>,
        author: &str,
        request_id: &str,
    ) -> Result<(), NotPromoted> {
        let shared =
            self.0.upstreams.iter().find(|shared| shared.settings().name == upstream).ok_or(NotPromoted::NoSuchUpstream)?;
        let (ring, states) = (shared.ring(), shared.ring().states());
        let used = states.iter().position(|state| *state == State::InUse).unwrap_or(0);
        let others = (1..states.len()).map(|step| (used + step) % states.len());
        let index = match fingerprint {
            Some(named) => ring.slots().iter().position(|slot| slot.key().is_some_and(|key| &**key.fingerprint() == named)),
            None => others.clone().find(|index| states.get(*index) == Some(&State::Ready)).or_else(|| others.clone().next()),
        };
        let index = index.ok_or(NotPromoted::NoSuchKey)?;
        // One whose rate limit is used up for the moment may be put first.
        let is_refused = ring.slots().get(index).and_then(Slot::key).is_none_or(|key| key.is_refused());
        if is_refused || states.get(index) == Some(&State::Missing) {
            return Err(NotPromoted::NotUsable);
        }
        ring.prefer(index);
        let care = Care { inner: self.0.clone(), upstream: shared.clone(), index };
        care.record("promoted", None, Some(author), request_id).await;
        Ok(())
    }
}

impl Care {
    fn slot(&self) -> &Slot {
        &self.upstream.ring().slots()[self.index]
    }

    fn name(&self) -> &str {
        &self.upstream.settings().name
    }

    fn count(&self, outcome: &'static str) {
        self.inner.metrics.credentials.get_or_create(&CredentialLabels { upstream: self.name().to_owned(), outcome }).inc();
    }

    fn failed(&self, cause: &str) {
        self.slot().history().last_failure = Some((self.inner.clock.unix(), cause.to_owned()));
    }

    fn show(&self) {
        let labels = SlotLabels { upstream: self.name().to_owned(), slot: u32::try_from(self.index).unwrap_or(u32::MAX) };
        let state = self.upstream.ring().states().get(self.index).copied();
        let usable = matches!(state, Some(State::InUse | State::Ready));
        self.inner.metrics.credential_usable.get_or_create(&labels).set(usable.into());
        let age = i64::try_from(self.age()).unwrap_or(i64::MAX);
        self.inner.metrics.credential_age.get_or_create(&labels).set(age);
    }

    /// Seconds since the value was made, or first seen.
    fn age(&self) -> u64 {
        let history = self.slot().history();
        self.inner.clock.unix().saturating_sub(history.made_at.unwrap_or(history.since))
    }

    /// A new value is in use from here on.
    async fn adopt(&self, key: Arc<Key>, made_at: Option<u64>, outcome: &'static str) {
        let before = self.slot().key();
        let before = before.as_ref().map(|key| &**key.fingerprint());
        tracing::info!(
            upstream = self.name(),
            credential = self.slot().name(),
            key = &**key.fingerprint(),
            before,
            outcome,
            "a new credential is in use"
        );
        self.upstream.ring().put(self.slot(), key, made_at);
        self.count("adopted");
        self.record(outcome, None, None, "").await;
    }

    /// The auditor has logged what it could not write.
    async fn record(&self, outcome: &'static str, cause: Option<&str>, author: Option<&str>, request_id: &str) {
        let key = self.slot().key();
        let mut entry = Entry::about("credential", self.inner.clock.wall(), request_id);
        entry.upstream(self.upstream.settings());
        (entry.outcome, entry.cause, entry.author) = (outcome, cause, author);
        entry.key = key.as_ref().map(|key| &**key.fingerprint());
        let _ = self.inner.auditor.record(&entry).await;
    }
}
