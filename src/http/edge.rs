//! What happens to every request before and after its handler: request id, load limit, duplicate headers, caught panics, the form of
//! refusals, CORS.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse, ResponseError};
use futures_util::FutureExt;

use super::auth::Browser;
use super::mint::Begun;
use super::origin::{Origins, Verdict};
use super::problem;
use crate::authenticate::Offer;
use crate::domain::clock::SharedClock;
use crate::domain::ids::RequestId;
use crate::issue::overloaded;
use crate::issue::refusal::{Code, Refusal};
use crate::telemetry::metrics::{CodeLabel, Metrics};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Whom a server acts for.
pub(super) const USER: HeaderName = HeaderName::from_static("ephemint-user");
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
pub(super) const DPOP: HeaderName = HeaderName::from_static("dpop");
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What all workers of one listener share.
pub(crate) struct Edge {
    origins: Origins,
    dpop: Option<Offer>,
    docs_url: String,
    in_flight: AtomicUsize,
    max_in_flight: usize,
    draining: AtomicBool,
    metrics: Metrics,
    clock: SharedClock,
}

impl Edge {
    pub(crate) fn new(
        origins: Origins,
        dpop: Option<Offer>,
        docs_url: String,
        max_in_flight: usize,
        metrics: Metrics,
        clock: SharedClock,
    ) -> Arc<Self> {
        Arc::new(Self {
            origins,
            dpop,
            docs_url,
            in_flight: AtomicUsize::new(0),
            max_in_flight,
            draining: AtomicBool::new(false),
            metrics,
            clock,
        })
    }

    pub(super) fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Asks clients to close their connections from now on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// A probe is let in however busy the service is: it asks whether the process lives.
    fn enter(self: &Arc<Self>, is_probe: bool) -> Result<Inside, Refusal> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.metrics.in_flight.inc();
        let inside = Inside(self.clone());
        if before >= self.max_in_flight && !is_probe { Err(overloaded()) } else { Ok(inside) }
    }
}

/// One request being handled.
struct Inside(Arc<Edge>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.in_flight.dec();
    }
}

/// Set on every request for its handler.
#[derive(Clone)]
pub(super) struct Arrival {
    pub(super) request_id: RequestId,
    /// Steady time.
    pub(super) at: Duration,
}

/// The name of a request.
pub(super) fn request_id(request: &HttpRequest) -> RequestId {
    let arrival = request.extensions().get::<Arrival>().map(|arrival| arrival.request_id.clone());
    arrival.unwrap_or_else(|| RequestId::from_caller(None))
}

/// The middleware around all handlers.
pub(crate) async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(edge) = request.app_data::<Data<Edge>>().map(|edge| Arc::clone(edge)) else {
        return Err(Refusal::new(Code::Internal, "The listener is not set up.").into());
    };
    let request_id = RequestId::from_caller(request.headers().get(&REQUEST_ID).map(HeaderValue::as_bytes));
    let verdict = edge.origins.verdict(request.headers());
    let nonce = edge.nonce_for(request.headers());
    request.extensions_mut().insert(Arrival { request_id: request_id.clone(), at: edge.clock.steady() });
    let mint = Begun::of(&request);
    let browser = Browser::of(&request);
    let is_probe = matches!(request.path(), "/livez" | "/readyz");
    let outcome = match edge.enter(is_probe).and_then(|inside| no_duplicates(request.headers()).map(|()| inside)) {
        Ok(inside) => {
            // Nothing that a panicking handler leaves behind is looked at again: all shared state is behind locks that stay consistent.
            let outcome = AssertUnwindSafe(next.call(request)).catch_unwind().await;
            drop(inside);
            outcome
        }
        Err(refusal) => {
            let refusal = written_down(mint, refusal).await;
            return Err(Refused { edge, refusal, request_id, verdict: Some(verdict), nonce, browser }.into_error());
        }
    };
    let refusal = match outcome {
        Ok(Ok(mut response)) => {
            let Some(refusal) = response.response().error().map(refusal_in) else {
                edge.finish(response.response_mut().head_mut(), &request_id, verdict, nonce, &browser);
                return Ok(response.map_into_boxed_body());
            };
            refusal
        }
        Ok(Err(error)) => refusal_in(&error),
        Err(_panic) => {
            edge.metrics.panics.inc();
            let refusal = Refusal::new(
                Code::Internal,
                "Something went wrong here; try again, and tell the operator the request id if it stays.",
            );
            written_down(mint, refusal).await
        }
    };
    Err(Refused { edge, refusal, request_id, verdict: Some(verdict), nonce, browser }.into_error())
}

/// What the handler of a mint writes down otherwise.
async fn written_down(mint: Option<Begun>, refusal: Refusal) -> Refusal {
    match mint {
        Some(mint) => mint.refused(refusal).await,
        None => refusal,
    }
}

impl Edge {
    /// For a caller that sends proofs, whenever it sends one: the next must carry it.
    fn nonce_for(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let nonces = self.dpop.as_ref()?.nonces.as_ref().filter(|_| headers.contains_key(DPOP))?;
        HeaderValue::try_from(nonces.fresh(self.clock.unix())).ok()
    }

