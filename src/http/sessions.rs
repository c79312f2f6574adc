//! `/v1/sessions`: the caller's own sessions, never another user's.

use std::sync::Arc;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::edge::request_id;
use super::wire::{Session, Sessions};
use super::{Worker, ask};
use crate::authenticate::Principal;
use crate::domain::ids::SessionId;
use crate::issue::refusal::Refusal;
use crate::issue::unknown_session;

pub(super) async fn list(request: HttpRequest, worker: Data<Worker>) -> Result<HttpResponse, Refusal> {
    let caller = caller(&request, &worker).await?;
    let stages = &worker.issuer.stages;
    let now = stages.clock.unix();
    let sessions: Vec<Session> = stages.bindings.of(caller.user()).await?.iter().map(|it| Session::of(it, now)).collect();
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(Sessions::from(sessions)))
}

pub(super) async fn show(request: HttpRequest, worker: Data<Worker>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let caller = caller(&request, &worker).await?;
    let stages = &worker.issuer.stages;
    let binding = stages.bindings.own(caller.user(), session(&id)?).await?.ok_or_else(unknown_session)?;
    let session = Session::of(&binding, stages.clock.unix());
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(session))
}

pub(super) async fn end(request: HttpRequest, worker: Data<Worker>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let caller = caller(&request, &worker).await?;
    let (stages, name, session) = (worker.issuer.stages.clone(), request_id(&request), session(&id)?);
    // Also when the caller is gone: half of an end leaves a call that nobody hangs up.
    let ended = Box::pin(async move { stages.end(&name, &caller, session).await });
    worker.issuer.stages.tasks.finish(ended).await??;
    Ok(done())
}

pub(super) async fn report(
    request: HttpRequest,
    payload: Payload,
    worker: Data<Worker>,
    id: Path<String>,
) -> Result<HttpResponse, Refusal> {
    let caller = caller(&request, &worker).await?;
    let call = ask::call_id(&request, payload).await?;
    let (stages, name, session) = (worker.issuer.stages.clone(), request_id(&request), session(&id)?);
    let reported = Box::pin(async move { stages.report(&name, &caller, session, &call).await });
    worker.issuer.stages.tasks.finish(reported).await??;
    Ok(done())
}

async fn caller(request: &HttpRequest, worker: &Worker) -> Result<Arc<Principal>, Refusal> {
    worker.edge.origins().check(request.headers())?;
    ask::takes_json(request.headers())?;
    Ok(worker.issuer.stages.authenticator.authenticate(&ask::presented(request, worker)?).await?)
}

fn session(id: &str) -> Result<SessionId, Refusal> {
    SessionId::parse(id).ok_or_else(unknown_session)
}

fn done() -> HttpResponse {
    HttpResponse::NoContent().insert_header((CACHE_CONTROL, "no-store")).finish()
}
