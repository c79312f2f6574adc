//! One upstream. `OpenAI` and Azure OpenAI v1: `POST /v1/realtime/client_secrets` and `/v1/realtime/translations/client_secrets`; Azure's
//! preview versions: `POST /openai/realtimeapi/sessions` (Microsoft, "Use the GPT Realtime API via WebRTC").

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::response::Parts;
use http::{Method, Request, Uri};
use http_body_util::Full;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::key::Key;
use super::{BuildError, Failure, Kind, Minted, Served, Shared, answer, label, safety_identifier};
use crate::authorize::Grant;
use crate::config::{Api, Dialect};
use crate::domain::clock::SharedClock;
use crate::domain::trace::Trace;
use crate::outbound::{self, BodyError, Outbound, Pool};
use crate::telemetry::metrics::Metrics;

const MAX_ANSWER: usize = 256 * 1024;
pub(super) const SAFETY_IDENTIFIER: HeaderName = HeaderName::from_static("openai-safety-identifier");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What upstreams call their answers.
const REQUEST_IDS: [&str; 2] = ["x-request-id", "apim-request-id"];

/// One worker's way to one upstream.
pub(super) struct Endpoint {
    pub(super) shared: Arc<Shared>,
    pool: Pool,
    pub(super) clock: SharedClock,
    realtime: Uri,
    translation: Uri,
    pub(super) duration: Histogram,
    pub(super) retries: Counter,
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
        let mint = |api: Api| {
            let path = mint_path(&settings.dialect, api);
            Uri::try_from(format!("{}{path}", base.path().trim_end_matches('/'))).map_err(|_| unsendable())
        };
        Ok(Self {
            pool: outbound.pool(base.clone(), settings.timeout),
            clock,
            realtime: mint(Api::Realtime)?,
            translation: mint(Api::Translation)?,
            duration: metrics.upstream_duration.get_or_create_owned(&label(&settings)),
            retries: metrics.upstream_retries.get_or_create_owned(&label(&settings)),
            shared,
        })
    }

    pub(super) async fn attempt(&self, grant: &Grant, route: usize, trace: Option<&Trace>, key: &Key) -> Result<Minted, Failure> {
        let mut served = Served::by(&self.shared.settings, key);
        let outcome = self.exchange(self.request(grant, route, trace, key), grant, route, &mut served).await;
        match outcome {
            Ok(answer::Answer { token, expires_at, session }) => {
                let calls_url = grant.profile().routes().get(route).map(|route| route.calls_url().clone()).unwrap_or_default();
                Ok(Minted { token, expires_at, session, calls_url, route, served })
            }
            Err(failure) => Err(Failure { served, ..failure }),
        }
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        grant: &Grant,
        route: usize,
        served: &mut Served,
    ) -> Result<answer::Answer, Failure> {
        // Boxed: it is large, and every future around it would be copied with it.
        let exchange = Box::pin(self.pool.exchange(request, MAX_ANSWER));
        let outbound::Answer { head, body } = exchange.await.map_err(|e| Failure::broken(&e))?;
        served.request_id = REQUEST_IDS.iter().find_map(|name| head.headers.get(*name).and_then(printable));
        if !head.status.is_success() {
            // An error whose body cannot be had is still that error.
            return Err(self.refusal(&head, &body.unwrap_or_default(), grant, route));
        }
        let body = body.map_err(|error| match error {
            BodyError::TooLarge(_) => Failure::new(Kind::Malformed, error.to_string()),
            BodyError::Broken(_) => Failure::broken(&error),
        })?;
        let (now, asked) = (self.clock.unix(), grant.ttl());
        let answer = match &self.shared.settings.dialect {
            Dialect::OpenAi => answer::read(&body, now, asked),
            Dialect::Azure => answer::read_azure(&body, now, asked),
            Dialect::AzurePreview { .. } => answer::read_preview(&body, now),
        };
        answer.map_err(|cause| Failure::new(Kind::Malformed, cause))
    }

    fn refusal(&self, head: &Parts, body: &[u8], grant: &Grant, route: usize) -> Failure {
        let is_azure = self.shared.settings.dialect.is_azure();
        Failure::of_mint(head.status, &head.headers, body, self.clock.wall(), is_azure, grant.model(route))
    }

    fn request(&self, grant: &Grant, route: usize, trace: Option<&Trace>, key: &Key) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(grant.body(route)));
        *request.method_mut() = Method::POST;
        let is_translation = grant.profile().api() == Api::Translation;
        *request.uri_mut() = if is_translation { self.translation.clone() } else { self.realtime.clone() };
        request.headers_mut().clone_from(key.headers());
        if !self.shared.settings.dialect.is_azure() {
            let user = HeaderValue::from_str(safety_identifier(grant.principal().user()));
            // 64 hex digits always make a header value.
            request.headers_mut().insert(SAFETY_IDENTIFIER, user.unwrap_or_else(|_| HeaderValue::from_static("")));
        }
        if let Some(parent) = trace.and_then(|trace| HeaderValue::try_from(trace.to_string()).ok()) {
            request.headers_mut().insert(TRACEPARENT, parent);
        }
        request
    }
}

/// Where secrets are minted, below the base URL.
pub(super) fn mint_path(dialect: &Dialect, api: Api) -> String {
    match dialect {
        Dialect::OpenAi | Dialect::Azure => format!("/{}/client_secrets", api.path()),
        Dialect::AzurePreview { session_query, .. } => format!("/realtimeapi/sessions{session_query}"),
    }
}

/// The upstream's request id as it may be written down: visible ASCII of a sane length.
fn printable(id: &HeaderValue) -> Option<Box<str>> {
    id.to_str().ok().filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())).map(Into::into)
}