    /// Headers of every answer.
    fn finish(
        &self,
        head: &mut actix_web::dev::ResponseHead,
        request_id: &RequestId,
        verdict: Verdict,
        nonce: Option<HeaderValue>,
        browser: &Browser,
    ) {
        let headers = head.headers_mut();
        if let Some(nonce) = nonce {
            headers.insert(DPOP_NONCE, nonce);
        }
        if let Ok(id) = HeaderValue::try_from(request_id.as_str()) {
            headers.insert(REQUEST_ID, id);
        }
        headers.insert(VARY, HeaderValue::from_static("Origin"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        self.origins.write(verdict, headers);
        browser.write(headers);
        if self.is_draining() {
            head.set_connection_type(ConnectionType::Close);
        }
    }
}

fn no_duplicates(headers: &HeaderMap) -> Result<(), Refusal> {
    for (header, name) in [
        (AUTHORIZATION, "Authorization"),
        (CONTENT_TYPE, "Content-Type"),
        (IDEMPOTENCY_KEY, "Idempotency-Key"),
        (USER, "Ephemint-User"),
        (DPOP, "DPoP"),
    ] {
        if headers.get_all(header).nth(1).is_some() {
            return Err(Refusal::new(Code::DuplicateHeader, format!("Send {name} once.")).about(name));
        }
    }
    Ok(())
}

/// actix's own errors (a path that is not UTF-8, say) are refusals too.
fn refusal_in(error: &Error) -> Refusal {
    match error.as_error::<Refusal>() {
        Some(refusal) => refusal.clone(),
        None if error.as_response_error().status_code() == StatusCode::PAYLOAD_TOO_LARGE => {
            Refusal::new(Code::BodyTooLarge, "The body is larger than this path takes.")
        }
        None if error.as_response_error().status_code().is_client_error() => {
            Refusal::new(Code::NotFound, "The request cannot be read; the API is described at /docs.")
        }
        None => Refusal::new(
            Code::Internal,
            "Something went wrong here; try again, and tell the operator the request id if it stays.",
        ),
    }
}

/// A refusal with everything that its answer needs.
struct Refused {
    edge: Arc<Edge>,
    refusal: Refusal,
    request_id: RequestId,
    verdict: Option<Verdict>,
    nonce: Option<HeaderValue>,
    browser: Browser,
}

impl Refused {
    fn into_error(self) -> Error {
        self.refusal.log(self.request_id.as_str());
        self.edge.metrics.refusals.get_or_create(&CodeLabel { code: self.refusal.code.row().name }).inc();
        self.into()
    }
}

impl std::fmt::Debug for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.refusal.fmt(f)
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.refusal, f)
    }
}

impl ResponseError for Refused {
    fn error_response(&self) -> HttpResponse<BoxBody> {
        let (refusal, request_id) = (&self.refusal, self.request_id.as_str());
        let answer = problem::answer(refusal, request_id, &self.edge.docs_url, self.edge.dpop.as_ref());
        let mut response = self.browser.refused(answer, refusal, request_id);
        let verdict = match &self.verdict {
            Some(Verdict::Allowed(origin)) => Verdict::Allowed(origin.clone()),
            _ => Verdict::Absent,
        };
        self.edge.finish(response.head_mut(), &self.request_id, verdict, self.nonce.clone(), &self.browser);
        response
    }
}

/// Refuses a request from a page that may not call, for routes that others add to the public listener.
pub(crate) fn check_origin(request: &HttpRequest) -> Result<(), Refusal> {
    request.app_data::<Data<Edge>>().map_or(Ok(()), |edge| edge.origins.check(request.headers()))
}

#[cfg(test)]
mod tests {
    use actix_web::dev::Service;
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, init_service};
    use actix_web::web::{self, Data};
    use actix_web::{App, HttpResponse};
    use serde_json::Value;

    use super::{Edge, Metrics, Origins, guard};
    use crate::domain::clock::SystemClock;

    async fn panics() -> HttpResponse {
        panic!("sk-canary in a panic's message")
    }

    #[tokio::test]
    async fn a_panic_is_answered_with_500_and_nothing_of_its_message() {
        let (metrics, _) = Metrics::new(std::time::Duration::ZERO);
        let origins = Origins::new(&["https://app.example".into()], false);
        let edge = Edge::new(origins, None, "/docs".into(), 1, metrics.clone(), SystemClock::shared());
        let app = App::new().app_data(Data::from(edge.clone())).wrap(from_fn(guard)).route("/", web::get().to(panics));
        let app = init_service(app).await;
        let request =
            TestRequest::get().uri("/").insert_header(("origin", "https://app.example")).insert_header(("x-request-id", "r1"));
        let answer = app.call(request.to_request()).await.unwrap_err().error_response();
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.headers().get("x-request-id").unwrap(), "r1");
        assert_eq!(answer.headers().get("access-control-allow-origin").unwrap(), "https://app.example");
        let body = actix_web::body::to_bytes(answer.into_body()).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("canary"));
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["code"], "internal");
        assert_eq!((metrics.panics.get(), edge.in_flight()), (1, 0));
    }
}
