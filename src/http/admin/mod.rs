//! The operators' listener.

mod blocks;
mod credentials;
mod sessions;

use std::sync::{Arc, Mutex};

use actix_web::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::exposition::prometheus_text;
use super::{ask, methods};
use crate::credentials::Credentials;
use crate::domain::ids::Pseudonymizer;
use crate::domain::live::Live;
use crate::domain::secret::Sha256;
use crate::issue::refusal::{Code, Refusal};
use crate::issue::token::Stages;

/// What the admin routes need.
pub(crate) struct Admin {
    /// SHA-256 of the token. Absent: nobody is let in.
    token: Option<Live<Sha256>>,
    open_metrics: bool,
    registry: Mutex<Registry>,
    stages: Arc<Stages>,
    credentials: Credentials,
    names: Pseudonymizer,
    /// Who vouches for users: a user's name means nothing without one.
    issuers: Vec<String>,
}

impl Admin {
    pub(crate) fn new(
        token: Option<Live<Sha256>>,
        open_metrics: bool,
        registry: Registry,
        stages: Arc<Stages>,
        credentials: Credentials,
        names: Pseudonymizer,
        issuers: Vec<String>,
    ) -> Self {
        Self { token, open_metrics, registry: Mutex::new(registry), stages, credentials, names, issuers }
    }

    /// Compares digests, in constant time, so that nothing of the token shows in how long a refusal takes.
    fn admits(&self, request: &HttpRequest) -> Result<(), Refusal> {
        const SENTENCE: &str = "Send the admin token (admin.token) as Authorization: Bearer <token>.";
        let sent = ask::bearer(request.headers()).map_err(|refusal| Refusal { detail: SENTENCE.into(), ..refusal })?;
        let known = self.token.as_ref().is_some_and(|token| token.get().same_as(&Sha256::of(sent.reveal().as_bytes())));
        if known { Ok(()) } else { Err(Refusal::new(Code::InvalidToken, SENTENCE)) }
    }
}

pub(crate) fn routes(admin: Data<Admin>) -> impl FnOnce(&mut ServiceConfig) {
    move |app: &mut ServiceConfig| {
        app.app_data(admin)
            .service(methods("/metrics", "GET, HEAD").route(web::get().to(metrics)).route(web::head().to(metrics)))
            .configure(sessions::routes)
            .configure(blocks::routes)
            .configure(credentials::routes);
    }
}

async fn metrics(request: HttpRequest, admin: Data<Admin>) -> Result<HttpResponse, Refusal> {
    if !admin.open_metrics {
        admin.admits(&request)?;
    }
    let mut text = String::with_capacity(8 * 1024);
    let registry = admin.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    encode(&mut text, &registry).map_err(|_| Refusal::new(Code::Internal, "The metrics could not be written."))?;
    let (kind, text) = if takes_open_metrics(request.headers()) {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", text)
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", prometheus_text(&text))
    };
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, kind)).insert_header((CACHE_CONTROL, "no-store")).body(text))
}

/// Whether the scraper names `OpenMetrics`, whatever else it takes: it holds all that the other format does.
fn takes_open_metrics(headers: &HeaderMap) -> bool {
    let mut ranges = headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    ranges.any(|range| {
        let kind = range.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/openmetrics-text")
    })
}
