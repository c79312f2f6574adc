//! The credentials of upstreams: what is in use, promote, reload.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{self, Data, Path, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use super::super::edge::request_id;
use super::super::{ask, methods};
use super::Admin;
use super::blocks::{AUTHOR, text};
use crate::credentials::NotPromoted;
use crate::issue::refusal::{Code, Refusal};

pub(super) fn routes(app: &mut ServiceConfig) {
    app.service(methods("/admin/v1/credentials", "GET, HEAD").route(web::get().to(list)).route(web::head().to(list)))
        .service(methods("/admin/v1/credentials/reload", "POST").route(web::post().to(reload)))
        .service(methods("/admin/v1/credentials/{upstream}/promote", "POST").route(web::post().to(promote)));
}

async fn list(request: HttpRequest, admin: Data<Admin>) -> Result<HttpResponse, Refusal> {
    admin.admits(&request)?;
    Ok(answer(&admin))
}

/// Answers as soon as the look is asked for: what it finds is seen by asking again.
async fn reload(request: HttpRequest, admin: Data<Admin>) -> Result<HttpResponse, Refusal> {
    admin.admits(&request)?;
    admin.credentials.reload();
    Ok(HttpResponse::Accepted().insert_header((CACHE_CONTROL, "no-store")).finish())
}

async fn promote(
    request: HttpRequest,
    admin: Data<Admin>,
    upstream: Path<String>,
    body: Payload,
) -> Result<HttpResponse, Refusal> {
    admin.admits(&request)?;
    let fields = ask::object(&request, body, &["fingerprint", "author"]).await?;
    let (fingerprint, author) = (text(&fields, "fingerprint")?, text(&fields, "author")?);
    let author = author.unwrap_or(AUTHOR);
    let promoted = admin.credentials.promote(&upstream, fingerprint, author, request_id(&request).as_str()).await;
    promoted.map_err(|refused| match refused {
        NotPromoted::NoSuchUpstream => Refusal::new(Code::NotFound, "There is no upstream of this name."),
        NotPromoted::NoSuchKey => {
            Refusal::new(Code::NotFound, "There is no such key to promote; GET /admin/v1/credentials lists the fingerprints.")
        }
        NotPromoted::NotUsable => Refusal::new(
            Code::UpstreamAuthFailed,
            "The provider refuses this key, so it is not put in use; replace it where it comes from.",
        ),
    })?;
    Ok(answer(&admin))
}

fn answer(admin: &Admin) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(admin.credentials.report())
}
