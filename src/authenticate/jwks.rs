//! The key set of one issuer: fetched in the background, kept when the issuer is out of reach, fetched early for an unknown key id.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use reqwest::header::CACHE_CONTROL;
use reqwest::{Client, StatusCode, Url};
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};

use super::jwk::{VerifyingKey, read_set};
use crate::config::{Algorithm, Jwt};
use crate::domain::clock::SharedClock;
use crate::domain::secret::Sha256;
use crate::outbound::{self, BodyError, Outbound, Unbuildable};
use crate::telemetry::metrics::{Metrics, RefreshLabels};

const FETCH_DEADLINE: Duration = Duration::from_secs(5);
/// Longer than discovery and keys may take together.
const WAIT_FOR_FETCH: Duration = Duration::from_secs(11);
const MAX_BODY: usize = 256 * 1024;
const DEFAULT_FRESH: Duration = Duration::from_mins(10);
const LEAST_FRESH: Duration = Duration::from_mins(1);
const MOST_FRESH: Duration = Duration::from_hours(1);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Why there is no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// The set has no such key.
    Unknown,
    /// The first fetch has not succeeded.
    NotFetchedYet,
    /// The issuer has been out of reach for longer than its keys may be used.
    TooOld,
}

/// One version of an issuer's keys.
pub(super) struct KeySet {
    /// Grows when the text of the set changes; tokens verified under an older one are verified again.
    generation: u64,
    text: Sha256,
    /// Steady time: when the next fetch was due, and then as long as an outage of the issuer is borne.
    usable_until: Duration,
    keys: Arc<[VerifyingKey]>,
    /// What discovery said when the keys were fetched; empty where it was not asked.
    discovery: Arc<Map<String, Value>>,
}

impl KeySet {
    pub(super) fn discovery(&self) -> &Arc<Map<String, Value>> {
        &self.discovery
    }

    /// The key that a token names. A token that names none is only accepted when there is no choice.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&VerifyingKey> {
        let mut fitting = self.keys.iter().filter(|key| key.fits(algorithm) && (id.is_none() || key.id.as_deref() == id));
        let found = fitting.next()?;
        (id.is_some() || fitting.next().is_none()).then_some(found)
    }
}

/// Ties something that was verified to the keys it was verified with.
#[derive(Clone)]
pub(super) struct KeyLease {
    source: Arc<KeySource>,
    generation: u64,
}

impl KeyLease {
    pub(super) fn new(source: &Arc<KeySource>, keys: &KeySet) -> Self {
        Self { source: source.clone(), generation: keys.generation }
    }

    /// Whether the issuer still publishes the same keys, and they are not too old to be used.
    pub(super) fn is_current(&self) -> bool {
        self.source.current().is_ok_and(|keys| keys.generation == self.generation)
    }
}

pub(super) struct KeySource {
    current: ArcSwapOption<KeySet>,
    /// Fetches that ended, well or badly.
    attempts: watch::Sender<u64>,
    wake: Notify,
    /// An early fetch was asked for and has not ended.
    early: AtomicBool,
    /// Steady milliseconds before which no further early fetch may be asked for.
    no_early_before: AtomicU64,
    cooldown: Duration,
    max_stale: Duration,
    clock: SharedClock,
}

impl KeySource {
    pub(super) fn start(
        settings: &Jwt,
        outbound: &Outbound,
        clock: SharedClock,
        metrics: Metrics,
    ) -> Result<Arc<Self>, Unbuildable> {
        let fetch = Fetch::new(settings, outbound)?;
        let source = Arc::new(Self {
            current: ArcSwapOption::empty(),
            attempts: watch::Sender::new(0),
            wake: Notify::new(),
            early: AtomicBool::new(false),
            no_early_before: AtomicU64::new(0),
            cooldown: settings.cooldown,
            max_stale: settings.max_stale,
            clock,
        });
        tokio::spawn(source.clone().keep_fresh(fetch, metrics));
        Ok(source)
    }

