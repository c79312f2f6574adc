//! `OpenAI`: `POST /v1/realtime/client_secrets` and `/v1/realtime/translations/client_secrets`.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::Full;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::{Instant, sleep, timeout_at};

use super::{BuildError, Failure, Kind, Minted, Served, Shared, answer, label, retry, safety_identifier};
use crate::authorize::Grant;
use crate::config::{self, Api, NamedSecret};
use crate::domain::clock::SharedClock;
use crate::domain::trace::Trace;
use crate::domain::ttl::Ttl;
use crate::outbound::{self, BodyError, Outbound, Pool};
use crate::telemetry::metrics::Metrics;

const MAX_ANSWER: usize = 256 * 1024;
const SAFETY_IDENTIFIER: HeaderName = HeaderName::from_static("openai-safety-identifier");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const REQUEST_ID: &str = "x-request-id";

/// One worker's way to one upstream.
pub(super) struct Endpoint {
    shared: Arc<Shared>,
    pool: Pool,
    clock: SharedClock,
    realtime: Paths,
    translation: Paths,
    keys: Vec<Key>,
    duration: Histogram,
    retries: Counter,
}

struct Paths {
    mint: Uri,
    calls: Arc<str>,
}

/// A permanent key in the form it is sent, with everything else that every request carries.
struct Key {
    fingerprint: Arc<str>,
    headers: HeaderMap,
}

impl Endpoint {
    pub(super) fn new(
        shared: Arc<Shared>,
        outbound: &Outbound,
        clock: SharedClock,
        metrics: &Metrics,
    ) -> Result<Self, BuildError> {
        let settings = shared.settings.clone();
        let unsendable = || BuildError::Setting(settings.name.clone());
        let base = Uri::try_from(&settings.base_url).map_err(|_| unsendable())?;
        let paths = |prefix: &str| {
            let mint = Uri::try_from(format!("{}/{prefix}/client_secrets", base.path())).map_err(|_| unsendable())?;
            Ok::<_, BuildError>(Paths { mint, calls: format!("{}/{prefix}/calls", settings.base_url).into() })
        };
        let keys = settings.keys.iter().map(|key| Key::new(&settings, key).ok_or_else(unsendable));
        Ok(Self {
            pool: outbound.pool(base.clone(), settings.timeout),
            clock,
            realtime: paths("realtime")?,
            translation: paths("realtime/translations")?,
            keys: keys.collect::<Result<_, _>>()?,
            duration: metrics.upstream_duration.get_or_create_owned(&label(&settings)),
            retries: metrics.upstream_retries.get_or_create_owned(&label(&settings)),
            shared,
        })
    }

    fn paths(&self, api: Api) -> &Paths {
        match api {
            Api::Realtime | Api::Transcription => &self.realtime,
            Api::Translation => &self.translation,
        }
    }

    /// All attempts together end within the upstream's deadline.
    pub(super) async fn mint(&self, grant: &Grant, trace: Option<&Trace>) -> Result<Minted, Failure> {
        let start = Instant::now();
        let deadline = start + self.shared.settings.timeout;
        let outcome = self.attempts(grant, trace, deadline).await;
        self.duration.observe(start.elapsed().as_secs_f64());
        outcome
    }

    async fn attempts(&self, grant: &Grant, trace: Option<&Trace>, deadline: Instant) -> Result<Minted, Failure> {
        let mut key = self.shared.current_key();
        let (mut attempt, mut keys_tried) = (1, 1);
        loop {
            let served = Served { key: self.keys.get(key).map(|key| key.fingerprint.clone()), request_id: None };
            let failure = match timeout_at(deadline, self.attempt(grant, trace, key)).await {
                Ok(Ok(minted)) => return Ok(minted),
                Ok(Err(failure)) => failure,
                Err(_) => return Err(Failure { served, ..Failure::new(Kind::TimedOut, "no answer within the deadline") }),
            };
            if failure.kind == Kind::AuthFailed {
                // A refused key costs no attempt: the next one is tried at once, so that the caller sees nothing of it.
                match self.shared.next_key(key, keys_tried) {
                    Some(next) => (key, keys_tried) = (next, keys_tried + 1),
                    None => return Err(failure),
                }
                continue;
            }
            if !failure.retryable || attempt == self.shared.settings.max_attempts {
                return Err(failure);
            }
            let pause = failure.retry_after.unwrap_or_else(|| retry::backoff(attempt));
            if Instant::now() + pause >= deadline {
                return Err(failure);
            }
            tracing::info!(upstream = self.shared.settings.name, cause = failure.cause, attempt, "the mint is tried again");
            sleep(pause).await;
            self.retries.inc();
            attempt += 1;
        }
    }

