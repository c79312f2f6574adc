//! Reading a mint request: headers, query, body. Bounded in size, depth and time.

use std::time::Duration;

use actix_web::http::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap};
use actix_web::web::Payload;
use actix_web::{HttpMessage, HttpRequest};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde_json::{Map, Value};
use tokio::time::timeout;
use url::form_urlencoded;

use super::edge::{Arrival, DPOP, IDEMPOTENCY_KEY, USER};
use super::{Worker, auth};
use crate::admit::IdempotencyKey;
use crate::authenticate::{Possession, Presented, Target};
use crate::authorize::Door;
use crate::config::DEFAULT_PROFILE;
use crate::domain::ask::{Ask, pointer};
use crate::domain::ids::CallId;
use crate::domain::json::parse_strict;
use crate::domain::secret::{Credential, Sha256};
use crate::domain::trace::Trace;
use crate::issue::refusal::{Code, Refusal};
use crate::issue::token::{Call, Wish};

const MAX_BODY: usize = 16 * 1024;
const BODY_DEADLINE: Duration = Duration::from_secs(5);
/// Characters of a proof. Turnstile's has at most 2048; others' are longer.
const MAX_PROOF: usize = 8 * 1024;
const MAX_PROFILE_NAME: usize = 64;

/// What is known of a mint before its body is read.
pub(super) fn call(request: &HttpRequest, door: Door) -> Option<Call> {
    let arrival = request.extensions().get::<Arrival>().cloned()?;
    Some(Call {
        request_id: arrival.request_id,
        trace: trace(request.headers()),
        arrived: arrival.at,
        door,
        profile: profile(request.query_string()),
    })
}

/// The trace that the caller is part of.
pub(super) fn trace(headers: &HeaderMap) -> Option<Trace> {
    headers.get("traceparent").and_then(|header| Trace::from_parent(header.to_str().ok()?))
}

/// The profile that is asked for. Asked for twice, or under a name that none can have, it is one that does not exist.
fn profile(query: &str) -> Box<str> {
    let mut asked = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "profile").map(|(_, name)| name);
    match (asked.next(), asked.next()) {
        (None, _) => DEFAULT_PROFILE.into(),
        (Some(name), None) if name.len() <= MAX_PROFILE_NAME => name.into(),
        _ => "".into(),
    }
}

/// How a token is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Bearer,
    Dpop,
}

/// What the caller presents to prove who they are: a token, or else the cookie of a browser that signed in.
pub(super) fn presented(request: &HttpRequest, worker: &Worker) -> Result<Presented, Refusal> {
    if let Some(session) = auth::session(request, worker)? {
        return Ok(session);
    }
    let (scheme, credential) = credential(request.headers())?;
    let possession = match scheme {
        Scheme::Bearer => None,
        Scheme::Dpop => Some(Box::new(possession(request))),
    };
    let acts_for = request.headers().get(USER).map(|user| user.as_bytes().into());
    let stages = &worker.issuer.stages;
    let asked = stages.authenticator.guests().is_some() || stages.admission.counts_addresses();
    let from = asked.then(|| worker.proxies.client(request));
    Ok(Presented { credential, acts_for, possession, from, session: None })
}

/// The bearer token (RFC 6750, section 2.1).
pub(super) fn bearer(headers: &HeaderMap) -> Result<Credential, Refusal> {
    match credential(headers)? {
        (Scheme::Bearer, token) => Ok(token),
        (Scheme::Dpop, _) => Err(missing()),
    }
}

/// A bearer token, or one that comes with a proof (RFC 9449, section 7.1). Nothing else of a request without a session is a
/// credential: no query, no form.
fn credential(headers: &HeaderMap) -> Result<(Scheme, Credential), Refusal> {
    let value = headers.get(AUTHORIZATION).ok_or_else(missing)?;
    // A header value holds no control characters but the tab, so ASCII is all that is left to ask for. (`to_str` asks byte by byte,
    // and a token has a thousand of them.)
    let text = std::str::from_utf8(value.as_bytes())
        .ok()
        .filter(|text| text.is_ascii())
        .ok_or_else(|| Refusal::new(Code::InvalidToken, "The Authorization header holds characters that no token has."))?;
    let (scheme, token) = text.trim().split_once(' ').ok_or_else(missing)?;
    let token = token.trim_start();
    let scheme = match scheme {
        bearer if bearer.eq_ignore_ascii_case("bearer") => Scheme::Bearer,
        dpop if dpop.eq_ignore_ascii_case("dpop") => Scheme::Dpop,
        _ => return Err(missing()),
    };
    if token.is_empty() { Err(missing()) } else { Ok((scheme, Credential::from(token))) }
}