    /// A source that has one empty set of the given generation, for ever, and never fetches.
    #[cfg(test)]
    pub(super) fn fixed(generation: u64, clock: SharedClock) -> Arc<Self> {
        let (text, usable_until) = (Sha256::of(b""), Duration::MAX);
        let keys = KeySet { generation, text, usable_until, keys: Arc::from([]), discovery: Arc::default() };
        Arc::new(Self {
            current: ArcSwapOption::from_pointee(keys),
            attempts: watch::Sender::new(1),
            wake: Notify::new(),
            early: AtomicBool::new(false),
            no_early_before: AtomicU64::new(u64::MAX),
            cooldown: Duration::MAX,
            max_stale: Duration::ZERO,
            clock,
        })
    }

    pub(super) fn current(&self) -> Result<Arc<KeySet>, NoKey> {
        let keys = self.current.load_full().ok_or(NoKey::NotFetchedYet)?;
        if self.clock.steady() > keys.usable_until { Err(NoKey::TooOld) } else { Ok(keys) }
    }

    /// Waits for the first fetch to end, well or badly; at once when it has.
    pub(super) async fn first_fetch(&self) {
        let mut attempts = self.attempts.subscribe();
        let _ = tokio::time::timeout(WAIT_FOR_FETCH, attempts.wait_for(|&n| n > 0)).await;
    }

    /// Fetches early, for a key id that is not known. `false` when that was done within the cool-down: the key is then unknown.
    ///
    /// All callers of one moment share one fetch, so a flood of forged key ids costs the issuer one request per cool-down, and a
    /// caller with a known key never comes here.
    pub(super) async fn refreshed(&self) -> bool {
        let mut attempts = self.attempts.subscribe();
        let seen = *attempts.borrow_and_update();
        let now = millis(self.clock.steady());
        let next = now.saturating_add(millis(self.cooldown));
        let mine = self
            .no_early_before
            .try_update(Ordering::AcqRel, Ordering::Acquire, |before| (now >= before).then_some(next))
            .is_ok();
        if mine {
            self.early.store(true, Ordering::Release);
            self.wake.notify_one();
        } else if !self.early.load(Ordering::Acquire) {
            return false;
        }
        tokio::time::timeout(WAIT_FOR_FETCH, attempts.wait_for(|&n| n > seen)).await.is_ok()
    }

    async fn keep_fresh(self: Arc<Self>, fetch: Fetch, metrics: Metrics) {
        let mut retry = FIRST_RETRY;
        loop {
            let outcome = fetch.run().await;
            let label = if outcome.is_ok() { "ok" } else { "failed" };
            metrics.jwks_refreshes.get_or_create(&RefreshLabels { issuer: fetch.name.clone(), outcome: label }).inc();
            let pause = match outcome {
                Ok(fetched) => {
                    retry = FIRST_RETRY;
                    self.take_over(&fetched);
                    fetched.fresh_for
                }
                Err(error) => {
                    tracing::warn!(issuer = fetch.name, %error, cause = outbound::causes(&error), "the issuer's keys could not be fetched; known keys stay in use");
                    let pause = retry;
                    retry = (retry * 2).min(LAST_RETRY);
                    pause
                }
            };
            self.early.store(false, Ordering::Release);
            self.attempts.send_modify(|n| *n += 1);
            // A tenth less at random keeps replicas from fetching in step.
            let pause = pause.mul_f64(1.0 - 0.1 * fastrand::f64());
            let _ = tokio::time::timeout(pause, self.wake.notified()).await;
        }
    }

