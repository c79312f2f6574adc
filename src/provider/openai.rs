//! `OpenAI`: `POST /v1/realtime/client_secrets` and `/v1/realtime/translations/client_secrets`.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::Full;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::{Instant, sleep, timeout_at};

use super::key::Key;
use super::{BuildError, Failure, Kind, Minted, Served, Shared, answer, label, retry, safety_identifier};
use crate::authorize::Grant;
use crate::config::Api;
use crate::domain::clock::SharedClock;
use crate::domain::trace::Trace;
use crate::domain::ttl::Ttl;
use crate::outbound::{self, BodyError, Outbound, Pool};
use crate::telemetry::metrics::Metrics;

const MAX_ANSWER: usize = 256 * 1024;
pub(super) const SAFETY_IDENTIFIER: HeaderName = HeaderName::from_static("openai-safety-identifier");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const REQUEST_ID: &str = "x-request-id";

/// One worker's way to one upstream.
pub(super) struct Endpoint {
    shared: Arc<Shared>,
    pool: Pool,
    clock: SharedClock,
    realtime: Paths,
    translation: Paths,
    duration: Histogram,
    retries: Counter,
}

struct Paths {
    mint: Uri,
    calls: Arc<str>,
}

/// Where an API's secrets and calls are, below the base URL.
pub(super) fn prefix(api: Api) -> &'static str {
    match api {
        Api::Realtime | Api::Transcription => "realtime",
        Api::Translation => "realtime/translations",
    }
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
        Ok(Self {
            pool: outbound.pool(base.clone(), settings.timeout),
            clock,
            realtime: paths(prefix(Api::Realtime))?,
            translation: paths(prefix(Api::Translation))?,
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
        let (settings, ring) = (&self.shared.settings, &self.shared.ring);
        let mut refused: Vec<Arc<Key>> = Vec::new();
        let mut attempt = 1;
        let none = || Failure::new(Kind::NoCredential, "there is no credential for the upstream right now");
        let mut key = match ring.pick(&[]) {
            Some(key) => key,
            None => ring.renewed(&[], deadline).await.ok_or_else(none)?,
        };
        loop {
            let failure = match timeout_at(deadline, self.attempt(grant, trace, &key)).await {
                Ok(Ok(minted)) => {
                    key.accepted();
                    return Ok(minted);
                }
                Ok(Err(failure)) => failure,
                Err(_) => {
                    let failure = Failure::new(Kind::TimedOut, "no answer within the deadline");
                    return Err(Failure { served: Served::by(&key), ..failure });
                }
            };
            // A credential that is refused costs no attempt: the next one is used at once, so that the caller sees nothing of it.
            let goes_on = match failure.kind {
                Kind::AuthFailed => {
                    ring.refused(&settings.name, &key, &failure.cause);
                    true
                }
                Kind::RateLimited => ring.exhausted(&key, failure.retry_after),
                _ => false,
            };
            if goes_on {
                refused.push(key.clone());
                if let Some(next) = self.next(&refused, &failure, deadline).await {
                    key = next;
                    continue;
                }
            }
            if !failure.retryable || attempt == settings.max_attempts {
                return Err(failure);
            }
            let pause = failure.retry_after.unwrap_or_else(|| retry::backoff(attempt));
            if Instant::now() + pause >= deadline {
                return Err(failure);
            }
            tracing::info!(upstream = settings.name, cause = failure.cause, attempt, "the mint is tried again");
            sleep(pause).await;
            self.retries.inc();
            attempt += 1;
        }
    }

    /// Another credential, in place of the last of `refused`. When none is left, one of their secrets may just have been replaced: that is
    /// worth a moment.
    async fn next(&self, refused: &[Arc<Key>], failure: &Failure, deadline: Instant) -> Option<Arc<Key>> {
        let ring = &self.shared.ring;
        match ring.pick(refused) {
            None if failure.kind == Kind::AuthFailed => {
                ring.renewed(refused, deadline).await.or_else(|| ring.last_resort(refused))
            }
            next => next,
        }
    }

    async fn attempt(&self, grant: &Grant, trace: Option<&Trace>, key: &Key) -> Result<Minted, Failure> {
        let mut served = Served::by(key);
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
        request.headers_mut().clone_from(key.headers());
        let user = HeaderValue::from_str(safety_identifier(grant.principal().user()));
        // 64 hex digits always make a header value.
        request.headers_mut().insert(SAFETY_IDENTIFIER, user.unwrap_or_else(|_| HeaderValue::from_static("")));
        if let Some(parent) = trace.and_then(|trace| HeaderValue::try_from(trace.to_string()).ok()) {
            request.headers_mut().insert(TRACEPARENT, parent);
        }
        request
    }
}

/// The upstream's request id as it may be written down: visible ASCII of a sane length.
fn printable(id: &HeaderValue) -> Option<Box<str>> {
    id.to_str().ok().filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())).map(Into::into)
}
