//! `POST /v1/webhooks/openai`: what OpenAI has to say, where it is configured. Whoever signed it needs no other credential.

use actix_web::http::header::{CACHE_CONTROL, HeaderMap};
use actix_web::web::{self, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::edge::{check_origin, request_id};
use super::{MoreRoutes, ask, methods};
use crate::authenticate::Envelope;
use crate::issue::refusal::{Code, Refusal};
use crate::issue::webhook::Receiver;

/// Bytes. Three times what Standard Webhooks advises senders to stay below ("Payload size").
const MOST_BODY: usize = 64 * 1024;

/// These routes, and the one of the webhook where there is one.
pub(crate) fn beside(more: MoreRoutes, receiver: Option<Receiver>) -> MoreRoutes {
    let Some(receiver) = receiver.map(Data::new) else { return more };
    MoreRoutes::new(move |app| {
        app.service(methods("/v1/webhooks/openai", "POST").app_data(receiver.clone()).route(web::post().to(openai)));
        more.add_to(app);
    })
}

async fn openai(request: HttpRequest, payload: Payload, receiver: Data<Receiver>) -> Result<HttpResponse, Refusal> {
    receive(&request, payload, &receiver).await.inspect_err(|refusal| receiver.refused(refusal))?;
    Ok(HttpResponse::NoContent().insert_header((CACHE_CONTROL, "no-store")).finish())
}

async fn receive(request: &HttpRequest, payload: Payload, receiver: &Data<Receiver>) -> Result<(), Refusal> {
    check_origin(request)?;
    let headers = request.headers();
    let envelope = envelope(headers)?;
    // Whatever type it claims to be: the signature is of these bytes.
    let body = ask::raw_body(headers, payload, MOST_BODY).await?;
    receiver.receive(request_id(request), &envelope, &body).await
}

/// One that lacks something is as good as one with a wrong signature.
fn envelope(headers: &HeaderMap) -> Result<Envelope<'_>, Refusal> {
    let sent = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| (name, headers.get(name)));
    for (name, _) in sent {
        if headers.get_all(name).nth(1).is_some() {
            return Err(Refusal::new(Code::DuplicateHeader, format!("Send {name} once.")).about(name));
        }
    }
    if sent.iter().all(|(_, value)| value.is_none()) {
        let sentence = "Sign the delivery: webhook-id, webhook-timestamp and webhook-signature, as Standard Webhooks has them.";
        return Err(Refusal::new(Code::MissingCredentials, sentence).about("webhook-signature"));
    }
    let [id, timestamp, signatures] = sent.map(|(_, value)| value.map_or(&b""[..], |value| value.as_bytes()));
    Ok(Envelope { id, timestamp, signatures })
}
