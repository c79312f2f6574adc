//! `POST /auth/guest`: a proof in, a guest token out.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Data, Payload};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

use super::edge::Arrival;
use super::{Worker, ask};
use crate::issue::guest::Visitor;
use crate::issue::refusal::{Code, Refusal};

/// The access token of a guest (RFC 6749, section 5.1).
#[derive(Serialize, ToSchema)]
pub(super) struct Guest<'a> {
    /// `epg_…`
    access_token: &'a str,
    /// Always `Bearer`.
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
}

pub(super) async fn welcome(request: HttpRequest, payload: Payload, worker: Data<Worker>) -> Result<HttpResponse, Refusal> {
    let arrival = request.extensions().get::<Arrival>().cloned();
    let arrival = arrival.ok_or_else(|| Refusal::new(Code::Internal, "The request was not set up."))?;
    let visitor = Visitor {
        request_id: arrival.request_id,
        trace: ask::trace(request.headers()),
        arrived: arrival.at,
        from: worker.proxies.client(&request),
    };
    let proof = async {
        worker.edge.origins().check(request.headers())?;
        ask::takes_json(request.headers())?;
        ask::proof(&request, payload).await
    };
    let made = worker.issuer.welcome(&visitor, proof).await?;
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(Guest {
        access_token: made.token.reveal(),
        token_type: "Bearer",
        expires_in: made.lifetime.as_secs(),
    }))
}
