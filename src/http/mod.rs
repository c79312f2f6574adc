//! HTTP: the only module, beside `app` and `sandbox`, that knows actix.

pub(crate) mod address;
pub(crate) mod admin;
mod ask;
mod auth;
pub(crate) mod demo;
pub(crate) mod docs;
pub(crate) mod edge;
mod exposition;
mod guest;
mod health;
mod mint;
mod openapi;
pub(crate) mod origin;
mod problem;
mod sessions;
pub(crate) mod webhook;
mod wire;

use std::rc::Rc;
use std::sync::Arc;

use actix_web::http::Method;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource};

use crate::issue::refusal::{Code, Refusal};
use crate::issue::token::Issuer;
use address::Proxies;
#[cfg(any(fuzzing, test))]
pub(crate) use ask::token_in;
use edge::Edge;
pub(crate) use health::Health;

/// What one worker's handlers need.
pub(crate) struct Worker {
    pub(crate) issuer: Rc<Issuer>,
    pub(crate) edge: Arc<Edge>,
    pub(crate) proxies: Arc<Proxies>,
}

/// Further routes of the public listener: the sign-in of `ephemint dev`, a webhook.
#[derive(Clone)]
pub(crate) struct MoreRoutes(Arc<dyn Fn(&mut ServiceConfig) + Send + Sync>);

impl MoreRoutes {
    pub(crate) fn none() -> Self {
        Self::new(|_| {})
    }

    pub(crate) fn new(add: impl Fn(&mut ServiceConfig) + Send + Sync + 'static) -> Self {
        Self(Arc::new(add))
    }

    pub(crate) fn add_to(&self, routes: &mut ServiceConfig) {
        (self.0)(routes);
    }
}

/// The public listener's routes.
pub(crate) fn public(worker: Worker, health: Data<Health>) -> impl FnOnce(&mut ServiceConfig) {
    let authenticator = &worker.issuer.stages.authenticator;
    let (signs_in, has_guests) = (authenticator.login().is_some(), authenticator.guests().is_some());
    move |app: &mut ServiceConfig| {
        if signs_in {
            app.configure(auth::routes);
        }
        if has_guests {
            app.service(methods("/auth/guest", "POST, OPTIONS").route(web::post().to(guest::welcome)));
        }
        app.app_data(Data::new(worker))
            .app_data(health)
            .service(methods(mint::REALTIME, "POST, OPTIONS").route(web::post().to(mint::realtime)))
            .service(methods(mint::TRANSLATION, "POST, OPTIONS").route(web::post().to(mint::translation)))
            .service(
                methods("/v1/sessions", "GET, HEAD, OPTIONS")
                    .route(web::get().to(sessions::list))
                    .route(web::head().to(sessions::list)),
            )
            .service(
                methods("/v1/sessions/{id}", "GET, HEAD, DELETE, OPTIONS")
                    .route(web::get().to(sessions::show))
                    .route(web::head().to(sessions::show))
                    .route(web::delete().to(sessions::end)),
            )
            .service(methods("/v1/sessions/{id}/call", "POST, OPTIONS").route(web::post().to(sessions::report)))
            .service(methods("/livez", "GET, HEAD").route(web::get().to(health::livez)).route(web::head().to(health::livez)))
            .service(methods("/readyz", "GET, HEAD").route(web::get().to(health::readyz)).route(web::head().to(health::readyz)))
            .service(
                methods("/openapi.json", "GET, HEAD").route(web::get().to(docs::openapi)).route(web::head().to(docs::openapi)),
            )
            .service(methods("/docs", "GET, HEAD").route(web::get().to(docs::page)).route(web::head().to(docs::page)));
    }
}

/// A path whose other methods are answered with 405 and `Allow`; preflights too are answered here.
pub(crate) fn methods(path: &str, allow: &'static str) -> Resource {
    web::resource(path).default_service(web::to(move |request: HttpRequest| async move {
        let preflight = *request.method() == Method::OPTIONS && allow.ends_with("OPTIONS");
        match request.app_data::<Data<Worker>>().filter(|_| preflight) {
            Some(worker) => worker.edge.origins().preflight(request.headers(), allow),
            None => {
                Err(Refusal { allow: Some(allow), ..Refusal::new(Code::MethodNotAllowed, format!("This path takes {allow}.")) })
            }
        }
    }))
}

/// Answers what has no route.
pub(crate) async fn not_found() -> Result<HttpResponse, Refusal> {
    Err(Refusal::new(
        Code::NotFound,
        "There is nothing at this path; paths have no slash at their end. The API is described at /docs.",
    ))
}
