//! `/v1/sessions`: the caller's own sessions, never another user's.

use std::sync::Arc;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};

use super::wire::{Session, Sessions};
use super::{Worker, ask};
use crate::authenticate::Principal;
use crate::domain::ids::SessionId;
use crate::issue::refusal::{Code, Refusal};

pub(super) async fn list(request: HttpRequest, worker: Data<Worker>) -> Result<HttpResponse, Refusal> {
    let caller = caller(&request, &worker).await?;
    let sessions: Vec<Session> = worker.issuer.stages.bindings.of(caller.user()).iter().map(Session::from).collect();
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(Sessions::from(sessions)))
}

pub(super) async fn show(request: HttpRequest, worker: Data<Worker>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let caller = caller(&request, &worker).await?;
    let binding =
        SessionId::parse(&id).and_then(|id| worker.issuer.stages.bindings.own(caller.user(), id)).ok_or_else(unknown)?;
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(Session::from(&binding)))
}

pub(super) async fn end(request: HttpRequest, worker: Data<Worker>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let caller = caller(&request, &worker).await?;
    let stages = &worker.issuer.stages;
    let binding = SessionId::parse(&id).and_then(|id| stages.bindings.end(caller.user(), id)).ok_or_else(unknown)?;
    stages.admission.release(caller.user(), binding.profile(), binding.network(), binding.session());
    Ok(HttpResponse::NoContent().insert_header((CACHE_CONTROL, "no-store")).finish())
}

async fn caller(request: &HttpRequest, worker: &Worker) -> Result<Arc<Principal>, Refusal> {
    worker.edge.origins().check(request.headers())?;
    ask::takes_json(request.headers())?;
    Ok(worker.issuer.stages.authenticator.authenticate(&ask::presented(request, worker)?).await?)
}

fn unknown() -> Refusal {
    Refusal::new(Code::NotFound, "You have no such session; it may have expired.")
}
