//! Asks the upstream. A [`Grant`] and a [`Permit`] in, a [`Minted`] out.

mod absent;
mod answer;
mod blame;
mod breaker;
mod calls;
mod endpoint;
mod failure;
mod key;
mod on_behalf;
mod probe;
mod retry;
mod ring;
mod turns;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;

use crate::admit::Permit;
use crate::authorize::Grant;
use crate::config::{self, Credential};
use crate::domain::clock::SharedClock;
use crate::domain::ids::Pseudonym;
use crate::domain::secret::{EphemeralToken, Secret};
use crate::domain::trace::Trace;
use crate::outbound::{Outbound, Unbuildable};
use crate::secrets::Sources;
use crate::telemetry::metrics::{Metrics, UpstreamLabel};
use absent::Absent;
pub(crate) use answer::{CLOCK_SLACK_SECONDS, PublicSession};
pub(crate) use blame::Blame;
use breaker::Breaker;
pub(crate) use calls::{Calls, HungUp};
use endpoint::Endpoint;
pub(crate) use failure::{BILLING, Failure, Kind};
pub(crate) use key::Key;
use on_behalf::OnBehalf;
pub(crate) use on_behalf::Whom;
pub(crate) use probe::{Probe, Probed, Question, Verdict};
pub(crate) use ring::{Ring, Slot, State};
use turns::Carried;

/// Of one exchange with Entra ID on behalf of a user.
const DEADLINE: Duration = Duration::from_secs(8);

/// A client secret, fresh from the upstream. Only this stage can make one.
#[derive(Debug)]
pub(crate) struct Minted {
    token: EphemeralToken,
    expires_at: u64,
    session: PublicSession,
    calls_url: Arc<str>,
    /// Which of the profile's upstreams minted it, by its place among them.
    route: usize,
    served: Served,
}

/// Who served an attempt: for the audit entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Served {
    pub(crate) upstream: Option<Arc<config::Upstream>>,
    /// Fingerprint of the permanent key.
    pub(crate) key: Option<Arc<str>>,
    /// The upstream's own name for its answer.
    pub(crate) request_id: Option<Box<str>>,
}

impl Served {
    fn of(upstream: &Arc<config::Upstream>) -> Self {
        Self { upstream: Some(upstream.clone()), ..Self::default() }
    }

    fn by(upstream: &Arc<config::Upstream>, key: &Key) -> Self {
        Self { key: Some(key.fingerprint().clone()), ..Self::of(upstream) }
    }
}

impl Minted {
    pub(crate) fn token(&self) -> &EphemeralToken {
        &self.token
    }

    /// Seconds since 1970.
    pub(crate) fn expires_at(&self) -> u64 {
        self.expires_at
    }

    pub(crate) fn session(&self) -> &PublicSession {
        &self.session
    }

    /// Where a browser takes its client secret.
    pub(crate) fn calls_url(&self) -> &str {
        &self.calls_url
    }

    /// The place of its upstream among those of the profile.
    pub(crate) fn route(&self) -> usize {
        self.route
    }

    pub(crate) fn served(&self) -> &Served {
        &self.served
    }
}

/// What all workers know of one upstream.
pub(crate) struct Shared {
    settings: Arc<config::Upstream>,
    ring: Ring,
    breaker: Breaker,
    absent: Absent,
    /// 1 while the breaker is open.
    open: Gauge,
    /// In place of the ring, where each user has a credential of their own.
    on_behalf: Option<Arc<OnBehalf>>,
    /// How a new value of a key is tried. Absent: not at all.
    question: Option<Question>,
}

impl Shared {
    /// One entry for each upstream.
    pub(crate) fn all(
        upstreams: &BTreeMap<String, Arc<config::Upstream>>,
        profiles: &BTreeMap<String, config::Profile>,
        sources: &Sources,
        outbound: &Outbound,
        clock: &SharedClock,
        metrics: &Metrics,
    ) -> Result<Vec<Arc<Self>>, BuildError> {
        let shared = |settings: &Arc<config::Upstream>| {
            let ring = Ring::new(settings, clock).ok_or_else(|| BuildError::Setting(settings.name.clone()))?;
            let (breaker, question) = (Breaker::default(), Question::of(settings, profiles));
            let open = metrics.upstream_open.get_or_create_owned(&label(settings));
            let on_behalf = match &settings.credential {
                Credential::OnBehalf(token) => {
                    let identity = sources.identity(&token.identity, outbound.client(DEADLINE)?, clock.clone());
                    Some(OnBehalf::new(settings, token, identity, clock))
                }
                _ => None,
            };
            let absent = Absent::default();
            Ok(Arc::new(Self { settings: settings.clone(), ring, breaker, absent, open, on_behalf, question }))
        };
        upstreams.values().map(shared).collect()
    }

    pub(crate) fn settings(&self) -> &config::Upstream {
        &self.settings
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    pub(crate) fn question(&self) -> Option<&Question> {
        self.question.as_ref()
    }
}

/// One worker's connections to all upstreams. Pooled connections are served by the runtime that opened them, so each worker has its own.
pub(crate) struct Provider {
    endpoints: BTreeMap<String, Endpoint>,
    metrics: Metrics,
}

impl Provider {
    pub(crate) fn new(
        upstreams: &[Arc<Shared>],
        outbound: &Outbound,
        clock: &SharedClock,
        metrics: &Metrics,
    ) -> Result<Self, BuildError> {
        let mut endpoints = BTreeMap::new();
        for upstream in upstreams {
            endpoints.insert(upstream.settings.name.clone(), Endpoint::new(upstream.clone(), outbound, clock.clone(), metrics)?);
        }
        Ok(Self { endpoints, metrics: metrics.clone() })
    }

    /// Mints once. The permit shows that the mint is booked; whoever holds it spends it when the secret is out.
    /// `assertion` is the user's own access token, where the upstream is asked on their behalf.
    pub(crate) async fn mint(
        &self,
        grant: &Grant,
        _booked: &Permit,
        trace: Option<&Trace>,
        assertion: Option<&Secret>,
    ) -> Result<Minted, Failure> {
        let names = grant.profile().routes().iter().map(|route| &route.upstream().name);
        let endpoints: Option<Vec<&Endpoint>> = names.map(|name| self.endpoints.get(name)).collect();
        let endpoints = endpoints.ok_or_else(|| Failure::new(Kind::Unavailable, "no such upstream"))?;
        turns::mint(&endpoints, grant, Carried { trace, assertion }, &self.metrics).await
    }
}

/// Why connections to an upstream cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// A setting has no form on the wire.
    #[error("upstream {0} has a setting that cannot be sent")]
    Setting(String),
    #[error(transparent)]
    Client(#[from] Unbuildable),
}

fn label(upstream: &config::Upstream) -> UpstreamLabel {
    UpstreamLabel { upstream: upstream.name.clone() }
}

/// Value of `OpenAI-Safety-Identifier`: 64 hex digits, the longest form known to be accepted.
fn safety_identifier(user: &Pseudonym) -> &str {
    user.as_str()
}