fn missing() -> Refusal {
    Refusal::new(Code::MissingCredentials, "Send the user's access token as Authorization: Bearer <token>.")
        .about("Authorization")
}

/// The proof and what it must be for. Nothing that proxies say of the URL is looked at: callers can say it too.
fn possession(request: &HttpRequest) -> Possession {
    let headers = request.headers();
    let proof = headers.get(DPOP).and_then(|proof| Some(Credential::from(proof.to_str().ok()?)));
    // The target of the request comes before the header (RFC 9112, section 3.2.2).
    let authority = request.uri().authority().map(|authority| authority.as_str().into()).or_else(|| {
        let mut hosts = headers.get_all(HOST);
        let host = hosts.next().filter(|_| hosts.next().is_none())?;
        Some(host.to_str().ok()?.into())
    });
    let target = Target { method: request.method().as_str().into(), authority, path: request.uri().path().into() };
    Possession { proof, target }
}

/// What `tests/fuzz` calls: the token of an `Authorization` header with this value.
#[cfg(any(fuzzing, test))]
pub(crate) fn token_in(value: &[u8]) -> Option<Credential> {
    let value = actix_web::http::header::HeaderValue::from_bytes(value).ok()?;
    credential(&[(AUTHORIZATION, value)].into_iter().collect()).ok().map(|(_, token)| token)
}

/// Refuses a caller that takes no JSON.
pub(super) fn takes_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut ranges =
        headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).peekable();
    let takes = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let refused = parts.any(|part| matches!(part.replace(' ', "").as_str(), "q=0" | "q=0." | "q=0.0" | "q=0.00" | "q=0.000"));
        matches!(kind.as_str(), "*/*" | "application/*" | "application/json") && !refused
    };
    if ranges.peek().is_none() || ranges.any(takes) {
        return Ok(());
    }
    Err(Refusal::new(Code::NotAcceptable, "Answers are application/json; accept that or */*.").about("Accept"))
}

/// Reads and parses the body, and the idempotency key that goes with it.
pub(super) async fn wish(request: &HttpRequest, payload: Payload, call_profile: &str, door: Door) -> Result<Wish, Refusal> {
    let key = idempotency_key(request.headers())?;
    let body = body(request.headers(), payload).await?;
    let retry_of = key.map(|key| IdempotencyKey {
        key,
        request: Sha256::of(&[format!("{door:?} {call_profile}\n").as_bytes(), &body].concat()),
    });
    Ok(Wish { ask: Ask::parse(&body)?, retry_of })
}

/// Reads the proof of somebody who wants to be a guest: `{"proof":"…"}`.
pub(super) async fn proof(request: &HttpRequest, payload: Payload) -> Result<Credential, Refusal> {
    let fields = object(request, payload, &["proof"]).await?;
    let proof = fields.get("proof").and_then(Value::as_str);
    let proof = proof.filter(|text| (1..=MAX_PROOF).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()));
    proof.map(Credential::from).ok_or_else(|| {
        let sentence = format!("Send as proof what the widget gave: 1 to {MAX_PROOF} visible ASCII characters.");
        Refusal::new(Code::InvalidJson, sentence).about("/proof")
    })
}

/// Reads the call that a client reports: `{"call_id":"rtc_…"}`.
pub(super) async fn call_id(request: &HttpRequest, payload: Payload) -> Result<CallId, Refusal> {
    let fields = object(request, payload, &["call_id"]).await?;
    fields.get("call_id").and_then(Value::as_str).and_then(CallId::parse).ok_or_else(|| {
        let sentence =
            "Send as call_id the last segment of the Location header that came with the SDP answer: rtc_ and letters, digits, - or _.";
        Refusal::new(Code::InvalidJson, sentence).about("/call_id")
    })
}

