//! `/livez` and `/readyz`: a word, and nothing that helps a stranger.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Data;

use super::edge::Edge;
use crate::issue::token::Stages;

/// What readiness depends on.
pub(crate) struct Health {
    pub(crate) stages: Arc<Stages>,
    pub(crate) edge: Arc<Edge>,
}

pub(super) async fn livez() -> HttpResponse {
    answer(true)
}

/// Ready when every issuer's keys are there, the store takes what it is given, blocks are known, and no shutdown has begun.
pub(super) async fn readyz(health: Data<Health>) -> HttpResponse {
    let stages = &health.stages;
    let well = stages.authenticator.is_ready() && stages.store.is_well() && stages.blocks.are_known();
    answer(well && !health.edge.is_draining())
}

fn answer(well: bool) -> HttpResponse {
    let (mut response, status) =
        if well { (HttpResponse::Ok(), "ok") } else { (HttpResponse::ServiceUnavailable(), "unavailable") };
    response.insert_header((CACHE_CONTROL, "no-store")).json(serde_json::json!({ "status": status }))
}
