//! Every request to the sandbox, before and after its handler: this machine's own names only, CORS, a deadline, the headers that every
//! answer of the real API has.

use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderMap, HeaderName,
    HeaderValue, ORIGIN, VARY,
};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpRequest, HttpResponse, ResponseError};
use tokio::time::timeout;

use super::refused::Refused;
use super::upstream::{self, Upstream};

/// What the official browser clients send; without `x-openai-agents-sdk` the agents SDK cannot call at all.
const ALLOWED_HEADERS: &str = "authorization, content-type, x-openai-agents-sdk, openai-beta, openai-organization, openai-project, \
                               openai-safety-identifier, idempotency-key, x-sandbox-scenario";
/// Headers with which the official SDKs describe themselves.
const SDK_PREFIX: &str = "x-stainless-";
const EXPOSED_HEADERS: &str = "Location, X-Request-ID, Retry-After, OpenAI-Processing-Ms";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const VERSION: HeaderName = HeaderName::from_static("openai-version");
const PROCESSING: HeaderName = HeaderName::from_static("openai-processing-ms");
/// For a request with its body and its answer's head.
const DEADLINE: Duration = Duration::from_secs(15);

/// Whether the request was sent to this machine by a name of this machine. A page that had its own name resolved to this machine (DNS
/// rebinding) would send that name.
pub(super) fn names_this_machine(request: &HttpRequest) -> bool {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    is_loopback(without_port(host))
}

/// `[::1]` has colons of its own.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_loopback(name: &str) -> bool {
    matches!(name, "127.0.0.1" | "localhost" | "[::1]")
}

/// The middleware.
pub(super) async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let upstream = request.app_data::<Data<Upstream>>().cloned();
    let (origin, began) = (request.headers().get(ORIGIN).cloned(), upstream.as_ref().map(|upstream| upstream.clock().steady()));
    let mut answer = if !names_this_machine(request.request()) {
        let refused =
            Refused::new(StatusCode::FORBIDDEN, "host_not_allowed", "The sandbox answers to 127.0.0.1 and localhost only.");
        request.into_response(refused.error_response())
    } else if request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        let preflight = preflight(request.headers());
        request.into_response(preflight)
    } else {
        let late = |_| Refused::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "The request took too long.");
        timeout(DEADLINE, next.call(request)).await.map_err(late)??.map_into_boxed_body()
    };
    let headers = answer.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin.filter(|origin| upstream.as_ref().is_some_and(|upstream| may_read(origin, upstream))) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
    }
    if let (Some(upstream), Some(began)) = (upstream, began) {
        let took = upstream.clock().steady().saturating_sub(began).as_millis();
        headers.insert(PROCESSING, HeaderValue::from(u64::try_from(took).unwrap_or(u64::MAX)));
        headers.insert(VERSION, HeaderValue::from_static("2020-10-01"));
        if let Some(id) = upstream::random("req_").and_then(|id| HeaderValue::from_str(&id).ok()) {
            headers.insert(REQUEST_ID, id);
        }
    }
    Ok(answer)
}

fn preflight(headers: &HeaderMap) -> HttpResponse {
    let asked = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut allowed = ALLOWED_HEADERS.to_owned();
    for name in asked.split(',').map(|name| name.trim().to_ascii_lowercase()) {
        if name.starts_with(SDK_PREFIX) && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            allowed.push_str(", ");
            allowed.push_str(&name);
        }
    }
    HttpResponse::NoContent()
        .insert_header((ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"))
        .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, allowed))
        .insert_header((ACCESS_CONTROL_MAX_AGE, 600))
        .finish()
}

/// Whether a page of this origin may read the answer: any page of this machine, and those that the sandbox is opened to.
fn may_read(origin: &HeaderValue, upstream: &Upstream) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let local = || {
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))?;
        let name = without_port(host);
        Some(is_loopback(name) || name.ends_with(".localhost") && !name.contains(['/', '@', ':']))
    };
    upstream.is_open_to(origin) || local().unwrap_or(false)
}
