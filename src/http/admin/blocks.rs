//! Blocks of users and tenants, and the lockdown.

use std::collections::HashMap;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{self, Data, Path, Payload, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource};
use serde::Serialize;
use serde_json::{Map, Value};

use super::super::edge::request_id;
use super::super::{ask, methods};
use super::Admin;
use crate::block::{Block, Target};
use crate::domain::ids::{Pseudonym, is_name};
use crate::issue::refusal::{Code, Refusal};

/// Who did it, when nobody says so.
pub(super) const AUTHOR: &str = "admin";
/// Characters of a reason and of an author.
const MOST_TEXT: usize = 256;

pub(super) fn routes(app: &mut ServiceConfig) {
    let block = |path: &str| -> Resource { methods(path, "GET, HEAD, PUT, DELETE") };
    app.service(methods("/admin/v1/blocks", "GET, HEAD").route(web::get().to(list)).route(web::head().to(list)))
        .service(
            block("/admin/v1/users/{user}/block")
                .route(web::get().to(show_user))
                .route(web::head().to(show_user))
                .route(web::put().to(block_user))
                .route(web::delete().to(unblock_user)),
        )
        .service(
            block("/admin/v1/tenants/{tenant}/block")
                .route(web::get().to(show_tenant))
                .route(web::head().to(show_tenant))
                .route(web::put().to(block_tenant))
                .route(web::delete().to(unblock_tenant)),
        )
        .service(
            block("/admin/v1/lockdown")
                .route(web::get().to(show_lockdown))
                .route(web::head().to(show_lockdown))
                .route(web::put().to(lock_down))
                .route(web::delete().to(end_lockdown)),
        );
}

type Asked = Query<HashMap<String, String>>;

/// A block, as operators see it.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a Pseudonym>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    everybody: Option<bool>,
    #[serde(flatten)]
    block: &'a Block,
    /// Sessions that it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<u64>,
}

impl<'a> Shown<'a> {
    fn of(target: &'a Target, block: &'a Block) -> Self {
        let mut shown = Self { user: None, tenant: None, everybody: None, block, revoked: None };
        match target {
            Target::User(user) => shown.user = Some(user),
            Target::Tenant(tenant) => shown.tenant = Some(tenant),
            Target::Everybody => shown.everybody = Some(true),
        }
        shown
    }
}

async fn list(request: HttpRequest, admin: Data<Admin>) -> Result<HttpResponse, Refusal> {
    admin.admits(&request)?;
    let blocks = admin.stages.blocks.list();
    let data: Vec<Shown<'_>> = blocks.iter().map(|(target, block)| Shown::of(target, block)).collect();
    Ok(answer(&serde_json::json!({ "object": "list", "data": data })))
}

async fn show_user(request: HttpRequest, admin: Data<Admin>, name: Path<String>, asked: Asked) -> Result<HttpResponse, Refusal> {
    admin.admits(&request)?;
    show(&admin, &Target::User(one(&admin, &name, &asked)?))
}

async fn block_user(
    request: HttpRequest,
    admin: Data<Admin>,
    name: Path<String>,
    asked: Asked,
    body: Payload,
) -> Result<HttpResponse, Refusal> {
    admin.admits(&request)?;
    let target = Target::User(one(&admin, &name, &asked)?);
    let fields = ask::object(&request, body, &["reason", "author", "expires_at"]).await?;
    put(&request, &admin, &target, &fields, true).await
}

async fn unblock_user(
    request: HttpRequest,
    admin: Data<Admin>,
    name: Path<String>,
    asked: Asked,
) -> Result<HttpResponse, Refusal> {
    admin.admits(&request)?;
    lift(&request, &admin, &Target::User(one(&admin, &name, &asked)?)).await
}

async fn show_tenant(request: HttpRequest, admin: Data<Admin>, name: Path<String>) -> Result<HttpResponse, Refusal> {
    admin.admits(&request)?;
    show(&admin, &tenant(&name)?)
}

async fn block_tenant(
    request: HttpRequest,
    admin: Data<Admin>,
    name: Path<String>,
    body: Payload,
) -> Result<HttpResponse, Refusal> {
    admin.admits(&request)?;
    let target = tenant(&name)?;
    let fields = ask::object(&request, body, &["reason", "author", "expires_at"]).await?;
    put(&request, &admin, &target, &fields, true).await
}

async fn unblock_tenant(request: HttpRequest, admin: Data<Admin>, name: Path<String>) -> Result<HttpResponse, Refusal> {
    admin.admits(&request)?;
    lift(&request, &admin, &tenant(&name)?).await
}

async fn show_lockdown(request: HttpRequest, admin: Data<Admin>) -> Result<HttpResponse, Refusal> {
    admin.admits(&request)?;
    show(&admin, &Target::Everybody)
}

async fn lock_down(request: HttpRequest, admin: Data<Admin>, body: Payload) -> Result<HttpResponse, Refusal> {
    admin.admits(&request)?;
    let fields = ask::object(&request, body, &["reason", "author", "expires_at", "hang_up"]).await?;
    let hang_up = match fields.get("hang_up") {
        None => false,
        Some(Value::Bool(hang_up)) => *hang_up,
        Some(_) => return Err(invalid("hang_up", "hang_up is true or false: whether calls are ended too.")),
    };
    put(&request, &admin, &Target::Everybody, &fields, hang_up).await
}

