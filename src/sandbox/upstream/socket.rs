//! WebSockets: sessions (`GET /v1/realtime?model=`), and sidebands of calls (`?call_id=`, `/v1/live/sessions/{id}/attach`).

use std::time::Duration;

use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse, rt};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, CloseReason, ProtocolError, Session as Socket};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};

use super::super::call::Order;
use super::super::conversation::Transport;
use super::super::media::{FromPeer, Leg, ToPeer};
use super::super::refused::Refused;
use super::super::session::Session;
use super::calls::{Called, no_such_call, takes_calls};
use super::frames::bounded;
use super::{Caller, Upstream, act, beta_disabled, is_beta, new_id, query, scenario, too_many_calls};

/// Longest message, whole or in pieces: the real API's bound of 15 MiB of audio, and something around it.
const MOST_MESSAGE: usize = 16 * 1024 * 1024;
/// Messages that wait in one direction.
const MOST_WAITING: usize = 64;
const PING: Duration = Duration::from_secs(20);
/// A client that says nothing, not even a pong, for so long has gone.
const IDLE: Duration = Duration::from_mins(1);
/// What the real API closes with when it is spoken to in the beta's language.
const BETA_CLOSED: u16 = 4000;

pub(super) async fn open(request: HttpRequest, payload: Payload, upstream: Data<Upstream>) -> Result<HttpResponse, Refused> {
    if is_beta(&request) {
        return farewell(&request, payload).await;
    }
    if let Some(id) = query(&request, "call_id") {
        return sideband(&request, payload, &upstream, &id).await;
    }
    let caller = upstream.caller(&request)?;
    let named = scenario(&request)?;
    let (session, scenario) = match caller {
        Caller::Client(grant) => (grant.session, named.unwrap_or(grant.scenario)),
        Caller::Server => (asked(&request)?, named.unwrap_or_default()),
    };
    takes_calls(&session)?;
    act(scenario).await?;
    let place = upstream.calls.place(new_id("ws_")?).ok_or_else(too_many_calls)?;
    let talk = upstream.converse(session, Transport::WebSocket, scenario)?;
    let (answer, socket, messages) = upgrade(&request, payload).await?;
    let (to_peer, outgoing) = mpsc::channel(MOST_WAITING);
    let (incoming, from_peer) = mpsc::channel(MOST_WAITING);
    upstream.begin(talk, Leg { to_peer, from_peer }, place);
    rt::spawn(async move {
        tokio::select! {
            () = listen(messages, socket.clone(), async |text| incoming.send(FromPeer::Text(text)).await.is_ok()) => {}
            () = speak(outgoing, socket) => {}
        }
    });
    Ok(answer)
}

pub(super) async fn attach(
    request: HttpRequest,
    id: Path<Called>,
    payload: Payload,
    upstream: Data<Upstream>,
) -> Result<HttpResponse, Refused> {
    sideband(&request, payload, &upstream, &id.id).await
}

async fn sideband(request: &HttpRequest, payload: Payload, upstream: &Upstream, id: &str) -> Result<HttpResponse, Refused> {
    upstream.server(request)?;
    let call = upstream.calls.find(id).ok_or_else(no_such_call)?;
    let (answer, socket, messages) = upgrade(request, payload).await?;
    let (events, heard) = mpsc::channel(MOST_WAITING);
    rt::spawn(async move {
        if call.send(Order::Join(events)).await.is_ok() {
            tokio::select! {
                () = listen(messages, socket.clone(), async |text| call.send(Order::Say(text)).await.is_ok()) => {}
                () = repeat(heard, socket) => {}
            }
        }
    });
    Ok(answer)
}

/// The session of a server that opens it with its own key.
fn asked(request: &HttpRequest) -> Result<Session, Refused> {
    if query(request, "intent").is_some_and(|intent| intent == "transcription") {
        return Ok(Session::parse(&json!({"type": "transcription"}))?);
    }
    match query(request, "model").filter(|model| !model.is_empty()) {
        Some(model) => Ok(Session::parse(&json!({"type": "realtime", "model": model}))?),
        None => Err(Refused::new(StatusCode::BAD_REQUEST, "missing_model", "You must provide a model parameter.").about("model")),
    }
}