    async fn attempt(&self, grant: &Grant, trace: Option<&Trace>, key: usize) -> Result<Minted, Failure> {
        let key = self.keys.get(key).ok_or_else(|| Failure::new(Kind::AuthFailed, "no key is left"))?;
        let mut served = Served { key: Some(key.fingerprint.clone()), request_id: None };
        let outcome = self.exchange(self.request(grant, trace, key), grant.ttl(), &mut served).await;
        match outcome {
            Ok(answer::Answer { token, expires_at, session }) => {
                let calls_url = self.paths(grant.profile().api()).calls.clone();
                Ok(Minted { token, expires_at, session, calls_url, served })
            }
            Err(failure) => Err(Failure { served, ..failure }),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, asked: Ttl, served: &mut Served) -> Result<answer::Answer, Failure> {
        // Boxed: it is large, and every future around it would be copied with it.
        let exchange = Box::pin(self.pool.exchange(request, MAX_ANSWER));
        let outbound::Answer { head, body } = exchange.await.map_err(|e| Failure::broken(&e))?;
        served.request_id = head.headers.get(REQUEST_ID).and_then(printable);
        if !head.status.is_success() {
            // An error whose body cannot be had is still that error.
            return Err(Failure::answered(head.status, &head.headers, &body.unwrap_or_default(), self.clock.wall()));
        }
        let body = body.map_err(|error| match error {
            BodyError::TooLarge(_) => Failure::new(Kind::Malformed, error.to_string()),
            BodyError::Broken(_) => Failure::broken(&error),
        })?;
        answer::read(&body, self.clock.unix(), asked).map_err(|cause| Failure::new(Kind::Malformed, cause))
    }

    fn request(&self, grant: &Grant, trace: Option<&Trace>, key: &Key) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(grant.body()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.paths(grant.profile().api()).mint.clone();
        request.headers_mut().clone_from(&key.headers);
        let user = HeaderValue::from_str(safety_identifier(grant.principal().user()));
        // 64 hex digits always make a header value.
        request.headers_mut().insert(SAFETY_IDENTIFIER, user.unwrap_or_else(|_| HeaderValue::from_static("")));
        if let Some(parent) = trace.and_then(|trace| HeaderValue::try_from(trace.to_string()).ok()) {
            request.headers_mut().insert(TRACEPARENT, parent);
        }
        request
    }
}

impl Key {
    fn new(settings: &config::Upstream, key: &NamedSecret) -> Option<Self> {
        let mut headers = HeaderMap::with_capacity(16);
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", key.secret.reveal())).ok()?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        // Headers that are set or looked for later have their place already: a copy of the map has no room to grow.
        headers.insert(SAFETY_IDENTIFIER, HeaderValue::from_static(""));
        headers.insert(HOST, HeaderValue::from_str(settings.base_url.parse::<Uri>().ok()?.authority()?.as_str()).ok()?);
        headers.insert(USER_AGENT, outbound::USER_AGENT);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in [("openai-organization", &settings.organization), ("openai-project", &settings.project)] {
            if let Some(value) = value {
                headers.insert(HeaderName::from_static(name), HeaderValue::try_from(value.as_str()).ok()?);
            }
        }
        Some(Self { fingerprint: key.secret.fingerprint().into(), headers })
    }
}

/// The upstream's request id as it may be written down: visible ASCII of a sane length.
fn printable(id: &HeaderValue) -> Option<Box<str>> {
    id.to_str().ok().filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())).map(Into::into)
}
