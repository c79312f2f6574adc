//! The names of all metrics. Labels come from closed sets: configuration names and codes, never users.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds in seconds.
const UPSTREAM_BUCKETS: [f64; 13] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct MintLabels {
    pub(crate) profile: String,
    pub(crate) upstream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CodeLabel {
    pub(crate) code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct UpstreamLabel {
    pub(crate) upstream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct FailureLabels {
    pub(crate) upstream: String,
    /// The kind of failure, or what Azure's text blames.
    pub(crate) cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RefreshLabels {
    pub(crate) issuer: String,
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct IntrospectionLabels {
    pub(crate) server: String,
    /// `active`, `inactive`, `client_refused`, `failed` or `busy`.
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CredentialLabels {
    pub(crate) upstream: String,
    /// `adopted`, `refused`, `unclear`, `unreadable`, `rested` or `accepted_again`.
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SlotLabels {
    pub(crate) upstream: String,
    /// Its place in the configuration, from 0.
    pub(crate) slot: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabel {
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct VisitLabels {
    /// `login`, `logout` or `guest`, as in the audit trail.
    pub(crate) event: &'static str,
    /// `signed_in`, `signed_out`, `admitted`, or the code of the refusal.
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct KindLabel {
    pub(crate) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// Everything that is counted. Cheap to clone; all clones count together.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) mints: Family<MintLabels, Counter>,
    pub(crate) refusals: Family<CodeLabel, Counter>,
    pub(crate) upstream_duration: Family<UpstreamLabel, Histogram>,
    pub(crate) upstream_retries: Family<UpstreamLabel, Counter>,
    pub(crate) upstream_failures: Family<FailureLabels, Counter>,
    pub(crate) upstream_failovers: Family<UpstreamLabel, Counter>,
    /// 1 while its breaker is open.
    pub(crate) upstream_open: Family<UpstreamLabel, Gauge>,
    pub(crate) in_flight: Gauge,
    pub(crate) token_cache_hits: Counter,
    pub(crate) token_cache_misses: Counter,
    pub(crate) jwks_refreshes: Family<RefreshLabels, Counter>,
    pub(crate) introspections: Family<IntrospectionLabels, Counter>,
    /// `hung_up`, `already_over`, `failed` or `given_up`.
    pub(crate) hang_ups: Family<OutcomeLabel, Counter>,
    /// `blocked`, `blocked_before`, `noted`, `ignored`, `repeated`, `refused` or `failed`.
    pub(crate) webhooks: Family<OutcomeLabel, Counter>,
    /// Of a shared store: `timeout`, `connection`, `refused` or `script`; of a file: `write`.
    pub(crate) store_failures: Family<KindLabel, Counter>,
    /// Mints that were admitted by this process alone, because the shared store was out of reach.
    pub(crate) admitted_alone: Counter,
    /// What came of looks at where credentials come from.
    pub(crate) credentials: Family<CredentialLabels, Counter>,
    /// Since the value in use was made, or first seen.
    pub(crate) credential_age: Family<SlotLabels, Gauge>,
    /// 1 where a credential can be used.
    pub(crate) credential_usable: Family<SlotLabels, Gauge>,
    pub(crate) visits: Family<VisitLabels, Counter>,
    pub(crate) audit_failures: Counter,
    pub(crate) panics: Counter,
    pub(crate) start_time: Gauge<f64, AtomicU64>,
}

impl Metrics {
    /// The metrics, and the registry that prints them.
    pub(crate) fn new(started_at: std::time::Duration) -> (Self, Registry) {
        let metrics = Self {
            mints: Family::default(),
            refusals: Family::default(),
            upstream_duration: Family::new_with_constructor(|| Histogram::new(UPSTREAM_BUCKETS)),
            upstream_retries: Family::default(),
            upstream_failures: Family::default(),
            upstream_failovers: Family::default(),
            upstream_open: Family::default(),
            in_flight: Gauge::default(),
            token_cache_hits: Counter::default(),
            token_cache_misses: Counter::default(),
            jwks_refreshes: Family::default(),
            introspections: Family::default(),
            hang_ups: Family::default(),
            webhooks: Family::default(),
            store_failures: Family::default(),
            admitted_alone: Counter::default(),
            credentials: Family::default(),
            credential_age: Family::default(),
            credential_usable: Family::default(),
            visits: Family::default(),
            audit_failures: Counter::default(),
            panics: Counter::default(),
            start_time: Gauge::default(),
        };
        metrics.start_time.set(started_at.as_secs_f64());
        let registry = metrics.register();
        (metrics, registry)
    }

    fn register(&self) -> Registry {
        let mut registry = Registry::with_prefix("ephemint");
        registry.register("mints", "Client secrets handed out", self.mints.clone());
        registry.register("refusals", "Requests refused, by code", self.refusals.clone());
        registry.register(
            "upstream_duration_seconds",
            "Time an upstream took for one mint, all attempts together",
            self.upstream_duration.clone(),
        );
        registry.register("upstream_retries", "Attempts after the first", self.upstream_retries.clone());
        registry.register("upstream_failures", "Attempts that an upstream did not serve", self.upstream_failures.clone());
        registry.register(
            "upstream_failovers",
            "Mints that went on to this upstream, because those before it did not serve",
            self.upstream_failovers.clone(),
        );
        registry.register("upstream_open", "1 while others serve in the upstream's place", self.upstream_open.clone());
        registry.register("requests_in_flight", "Requests being handled on the public listener", self.in_flight.clone());
        registry.register(
            "token_cache_hits",
            "User tokens that needed no verification because they were verified shortly before",
            self.token_cache_hits.clone(),
        );
        registry.register("token_cache_misses", "User tokens that were verified", self.token_cache_misses.clone());
        registry.register("jwks_refreshes", "Fetches of issuers' keys", self.jwks_refreshes.clone());
        registry.register("introspections", "Questions about opaque tokens", self.introspections.clone());
        registry.register("hang_ups", "Attempts to hang up a call, and what came of them", self.hang_ups.clone());
        registry.register("webhooks", "Deliveries of webhooks, and what came of them", self.webhooks.clone());
        registry.register("store_failures", "Calls to the store that failed", self.store_failures.clone());
        registry.register(
            "admitted_alone",
            "Mints that were admitted by this process alone, because the shared store was out of reach",
            self.admitted_alone.clone(),
        );
        registry.register("credentials", "What came of looking for new credentials of upstreams", self.credentials.clone());
        registry.register(
            "credential_age_seconds",
            "Time since the credential was made, or first seen",
            self.credential_age.clone(),
        );
        registry.register("credential_usable", "1 where a credential can be used", self.credential_usable.clone());
        registry.register("sign_ins", "Browsers that sign in or out, visitors who become guests", self.visits.clone());
        registry.register("audit_failures", "Entries that a sink did not take", self.audit_failures.clone());
        registry.register("panics", "Requests that ended in a caught panic", self.panics.clone());
        registry.register("start_time_seconds", "When the process started, seconds since 1970", self.start_time.clone());
        let build: Family<BuildLabels, Gauge> = Family::default();
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "The running version", build);
        registry
    }
}
