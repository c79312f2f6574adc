//! `POST /v1/live/sessions` and `POST /v1/live/sessions/{id}/hangup`: sessions of the Live API, which has no client secrets.

use actix_web::web::{Bytes, Data, Path};
use actix_web::{Error, HttpRequest, HttpResponse};
use serde_json::json;

use super::super::call::Talk;
use super::super::conversation::{Live, Transport};
use super::super::refused::Refused;
use super::super::session::{Kind, Session};
use super::super::shape::{Record, Shape};
use super::calls::Called;
use super::{MOST_SDP, Upstream, act, json, new_id, scenario, too_many_calls, whole};

const REQUEST: Record = Record {
    required: &["session", "transport"],
    fields: &[
        ("session", Shape::Map),
        ("transport", Shape::Tagged(&[("webrtc", &Record { required: &["sdp"], fields: &[("sdp", Shape::Text(MOST_SDP))] })])),
    ],
};

pub(super) async fn create(
    request: HttpRequest,
    body: Result<Bytes, Error>,
    upstream: Data<Upstream>,
) -> Result<HttpResponse, Refused> {
    upstream.server(&request)?;
    let scenario = scenario(&request)?.unwrap_or_default();
    act(scenario).await?;
    let asked = json(&whole(body)?)?;
    Shape::Record(&REQUEST).check(&asked, "")?;
    let session = Session::untyped(Kind::Live, &asked["session"])?;
    let offer = asked["transport"]["sdp"].as_str().unwrap_or_default();
    let place = upstream.calls.place(new_id("live_")?).ok_or_else(too_many_calls)?;
    let (answer, leg) = upstream.answer(offer, None).await?;
    let id = place.id().to_owned();
    let settings = upstream.settings(session, id.clone(), Transport::WebRtc, scenario);
    let talk = Live::new(settings, upstream.clock.steady());
    upstream.begin(Talk::Live(Box::new(talk)), leg, place);
    Ok(HttpResponse::Created().json(json!({"session": {"id": id}, "transport": {"type": "webrtc", "sdp": answer}})))
}

pub(super) async fn hang_up(request: HttpRequest, id: Path<Called>, upstream: Data<Upstream>) -> Result<HttpResponse, Refused> {
    upstream.server(&request)?;
    upstream.hang_up(&id.id).await?;
    Ok(HttpResponse::Ok().finish())
}
