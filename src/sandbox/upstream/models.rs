//! `GET /v1/models` and `GET /v1/models/{id}`.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::super::refused::Refused;
use super::Upstream;
use super::calls::Called;

/// Id, when it was created (Unix seconds), when it goes.
const MODELS: [(&str, u64, Option<&str>); 8] = [
    ("gpt-live-1", 1_788_000_000, None),
    ("gpt-realtime-2.1", 1_780_000_000, None),
    ("gpt-realtime-2.1-mini", 1_780_000_000, None),
    ("gpt-realtime-2", 1_772_000_000, None),
    ("gpt-realtime-1.5", 1_764_000_000, None),
    ("gpt-realtime", 1_756_000_000, Some("2027-01-20")),
    ("gpt-realtime-mini", 1_759_000_000, Some("2027-01-20")),
    ("gpt-4o-mini-transcribe", 1_742_000_000, None),
];

fn shown((id, created, shutdown): &(&str, u64, Option<&str>)) -> Value {
    json!({"id": id, "object": "model", "created": created, "owned_by": "system", "shutdown_date": shutdown})
}

pub(super) async fn list(request: HttpRequest, upstream: Data<Upstream>) -> Result<HttpResponse, Refused> {
    upstream.server(&request)?;
    let data: Vec<_> = MODELS.iter().map(shown).collect();
    Ok(HttpResponse::Ok().json(json!({"object": "list", "data": data})))
}

pub(super) async fn show(request: HttpRequest, id: Path<Called>, upstream: Data<Upstream>) -> Result<HttpResponse, Refused> {
    upstream.server(&request)?;
    let Some(model) = MODELS.iter().find(|(known, ..)| *known == id.id) else {
        let name: String = id.id.chars().take(64).collect();
        let message = format!("The model '{name}' does not exist");
        return Err(Refused::new(StatusCode::NOT_FOUND, "model_not_found", message).about("model"));
    };
    Ok(HttpResponse::Ok().json(shown(model)))
}
