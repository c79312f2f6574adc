//! `POST /v1/realtime/client_secrets` and its sister for translations.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::wire::{ClientSecret, rate_limit};
use super::{Worker, ask, wire};
use crate::authorize::Door;
use crate::issue::refusal::{Code, Refusal};

pub(super) async fn realtime(request: HttpRequest, payload: Payload, worker: Data<Worker>) -> Result<HttpResponse, Refusal> {
    mint(&request, payload, &worker, Door::Realtime).await
}

pub(super) async fn translation(request: HttpRequest, payload: Payload, worker: Data<Worker>) -> Result<HttpResponse, Refusal> {
    mint(&request, payload, &worker, Door::Translation).await
}

async fn mint(request: &HttpRequest, payload: Payload, worker: &Worker, door: Door) -> Result<HttpResponse, Refusal> {
    let headers = request.headers();
    let call = ask::call(request, door).ok_or_else(|| Refusal::new(Code::Internal, "The request was not set up."))?;
    if let Err(refusal) = worker.edge.origins().check(headers).and_then(|()| ask::takes_json(headers)) {
        return Err(worker.issuer.refused(&call, None, refusal).await);
    }
    let profile = call.profile.clone();
    let body = ask::wish(request, payload, &profile, door);
    let issued = worker.issuer.issue(call, ask::presented(request, worker), body).await?;
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "no-store")).insert_header((CONTENT_TYPE, "application/json"));
    rate_limit(&mut response, issued.standing);
    let answer =
        wire::json(&ClientSecret::from(&issued)).map_err(|_| Refusal::new(Code::Internal, "The answer could not be written."))?;
    Ok(response.body(answer))
}
