//! Which web pages may call. An origin that is present and not allowed is refused before anything happens; CORS headers name exact
//! origins only.

use actix_web::HttpResponse;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, HeaderMap, HeaderValue, ORIGIN,
};

use crate::issue::refusal::{Code, Refusal};

const ALLOWED_HEADERS: &str =
    "authorization, content-type, idempotency-key, x-request-id, traceparent, x-openai-agents-sdk, openai-beta";
const EXPOSED_HEADERS: &str = "Location, Ephemint-Session, X-Request-ID, Retry-After, RateLimit, RateLimit-Policy";
/// What DPoP adds to the two, where it is switched on.
const DPOP_ALLOWED: &str = ", dpop";
const EXPOSED_WITH_DPOP: &str =
    "Location, Ephemint-Session, X-Request-ID, Retry-After, RateLimit, RateLimit-Policy, DPoP-Nonce, WWW-Authenticate";
/// Headers that the official SDKs add to describe themselves.
const SDK_PREFIX: &str = "x-stainless-";

/// The web origins that may call, exactly as browsers send them.
pub(crate) struct Origins {
    allowed: Vec<HeaderValue>,
    dpop: bool,
}

/// What the `Origin` header of one request says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No browser, or the browser's own page.
    Absent,
    Allowed(HeaderValue),
    Refused,
}

impl Origins {
    /// With `dpop`, pages may send proofs and read what is said about them.
    pub(crate) fn new(allowed: &[String], dpop: bool) -> Self {
        Self { allowed: allowed.iter().filter_map(|origin| HeaderValue::try_from(origin).ok()).collect(), dpop }
    }

    pub(super) fn verdict(&self, headers: &HeaderMap) -> Verdict {
        let mut sent = headers.get_all(ORIGIN);
        match (sent.next(), sent.next()) {
            (None, _) => Verdict::Absent,
            (Some(origin), None) if self.allowed.contains(origin) => Verdict::Allowed(origin.clone()),
            _ => Verdict::Refused,
        }
    }

    /// Refuses a request from a page that may not call.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match self.verdict(headers) {
            Verdict::Absent | Verdict::Allowed(_) => Ok(()),
            Verdict::Refused => Err(Refusal::new(
                Code::OriginNotAllowed,
                "This web origin may not call; the operator has to add it to server.allowed_origins.",
            )
            .about("Origin")),
        }
    }

    /// Answers a preflight request, and one that only asks for the methods (RFC 9110, section 9.3.7). `edge` adds the allowed origin itself.
    pub(super) fn preflight(&self, headers: &HeaderMap, allow: &'static str) -> Result<HttpResponse, Refusal> {
        self.check(headers)?;
        if !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return Ok(HttpResponse::NoContent().insert_header((ALLOW, allow)).finish());
        }
        let mut allowed = ALLOWED_HEADERS.to_owned();
        if self.dpop {
            allowed.push_str(DPOP_ALLOWED);
        }
        let asked = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).and_then(|value| value.to_str().ok()).unwrap_or_default();
        for name in asked.split(',').map(|name| name.trim().to_ascii_lowercase()) {
            if name.starts_with(SDK_PREFIX) && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                allowed.push_str(", ");
                allowed.push_str(&name);
            }
        }
        Ok(HttpResponse::NoContent()
            .insert_header((ACCESS_CONTROL_ALLOW_METHODS, allow))
            .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, allowed))
            .insert_header((ACCESS_CONTROL_MAX_AGE, 600))
            .finish())
    }

    /// Lets the page read the answer.
    pub(super) fn write(&self, verdict: Verdict, headers: &mut HeaderMap) {
        if let Verdict::Allowed(origin) = verdict {
            let exposed = if self.dpop { EXPOSED_WITH_DPOP } else { EXPOSED_HEADERS };
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(exposed));
        }
    }
}
