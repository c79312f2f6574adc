//! `POST /v1/realtime/client_secrets` and its sister for translations.

use actix_web::web::{Bytes, Data};
use actix_web::{Error, HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::super::refused::Refused;
use super::super::session::{Kind, Session};
use super::super::shape::{Fault, Record, Shape};
use super::super::vault::Grant;
use super::{Upstream, act, in_seconds, json, new_id, refuse_beta, scenario, whole};

const DEFAULT_SECONDS: u64 = 600;

const REQUEST: Record = Record {
    required: &[],
    fields: &[
        (
            "expires_after",
            Shape::Either(&[
                Shape::Null,
                Shape::Record(&Record {
                    required: &[],
                    fields: &[("anchor", Shape::Word(&["created_at"])), ("seconds", Shape::Integer(10, 7200))],
                }),
            ]),
        ),
        ("session", Shape::Either(&[Shape::Null, Shape::Map])),
    ],
};

pub(super) async fn realtime(
    request: HttpRequest,
    body: Result<Bytes, Error>,
    upstream: Data<Upstream>,
) -> Result<HttpResponse, Refused> {
    mint(&request, body, &upstream, |session| match session {
        Value::Null => Session::parse(&json!({"type": "realtime"})),
        session => Session::parse(session),
    })
    .await
}

pub(super) async fn translation(
    request: HttpRequest,
    body: Result<Bytes, Error>,
    upstream: Data<Upstream>,
) -> Result<HttpResponse, Refused> {
    mint(&request, body, &upstream, |session| match session {
        Value::Null => Err(Fault::missing("session")),
        session => Session::untyped(Kind::Translation, session),
    })
    .await
}

async fn mint(
    request: &HttpRequest,
    body: Result<Bytes, Error>,
    upstream: &Upstream,
    parse: impl FnOnce(&Value) -> Result<Session, Fault>,
) -> Result<HttpResponse, Refused> {
    refuse_beta(request)?;
    upstream.server(request)?;
    let scenario = scenario(request)?.unwrap_or_default();
    act(scenario).await?;
    let asked = json(&whole(body)?)?;
    if asked.get("type").is_some() {
        return Err(Fault::unknown("type").into());
    }
    Shape::Record(&REQUEST).check(&asked, "")?;
    let seconds = asked["expires_after"]["seconds"].as_u64().unwrap_or(DEFAULT_SECONDS);
    let session = parse(&asked["session"])?;
    let (secret, expires_at) = (new_id("ek_")?, in_seconds(&upstream.clock, seconds));
    let shown = session.shown(&new_id("sess_")?, 0);
    upstream.vault.keep(&secret, Grant { session, scenario, expires_at });
    Ok(HttpResponse::Ok().json(json!({"value": secret, "expires_at": expires_at, "session": shown})))
}
