//! Refusals on the wire: problem details (RFC 9457) with `OpenAI`'s own `error` object beside them, so that the official SDKs show the message.

use std::borrow::Cow;
use std::fmt;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use super::wire;
use crate::authenticate::{Fault, Offer};
use crate::issue::refusal::{Code, Refusal, Row};

/// The body of every refusal.
#[derive(Serialize, ToSchema)]
pub(crate) struct Problem<'a> {
    /// Where the code is explained.
    #[serde(rename = "type")]
    kind: String,
    /// The same for every refusal with this code.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// A sentence that says what to do.
    detail: &'a str,
    /// A stable name.
    code: &'a str,
    /// As in the `X-Request-ID` header.
    request_id: &'a str,
    /// With `interaction_required`: what to ask for at sign-in, a claims request in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<&'a str>,
    error: OpenAiError<'a>,
}

/// `OpenAI`'s `Error` schema.
#[derive(Serialize, ToSchema)]
struct OpenAiError<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    code: &'a str,
    /// A JSON pointer, a header or a parameter, where the refusal is about one.
    param: Option<&'a str>,
}

/// The kinds that `OpenAI`'s SDKs know.
fn openai_kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

/// The answer to a refused request.
pub(super) fn answer(refusal: &Refusal, request_id: &str, docs_url: &str, dpop: Option<&Offer>) -> HttpResponse {
    let Row { status, name: code, title, .. } = refusal.code.row();
    let detail = &*refusal.detail;
    let problem = Problem {
        kind: format!("{docs_url}#{code}"),
        title,
        status,
        detail,
        code,
        request_id,
        claims: refusal.claims.as_deref(),
        error: OpenAiError { message: detail, kind: openai_kind(status), code, param: refusal.param.as_deref() },
    };
    let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    response.insert_header((CONTENT_TYPE, "application/problem+json")).insert_header((CACHE_CONTROL, "no-store"));
    if let Some(seconds) = refusal.retry_after {
        response.insert_header((RETRY_AFTER, seconds));
    }
    if let Some(allow) = refusal.allow {
        response.insert_header((ALLOW, allow));
    }
    if let Some(challenge) = challenge(refusal, dpop) {
        response.insert_header((WWW_AUTHENTICATE, &*challenge));
    }
    if is_final(refusal.code) {
        response.insert_header(("x-should-retry", "false"));
    }
    if let Some(limit) = &refusal.limit {
        wire::rate_limit(&mut response, limit.1);
    }
    response.body(serde_json::to_vec(&problem).unwrap_or_default())
}

/// OpenAI's SDKs try every 409, 429 and 5xx again by themselves unless this header says not to. Where only a person can help, it does.
fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::IdempotencyConflict
            | Code::ConcurrencyLimited
            | Code::QuotaExhausted
            | Code::UpstreamAuthFailed
            | Code::UpstreamPermissionDenied
            | Code::UpstreamRejected
            | Code::UpstreamMalformed
            | Code::UpstreamBilling
    )
}

/// RFC 6750, section 3; RFC 9449, section 7.1.
fn challenge(refusal: &Refusal, dpop: Option<&Offer>) -> Option<Cow<'static, str>> {
    let error = match refusal.code {
        Code::MissingCredentials => {
            let offered = dpop.map(|offer| format!(r#"Bearer, DPoP algs="{}""#, offer.algorithms).into());
            return Some(offered.unwrap_or("Bearer".into()));
        }
        // As Microsoft's libraries look for it ("Claims challenges, claims requests and client capabilities").
        Code::InteractionRequired if refusal.claims.is_some() => {
            let claims = refusal.claims.as_deref().unwrap_or_default();
            return Some(format!(r#"Bearer error="insufficient_claims", claims="{claims}""#).into());
        }
        Code::InvalidToken | Code::TokenExpired | Code::InteractionRequired => "invalid_token",
        Code::InsufficientScope => "insufficient_scope",
        _ => return None,
    };
    let bearer = format!(r#"Bearer error="{error}""#);
    let Some(challenge) = &refusal.challenge else { return Some(bearer.into()) };
    let error = match challenge.fault {
        Fault::Token => error,
        Fault::Proof => "invalid_dpop_proof",
        Fault::Nonce => "use_dpop_nonce",
    };
    let dpop = format!(r#"DPoP error="{error}", algs="{}""#, challenge.algorithms);
    Some(if challenge.or_bearer { format!("{bearer}, {dpop}") } else { dpop }.into())
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.row().name)
    }
}

/// Handlers refuse with `?`; `edge` turns the refusal into its answer, because only there are request id and origin at hand.
impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.code.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        HttpResponse::new(self.status_code())
    }
}
