//! `POST /v1/realtime/calls` and `POST /v1/realtime/calls/{id}/hangup`.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, LOCATION};
use actix_web::rt;
use actix_web::web::{Bytes, Data, Path};
use actix_web::{Error, HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::super::call::{Call, Order, Place, Talk};
use super::super::conversation::{Conversation, Settings, Transport};
use super::super::media::{Leg, Rejected};
use super::super::refused::Refused;
use super::super::scenario::Scenario;
use super::super::session::{Kind, Session};
use super::multipart::{self, Form};
use super::{Caller, Upstream, act, new_id, query, refuse_beta, scenario, too_many_calls, whole};

/// Largest id of an SCTP stream.
const MOST_DCID: u16 = 65534;

pub(super) async fn create(
    request: HttpRequest,
    body: Result<Bytes, Error>,
    upstream: Data<Upstream>,
) -> Result<HttpResponse, Refused> {
    refuse_beta(&request)?;
    let caller = upstream.caller(&request)?;
    let body = whole(body)?;
    let named = scenario(&request)?;
    let (offer, session, scenario) = match caller {
        Caller::Client(grant) => {
            let scenario = named.unwrap_or(grant.scenario);
            act(scenario).await?;
            (sdp(&request, &body)?, grant.session, scenario)
        }
        Caller::Server => {
            let scenario = named.unwrap_or_default();
            act(scenario).await?;
            let (offer, session) = unified(&request, &body)?;
            (offer, session, scenario)
        }
    };
    takes_calls(&session)?;
    let place = upstream.calls.place(new_id("rtc_")?).ok_or_else(too_many_calls)?;
    let (answer, leg) = upstream.answer(&offer, dcid(&request)?).await?;
    let location = format!("/v1/realtime/calls/{}", place.id());
    let talk = upstream.converse(session, Transport::WebRtc, scenario)?;
    upstream.begin(talk, leg, place);
    Ok(HttpResponse::Created().insert_header((LOCATION, location)).insert_header((CONTENT_TYPE, "application/sdp")).body(answer))
}

pub(super) async fn hang_up(request: HttpRequest, id: Path<Called>, upstream: Data<Upstream>) -> Result<HttpResponse, Refused> {
    refuse_beta(&request)?;
    upstream.server(&request)?;
    upstream.hang_up(&id.id).await?;
    Ok(HttpResponse::Ok().finish())
}

/// The call that a path names.
#[derive(serde::Deserialize)]
pub(super) struct Called {
    pub(super) id: String,
}

impl Upstream {
    pub(super) async fn hang_up(&self, id: &str) -> Result<(), Refused> {
        let call = self.calls.find(id).ok_or_else(no_such_call)?;
        // One that has just ended is what was asked for.
        let _ = call.send(Order::HangUp).await;
        Ok(())
    }

    pub(super) async fn answer(&self, offer: &str, dcid: Option<u16>) -> Result<(String, Leg), Refused> {
        let answered = self.media.answer(offer, dcid).await;
        answered.map_err(|rejected| match rejected {
            Rejected::Full => too_many_calls(),
            rejected @ Rejected::Offer(_) => {
                Refused::new(StatusCode::BAD_REQUEST, "invalid_offer", rejected.to_string()).about("sdp")
            }
            rejected @ Rejected::Broken => Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", rejected.to_string()),
        })
    }

    pub(super) fn converse(&self, session: Session, transport: Transport, scenario: Scenario) -> Result<Talk, Refused> {
        let settings = self.settings(session, new_id("sess_")?, transport, scenario);
        Ok(Talk::Realtime(Box::new(Conversation::new(settings, self.clock.steady()))))
    }

    /// For a session that begins now.
    pub(super) fn settings(&self, session: Session, session_id: String, transport: Transport, scenario: Scenario) -> Settings {
        Settings { session, session_id, transport, scenario, seed: fastrand::u64(..), unix: self.clock.unix() }
    }

    /// Runs the call on the runtime of the HTTP thread until it ends.
    pub(super) fn begin(&self, talk: Talk, leg: Leg, place: Place) {
        let call = Call { talk, leg, place, clock: self.clock.clone(), sidebands: Vec::new() };
        rt::spawn(call.run());
    }
}

pub(super) fn no_such_call() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "call_not_found", "No call with this id is going on.").about("call_id")
}

/// Translations are minted and not spoken.
pub(super) fn takes_calls(session: &Session) -> Result<(), Refused> {
    match session.kind {
        Kind::Realtime | Kind::Transcription => Ok(()),
        Kind::Translation | Kind::Live => {
            let message = "The sandbox mints client secrets for translations and does not simulate translation sessions.";
            Err(Refused::new(StatusCode::BAD_REQUEST, "not_simulated", message))
        }
    }
}

fn content_type(request: &HttpRequest) -> &str {
    request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default()
}

/// A raw offer.
fn sdp(request: &HttpRequest, body: &[u8]) -> Result<String, Refused> {
    let kind = content_type(request).to_ascii_lowercase();
    if kind.starts_with("multipart/form-data") {
        let message = "A client secret holds its session already: send the SDP offer alone, as application/sdp.";
        return Err(Refused::new(StatusCode::BAD_REQUEST, "invalid_request", message));
    }
    if !kind.starts_with("application/sdp") {
        let message =
            "Unsupported content type. Send an SDP offer as application/sdp, or multipart/form-data with sdp and session.";
        return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_type", message));
    }
    let offer = std::str::from_utf8(body).ok().filter(|offer| !offer.trim().is_empty());
    offer.map(str::to_owned).ok_or_else(|| {
        Refused::new(StatusCode::BAD_REQUEST, "invalid_offer", "The SDP offer is empty or not UTF-8.").about("sdp")
    })
}

/// A server's request: an offer alone, or with the session.
fn unified(request: &HttpRequest, body: &[u8]) -> Result<(String, Session), Refused> {
    if !content_type(request).to_ascii_lowercase().starts_with("multipart/form-data") {
        let mut asked = json!({"type": "realtime"});
        if let Some(model) = query(request, "model") {
            asked["model"] = json!(model);
        }
        return Ok((sdp(request, body)?, Session::parse(&asked)?));
    }
    let Form { sdp, session } = multipart::parse(content_type(request), body)?;
    let session = if session == Value::Null { json!({"type": "realtime"}) } else { session };
    Ok((sdp, Session::parse(&session)?))
}

/// The data channel that both sides know of beforehand.
fn dcid(request: &HttpRequest) -> Result<Option<u16>, Refused> {
    let Some(text) = query(request, "dcid") else { return Ok(None) };
    text.parse().ok().filter(|id| *id <= MOST_DCID).map(Some).ok_or_else(|| {
        let message = format!("Invalid 'dcid': expected an integer from 0 to {MOST_DCID}.");
        Refused::new(StatusCode::BAD_REQUEST, "invalid_value", message).about("dcid")
    })
}