async fn upgrade(request: &HttpRequest, payload: Payload) -> Result<(HttpResponse, Socket, AggregatedMessageStream), Refused> {
    let unreadable = |_| Refused::new(StatusCode::BAD_REQUEST, "invalid_body", "The request's body could not be read.");
    let payload = bounded(request, payload, MOST_MESSAGE as u64).await.map_err(unreadable)?;
    let upgraded = actix_ws::handle_with_protocols(request, payload, &["realtime"]);
    let (answer, socket, messages) = upgraded.map_err(|_| {
        Refused::new(StatusCode::BAD_REQUEST, "websocket_required", "This is a WebSocket endpoint: open it with ws://.")
    })?;
    let messages = messages.max_frame_size(MOST_MESSAGE).aggregate_continuations().max_continuation_size(MOST_MESSAGE);
    Ok((answer, socket, messages))
}

/// Hears the client until it has gone. `take` answers false when nobody listens any more.
async fn listen(mut messages: AggregatedMessageStream, mut socket: Socket, take: impl AsyncFn(String) -> bool) {
    loop {
        let text = match timeout(IDLE, messages.recv()).await {
            Err(_) | Ok(None) => return,
            Ok(Some(Ok(AggregatedMessage::Text(text)))) => text.to_string(),
            // The events of this API are text. What is not is answered like any other event that cannot be read.
            Ok(Some(Ok(AggregatedMessage::Binary(_)))) => String::new(),
            Ok(Some(Ok(AggregatedMessage::Ping(payload)))) => {
                if socket.pong(&payload).await.is_err() {
                    return;
                }
                continue;
            }
            Ok(Some(Ok(AggregatedMessage::Pong(_)))) => continue,
            Ok(Some(Ok(AggregatedMessage::Close(_)))) => {
                let _ = socket.close(Some(CloseCode::Normal.into())).await;
                return;
            }
            Ok(Some(Err(error))) => {
                let code = if is_too_long(&error) { CloseCode::Size } else { CloseCode::Protocol };
                let _ = socket.close(Some(code.into())).await;
                return;
            }
        };
        if !take(text).await {
            return;
        }
    }
}

/// Whether a frame, or all pieces of a message, are too long.
fn is_too_long(error: &ProtocolError) -> bool {
    match error {
        ProtocolError::Overflow => true,
        ProtocolError::Io(cause) => cause.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<PayloadError>),
        _ => false,
    }
}

/// Tells the client of a session what the session says.
async fn speak(mut outgoing: mpsc::Receiver<ToPeer>, mut socket: Socket) {
    let mut pings = interval(PING);
    loop {
        let said = tokio::select! {
            said = outgoing.recv() => said,
            _ = pings.tick() => match socket.ping(b"").await {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        match said {
            Some(ToPeer::Text(text)) => {
                if socket.text(text).await.is_err() {
                    return;
                }
            }
            // Speech of a session over WebSocket is in its events.
            Some(ToPeer::Play(_) | ToPeer::Stop) => {}
            Some(ToPeer::Close) => {
                let _ = socket.close(Some(CloseCode::Normal.into())).await;
                return;
            }
            // Without a goodbye.
            Some(ToPeer::Vanish) | None => return,
        }
    }
}

/// Tells a sideband what the call's client is told.
async fn repeat(mut heard: mpsc::Receiver<String>, mut socket: Socket) {
    let mut pings = interval(PING);
    loop {
        tokio::select! {
            text = heard.recv() => {
                let Some(text) = text else {
                    let _ = socket.close(Some(CloseCode::Normal.into())).await;
                    return;
                };
                if socket.text(text).await.is_err() {
                    return;
                }
            }
            _ = pings.tick() => {
                if socket.ping(b"").await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The beta's clients are told so, and closed.
async fn farewell(request: &HttpRequest, payload: Payload) -> Result<HttpResponse, Refused> {
    let (answer, mut socket, _) = upgrade(request, payload).await.map_err(|_| beta_disabled())?;
    rt::spawn(async move {
        let error = json!({
            "type": "invalid_request_error", "code": "beta_api_shape_disabled", "message": beta_disabled().to_string(), "param": null,
            "event_id": null,
        });
        let _ = socket.text(json!({"type": "error", "event_id": "event_beta", "error": error}).to_string()).await;
        let reason = CloseReason { code: CloseCode::Other(BETA_CLOSED), description: Some("beta_api_shape_disabled".into()) };
        let _ = socket.close(Some(reason)).await;
    });
    Ok(answer)
}