async fn end_lockdown(request: HttpRequest, admin: Data<Admin>) -> Result<HttpResponse, Refusal> {
    admin.admits(&request)?;
    lift(&request, &admin, &Target::Everybody).await
}

fn show(admin: &Admin, target: &Target) -> Result<HttpResponse, Refusal> {
    let block = admin.stages.blocks.of(target).ok_or_else(|| Refusal::new(Code::NotFound, "There is no block in force."))?;
    Ok(answer(&Shown::of(target, &block)))
}

async fn put(
    request: &HttpRequest,
    admin: &Admin,
    target: &Target,
    fields: &Map<String, Value>,
    revokes: bool,
) -> Result<HttpResponse, Refusal> {
    let block = block(fields, admin.stages.clock.unix())?;
    let (stages, name, whom, what) = (admin.stages.clone(), request_id(request), target.clone(), block.clone());
    // Also when whoever asked is gone: a lockdown that stops half-way is none.
    let ended = Box::pin(async move { stages.shut_out(&name, &whom, what, revokes).await });
    let ended = admin.stages.tasks.finish(ended).await??;
    Ok(answer(&Shown { revoked: Some(ended), ..Shown::of(target, &block) }))
}

async fn lift(request: &HttpRequest, admin: &Admin, target: &Target) -> Result<HttpResponse, Refusal> {
    let (stages, name, whom) = (admin.stages.clone(), request_id(request), target.clone());
    admin.stages.tasks.finish(Box::pin(async move { stages.let_in(&name, &whom).await })).await??;
    Ok(HttpResponse::NoContent().insert_header((CACHE_CONTROL, "no-store")).finish())
}

fn block(fields: &Map<String, Value>, now: u64) -> Result<Block, Refusal> {
    let expires_at = match fields.get("expires_at") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let end = value.as_u64().filter(|end| *end > now);
            Some(end.ok_or_else(|| invalid("expires_at", "expires_at is a moment to come, in seconds since 1970."))?)
        }
    };
    let (reason, author) = (text(fields, "reason")?, text(fields, "author")?);
    Ok(Block { reason: reason.unwrap_or_default().into(), author: author.unwrap_or(AUTHOR).into(), created_at: now, expires_at })
}

/// A short text, if there is one.
pub(super) fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Refusal> {
    match fields.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if text.chars().count() <= MOST_TEXT && !text.chars().any(char::is_control) => Ok(Some(text)),
        Some(_) => Err(invalid(name, "This is text of at most 256 characters, without line breaks.")),
    }
}

/// A user by pseudonym, as audit entries and lists of sessions have it; or by the name that an identity gives, with `issuer` where there
/// are several and `tenant` where it names one.
pub(super) fn user(admin: &Admin, name: &str, asked: &HashMap<String, String>) -> Result<Pseudonym, Refusal> {
    if let Some(user) = Pseudonym::parse(name).filter(|_| !asked.contains_key("issuer")) {
        return Ok(user);
    }
    if !(1..=MOST_TEXT).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(invalid("user", "Name a user by the 64 hexadecimal digits of audit entries, or as the issuer does."));
    }
    let known = || admin.issuers.join(", ");
    let about_issuer = |sentence| Err(Refusal::new(Code::UnknownField, sentence).about("issuer"));
    let issuer = match (asked.get("issuer"), admin.issuers.as_slice()) {
        (Some(issuer), issuers) if issuers.contains(issuer) => issuer,
        (Some(_), _) => return about_issuer(format!("Nobody here is named by that issuer; issuers are: {}.", known())),
        (None, [only]) => only,
        (None, []) => return about_issuer("Name guests by the 64 hexadecimal digits of audit entries.".into()),
        (None, _) => return about_issuer(format!("Say with issuer= who names the user so; issuers are: {}.", known())),
    };
    let tenant = asked.get("tenant").map_or("", String::as_str);
    Ok(admin.names.pseudonym(tenant, issuer, name))
}

fn one(admin: &Admin, name: &str, asked: &HashMap<String, String>) -> Result<Pseudonym, Refusal> {
    only_names(asked)?;
    user(admin, name, asked)
}

/// What a block's address may say beside the user's name.
fn only_names(asked: &HashMap<String, String>) -> Result<(), Refusal> {
    match asked.keys().find(|name| !["issuer", "tenant"].contains(&name.as_str())) {
        Some(other) => Err(Refusal::new(Code::UnknownField, "The parameters are issuer and tenant.").about(other.as_str())),
        None => Ok(()),
    }
}

fn tenant(name: &str) -> Result<Target, Refusal> {
    if is_name(name) { Ok(Target::Tenant(name.into())) } else { Err(invalid("tenant", "Name a tenant as tokens do.")) }
}

fn invalid(name: &str, sentence: &'static str) -> Refusal {
    Refusal::new(Code::InvalidJson, sentence).about(format!("/{name}"))
}

fn answer(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(body)
}