    fn take_over(&self, fetched: &Fetched) {
        let old = self.current.load_full();
        let (generation, keys) = match old.as_deref() {
            Some(old) if old.text == fetched.text => (old.generation, old.keys.clone()),
            old => (old.map_or(1, |old| old.generation + 1), fetched.keys.clone()),
        };
        self.current.store(Some(Arc::new(KeySet {
            generation,
            text: fetched.text,
            usable_until: self.clock.steady() + fetched.fresh_for + self.max_stale,
            keys,
            discovery: fetched.discovery.clone(),
        })));
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) struct Fetch {
    client: Client,
    name: String,
    issuer: String,
    jwks_url: Option<Url>,
    algorithms: Vec<Algorithm>,
}

pub(super) struct Fetched {
    text: Sha256,
    keys: Arc<[VerifyingKey]>,
    fresh_for: Duration,
    discovery: Arc<Map<String, Value>>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no answer from {0}")]
    NoAnswer(&'static str, #[source] reqwest::Error),
    #[error("{0} answered with status {1}")]
    Status(&'static str, StatusCode),
    #[error("the answer of {0} could not be read")]
    Body(&'static str, #[source] BodyError<reqwest::Error>),
    #[error("the discovery document is not of OpenID Connect's form")]
    NotDiscovery,
    #[error("the discovery document names another issuer")]
    OtherIssuer,
    #[error("the discovery document of an https issuer names keys at plain http")]
    Downgrade,
    #[error("the key set holds no key for the accepted algorithms")]
    NoUsableKey,
}

impl Fetched {
    /// How many keys there are for the accepted algorithms.
    pub(super) fn usable(&self) -> usize {
        self.keys.len()
    }

    /// What discovery said; empty where it was not asked.
    pub(super) fn discovery(&self) -> &Map<String, Value> {
        &self.discovery
    }
}

impl Fetch {
    pub(super) fn new(settings: &Jwt, outbound: &Outbound) -> Result<Self, Unbuildable> {
        Ok(Self {
            client: outbound.client(FETCH_DEADLINE)?,
            name: settings.name.clone(),
            issuer: settings.issuer.clone(),
            jwks_url: settings.jwks_url.clone(),
            algorithms: settings.algorithms.clone(),
        })
    }

    pub(super) async fn run(&self) -> Result<Fetched, FetchError> {
        let (url, discovery) = match &self.jwks_url {
            Some(url) => (url.clone(), Map::new()),
            None => self.discover().await?,
        };
        let (body, max_age) = self.read("the key set", url).await?;
        let keys = read_set(&body, &self.algorithms).ok_or(FetchError::NoUsableKey)?;
        let fresh_for = max_age.unwrap_or(DEFAULT_FRESH).clamp(LEAST_FRESH, MOST_FRESH);
        Ok(Fetched { text: Sha256::of(&body), keys, fresh_for, discovery: Arc::new(discovery) })
    }

    /// Where the keys are, and all that `OpenID` Connect Discovery 1.0 (section 3) says besides.
    async fn discover(&self) -> Result<(Url, Map<String, Value>), FetchError> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let url = Url::parse(&url).map_err(|_| FetchError::NotDiscovery)?;
        let is_https = url.scheme() == "https";
        let (body, _) = self.read("discovery", url).await?;
        let found: Map<String, Value> = serde_json::from_slice(&body).map_err(|_| FetchError::NotDiscovery)?;
        let text = |name: &str| found.get(name).and_then(Value::as_str).ok_or(FetchError::NotDiscovery);
        if text("issuer")? != self.issuer {
            return Err(FetchError::OtherIssuer);
        }
        let keys = Url::parse(text("jwks_uri")?).map_err(|_| FetchError::NotDiscovery)?;
        if is_https && keys.scheme() != "https" {
            return Err(FetchError::Downgrade);
        }
        Ok((keys, found))
    }

    async fn read(&self, what: &'static str, url: Url) -> Result<(Bytes, Option<Duration>), FetchError> {
        let response = self
            .client
            .get(url)
            .header("accept", "application/json")
            .send()
            .await
            .map_err(|e| FetchError::NoAnswer(what, e.without_url()))?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(what, response.status()));
        }
        let max_age = response.headers().get(CACHE_CONTROL).and_then(|value| max_age(value.to_str().ok()?));
        let body = reqwest::Body::from(response);
        let body = outbound::body(body, MAX_BODY).await.map_err(|e| FetchError::Body(what, e))?;
        Ok((body, max_age))
    }
}

fn max_age(cache_control: &str) -> Option<Duration> {
    let seconds = cache_control.split(',').find_map(|directive| directive.trim().strip_prefix("max-age=")?.parse().ok())?;
    Some(Duration::from_secs(seconds))
}