/// Reads an object with no other fields than `known`. An empty body is an empty object.
pub(super) async fn object(request: &HttpRequest, payload: Payload, known: &[&str]) -> Result<Map<String, Value>, Refusal> {
    let body = body(request.headers(), payload).await?;
    let list = known.join(", ");
    let parsed = if body.is_empty() { Ok(Value::Object(Map::new())) } else { parse_strict(&body) };
    let parsed = parsed.map_err(|e| Refusal::new(Code::InvalidJson, e.to_string()))?;
    let Value::Object(fields) = parsed else {
        return Err(Refusal::new(Code::InvalidJson, format!("Send an object; its fields are: {list}.")));
    };
    if let Some(other) = fields.keys().find(|name| !known.contains(&name.as_str())) {
        let pointer = pointer(&["", other]);
        let sentence = format!("There is no field {pointer}; the fields are: {list}.");
        return Err(Refusal::new(Code::UnknownField, sentence).about(pointer));
    }
    Ok(fields)
}

async fn body(headers: &HeaderMap, payload: Payload) -> Result<Bytes, Refusal> {
    let body = raw_body(headers, payload, MAX_BODY).await?;
    if !body.is_empty() {
        is_json(headers)?;
    }
    Ok(body)
}

/// The bytes of a body as they were sent, at most so many.
pub(super) async fn raw_body(headers: &HeaderMap, mut payload: Payload, most: usize) -> Result<Bytes, Refusal> {
    timeout(BODY_DEADLINE, read(headers, &mut payload, most))
        .await
        .unwrap_or_else(|_| Err(Refusal::new(Code::RequestTimeout, "Send the whole body within five seconds.")))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<Box<str>>, Refusal> {
    let invalid = || {
        Refusal::new(Code::InvalidIdempotencyKey, "An Idempotency-Key has 1 to 255 visible ASCII characters.")
            .about("Idempotency-Key")
    };
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = value.to_str().map_err(|_| invalid())?;
    let valid = (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    if valid { Ok(Some(key.into())) } else { Err(invalid()) }
}

async fn read(headers: &HeaderMap, payload: &mut Payload, most: usize) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::new(Code::BodyTooLarge, format!("A body has at most {most} bytes."));
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Refusal::new(Code::InvalidJson, "The body broke off."))?;
        if body.len() + chunk.len() > most {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn is_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let refused =
        |sentence: &'static str, header: &'static str| Err(Refusal::new(Code::UnsupportedMediaType, sentence).about(header));
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return refused("Send the body without Content-Encoding.", "Content-Encoding");
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = kind.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    // JSON is UTF-8 (RFC 8259, section 8.1); a charset that says otherwise would be believed by nobody else either.
    let other_charset = |part: &str| {
        part.split_once('=').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("charset") && !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
    };
    if is_json && !parts.any(other_charset) {
        Ok(())
    } else {
        refused("Send the body as Content-Type: application/json, in UTF-8.", "Content-Type")
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

    use super::{Scheme, credential, profile, takes_json};

    fn header(name: &'static str, value: &'static str) -> HeaderMap {
        [(HeaderName::from_static(name), HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn a_bearer_token_and_one_with_a_proof_are_credentials() {
        for (good, wanted) in [
            ("Bearer abc", Scheme::Bearer),
            ("bearer abc", Scheme::Bearer),
            ("BEARER  abc", Scheme::Bearer),
            ("DPoP abc", Scheme::Dpop),
            ("dpop  abc", Scheme::Dpop),
        ] {
            let (scheme, token) = credential(&header("authorization", good)).unwrap();
            assert_eq!((scheme, token.reveal()), (wanted, "abc"), "{good}");
        }
        for bad in ["", "Bearer", "Bearer ", "DPoP", "DPoP ", "Basic abc", "abc", "Bearerabc"] {
            assert!(credential(&header("authorization", bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn json_must_be_acceptable() {
        for good in ["*/*", "application/json", "text/html, application/*;q=0.1", "Application/JSON; charset=utf-8"] {
            assert!(takes_json(&header("accept", good)).is_ok(), "{good}");
        }
        for bad in ["text/html", "application/json;q=0", "application/xml, text/*", "application/json; q=0.0"] {
            assert!(takes_json(&header("accept", bad)).is_err(), "{bad}");
        }
        assert!(takes_json(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn a_profile_is_asked_for_once() {
        assert_eq!(&*profile(""), "default");
        assert_eq!(&*profile("x=1&profile=b%2Dc"), "b-c");
        assert_eq!(&*profile("profile=a&profile=a"), "");
    }
}
