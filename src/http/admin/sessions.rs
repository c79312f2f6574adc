//! `/admin/v1/sessions`: everybody's sessions, and their end.

use std::collections::HashMap;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{self, Data, Path, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use super::super::edge::request_id;
use super::super::methods;
use super::super::wire::{Session, Sessions};
use super::Admin;
use super::blocks::{AUTHOR, user};
use crate::bind::{State, Which};
use crate::domain::ids::SessionId;
use crate::issue::refusal::{Code, Refusal};

const LISTED: usize = 100;
const MOST_LISTED: usize = 1000;

pub(super) fn routes(app: &mut ServiceConfig) {
    app.service(methods("/admin/v1/sessions", "GET, HEAD").route(web::get().to(list)).route(web::head().to(list)))
        .service(methods("/admin/v1/sessions/{id}", "DELETE").route(web::delete().to(revoke)));
}

type Asked = Query<HashMap<String, String>>;

async fn list(request: HttpRequest, admin: Data<Admin>, asked: Asked) -> Result<HttpResponse, Refusal> {
    admin.admits(&request)?;
    let (which, most) = which(&admin, &asked)?;
    let now = admin.stages.clock.unix();
    let found = admin.stages.bindings.list(&which, most).await?;
    let sessions: Vec<Session> = found.iter().map(|binding| Session::of_anybody(binding, now)).collect();
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(Sessions::from(sessions)))
}

async fn revoke(request: HttpRequest, admin: Data<Admin>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    admin.admits(&request)?;
    let session = SessionId::parse(&id).ok_or_else(|| Refusal::new(Code::NotFound, "There is no such session."))?;
    let (stages, name) = (admin.stages.clone(), request_id(&request));
    admin.stages.tasks.finish(Box::pin(async move { stages.revoke(&name, AUTHOR, session).await })).await??;
    Ok(HttpResponse::NoContent().insert_header((CACHE_CONTROL, "no-store")).finish())
}

/// Which sessions a query asks for, and how many at most.
fn which(admin: &Admin, asked: &HashMap<String, String>) -> Result<(Which, usize), Refusal> {
    let (mut which, mut most) = (Which::default(), LISTED);
    for (name, value) in asked {
        match name.as_str() {
            "user" => which.user = Some(user(admin, value, asked)?),
            "tenant" => which.tenant = Some(value.as_str().into()),
            "profile" => which.profile = Some(value.as_str().into()),
            "state" => {
                let states = State::ALL.map(State::name).join(", ");
                let state = State::ALL.into_iter().find(|state| state.name() == value);
                which.state = Some(state.ok_or_else(|| unknown("state", &format!("A state is one of: {states}.")))?);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MOST_LISTED).contains(limit));
                most = limit.ok_or_else(|| unknown("limit", &format!("limit is from 1 to {MOST_LISTED}.")))?;
            }
            "issuer" => {}
            other => {
                return Err(unknown(other, "The parameters are user, issuer, tenant, profile, state and limit."));
            }
        }
    }
    Ok((which, most))
}

fn unknown(name: &str, sentence: &str) -> Refusal {
    Refusal::new(Code::UnknownField, sentence.to_owned()).about(name)
}
