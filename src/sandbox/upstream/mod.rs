//! A simulated `OpenAI`: the realtime endpoints, with the real ones' shapes, headers and error bodies (`openapi.yaml`; bodies seen in the
//! field). Everything is in memory, bounded, and gone with the process.

mod calls;
mod frames;
mod live;
mod mint;
mod models;
mod multipart;
mod socket;

use std::time::Duration;

use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use actix_web::web::{self, Bytes, Data, PayloadConfig, ServiceConfig};
use actix_web::{Error, HttpRequest, Resource};
use serde_json::Value;
use tokio::time::sleep;

use super::call::Calls;
use super::media::Media;
use super::refused::Refused;
use super::scenario::{SLOWNESS, Scenario};
use super::vault::{Found, Grant, Vault};
use crate::domain::clock::SharedClock;
use crate::domain::secret::{Secret, Sha256, random_secret};

/// Longest SDP offer, and longest form with an offer and a session.
const MOST_SDP: usize = 64 * 1024;
/// Longest JSON body.
const MOST_JSON: usize = 256 * 1024;
const SCENARIO: &str = "x-sandbox-scenario";
/// How browsers, which cannot set headers of a WebSocket, send a client secret.
const KEY_PROTOCOL: &str = "openai-insecure-api-key.";

/// Which permanent keys are good.
pub(crate) enum Keys {
    /// The digest of the only one.
    One(Sha256),
    /// Every string that looks like one, so that a team's CI runs with the environment that it has. There is nothing to protect.
    AnyThatLooksLikeOne,
}

impl Keys {
    pub(crate) fn one(key: &Secret) -> Self {
        Self::One(Sha256::of(key.reveal().as_bytes()))
    }
}

pub(crate) struct Upstream {
    keys: Keys,
    vault: Vault,
    calls: Calls,
    media: Media,
    clock: SharedClock,
    pages: Vec<String>,
}

/// Who is asking.
enum Caller {
    /// With a permanent key.
    Server,
    /// With a client secret.
    Client(Box<Grant>),
}

impl Upstream {
    /// `pages`: web origins beside this machine's own whose pages may call.
    pub(super) fn new(keys: Keys, media: Media, clock: SharedClock, pages: Vec<String>) -> Self {
        Self { keys, vault: Vault::new(clock.clone()), calls: Calls::default(), media, clock, pages }
    }

    /// Whether pages of an origin that is not of this machine may call: of every one where the sandbox is on its own, with no secret
    /// that a web page could be after.
    pub(super) fn is_open_to(&self, origin: &str) -> bool {
        matches!(self.keys, Keys::AnyThatLooksLikeOne) || self.pages.iter().any(|page| page == origin)
    }

    pub(super) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// Who sent the request, by its `Authorization` header or, over a WebSocket, by its subprotocol.
    fn caller(&self, request: &HttpRequest) -> Result<Caller, Refused> {
        let header = request.headers().get(AUTHORIZATION).and_then(|sent| sent.to_str().ok());
        let bearer = header.and_then(|sent| sent.strip_prefix("Bearer ")).map(str::trim);
        let token = bearer.or_else(|| protocols(request).find_map(|protocol| protocol.strip_prefix(KEY_PROTOCOL)));
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            let message = "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).";
            return Err(Refused::without_code(StatusCode::UNAUTHORIZED, message));
        };
        if self.is_key(token) {
            return Ok(Caller::Server);
        }
        match self.vault.find(token) {
            Found::Good(grant) => Ok(Caller::Client(grant)),
            Found::Expired => {
                let message = "Your client secret has expired. Create a new one and try again.";
                Err(Refused::new(StatusCode::UNAUTHORIZED, "token_expired", message))
            }
            // What was sent is not repeated, not even masked.
            Found::Unknown => Err(Refused::new(StatusCode::UNAUTHORIZED, "invalid_api_key", "Incorrect API key provided.")),
        }
    }

    fn is_key(&self, token: &str) -> bool {
        match &self.keys {
            Keys::One(digest) => digest.same_as(&Sha256::of(token.as_bytes())),
            Keys::AnyThatLooksLikeOne => token.len() > 3 && token.starts_with("sk-"),
        }
    }

    /// Only a permanent key will do.
    fn server(&self, request: &HttpRequest) -> Result<(), Refused> {
        match self.caller(request)? {
            Caller::Server => Ok(()),
            Caller::Client(_) => {
                let message = "This endpoint takes an API key. A client secret opens sessions and nothing else.";
                Err(Refused::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message))
            }
        }
    }
}

/// `prefix` and 32 random hexadecimal digits.
pub(super) fn random(prefix: &str) -> Option<String> {
    let digits = random_secret("").ok()?;
    Some(format!("{prefix}{}", digits.reveal().get(..32)?))
}

fn new_id(prefix: &str) -> Result<String, Refused> {
    random(prefix).ok_or_else(Refused::no_random_numbers)
}

fn protocols(request: &HttpRequest) -> impl Iterator<Item = &str> {
    let sent = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).filter_map(|value| value.to_str().ok());
    sent.flat_map(|value| value.split(',').map(str::trim))
}

/// The first value of a query parameter.
fn query(request: &HttpRequest, name: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(request.query_string().as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// The scenario that the request names.
fn scenario(request: &HttpRequest) -> Result<Option<Scenario>, Refused> {
    let header = || request.headers().get(SCENARIO).and_then(|name| name.to_str().ok()).map(str::to_owned);
    let base = || request.match_info().get("scenario").map(str::to_owned);
    let Some(name) = query(request, "scenario").or_else(header).or_else(base) else { return Ok(None) };
    Scenario::parse(&name).map(Some).ok_or_else(|| {
        let message = format!("Unknown scenario. The sandbox knows: {}.", Scenario::names().join(", "));
        Refused::new(StatusCode::BAD_REQUEST, "unknown_scenario", message).about("scenario")
    })
}

/// What a scenario does to a request that mints or opens a session.
async fn act(scenario: Scenario) -> Result<(), Refused> {
    match scenario {
        Scenario::Slow => {
            sleep(SLOWNESS).await;
            Ok(())
        }
        Scenario::RateLimited => {
            let message = "Rate limit reached for requests (simulated by the sandbox). Please try again in 1s.";
            Err(Refused::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", message).of_type("requests").retry_after(1))
        }
        Scenario::QuotaExhausted => {
            let message =
                "You exceeded your current quota, please check your plan and billing details (simulated by the sandbox).";
            let refused = Refused::new(StatusCode::TOO_MANY_REQUESTS, "insufficient_quota", message);
            Err(refused.of_type("insufficient_quota"))
        }
        Scenario::ServerError => {
            let message = "The server had an error while processing your request (simulated by the sandbox).";
            Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message))
        }
        Scenario::Happy | Scenario::DropsMidCall | Scenario::HangsUp | Scenario::Echo | Scenario::Expires => Ok(()),
    }
}

fn beta_disabled() -> Refused {
    let message = "The Realtime Beta API is no longer supported. Please use /v1/realtime/client_secrets and /v1/realtime/calls.";
    Refused::new(StatusCode::BAD_REQUEST, "beta_api_shape_disabled", message)
}

/// Whether the request speaks the beta's language.
fn is_beta(request: &HttpRequest) -> bool {
    let header = request.headers().get("openai-beta").and_then(|value| value.to_str().ok());
    header.is_some_and(|value| value.contains("realtime=v1")) || protocols(request).any(|one| one == "openai-beta.realtime-v1")
}

fn refuse_beta(request: &HttpRequest) -> Result<(), Refused> {
    if is_beta(request) { Err(beta_disabled()) } else { Ok(()) }
}

async fn retired() -> Result<&'static str, Refused> {
    Err(beta_disabled())
}

/// A body that was read within its bound.
fn whole(body: Result<Bytes, Error>) -> Result<Bytes, Refused> {
    body.map_err(|error| match error.as_error::<PayloadError>() {
        Some(PayloadError::Overflow) => {
            Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", "The request's body is too large.")
        }
        _ => Refused::new(StatusCode::BAD_REQUEST, "invalid_body", "The request's body could not be read."),
    })
}

/// A body of JSON. An empty one is an empty object.
fn json(body: &[u8]) -> Result<Value, Refused> {
    let body = if body.is_empty() { b"{}" } else { body };
    let message = "We could not parse the JSON body of your request.";
    serde_json::from_slice(body).map_err(|_| Refused::new(StatusCode::BAD_REQUEST, "invalid_json", message))
}

fn too_many_calls() -> Refused {
    let message = "The sandbox holds as many calls as it can. Hang some up.";
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, "server_is_overloaded", message).of_type("service_unavailable_error")
}

/// All endpoints: at the root, and again below `/scenarios/{scenario}`.
pub(super) fn routes(upstream: Data<Upstream>) -> impl FnOnce(&mut ServiceConfig) {
    move |app: &mut ServiceConfig| {
        app.app_data(upstream).configure(api).service(web::scope("/scenarios/{scenario}").configure(api));
    }
}

fn api(app: &mut ServiceConfig) {
    app.service(at("/v1/realtime/client_secrets", "POST", MOST_JSON).route(web::post().to(mint::realtime)))
        .service(at("/v1/realtime/translations/client_secrets", "POST", MOST_JSON).route(web::post().to(mint::translation)))
        .service(at("/v1/realtime/sessions", "POST", MOST_JSON).route(web::post().to(retired)))
        .service(at("/v1/realtime/transcription_sessions", "POST", MOST_JSON).route(web::post().to(retired)))
        .service(at("/v1/realtime/calls", "POST", MOST_SDP).route(web::post().to(calls::create)))
        .service(at("/v1/realtime/calls/{id}/hangup", "POST", MOST_SDP).route(web::post().to(calls::hang_up)))
        .service(at("/v1/realtime", "GET, POST", MOST_SDP).route(web::get().to(socket::open)).route(web::post().to(retired)))
        .service(at("/v1/live/sessions", "POST", MOST_JSON).route(web::post().to(live::create)))
        .service(at("/v1/live/sessions/{id}/hangup", "POST", MOST_SDP).route(web::post().to(live::hang_up)))
        .service(at("/v1/live/sessions/{id}/attach", "GET", MOST_SDP).route(web::get().to(socket::attach)))
        .service(at("/v1/models", "GET", MOST_SDP).route(web::get().to(models::list)))
        .service(at("/v1/models/{id}", "GET", MOST_SDP).route(web::get().to(models::show)));
}

/// A path that takes these methods, and bodies of at most so many bytes. Other methods are refused.
pub(super) fn at(path: &str, allow: &'static str, most: usize) -> Resource {
    let refuse = move |request: HttpRequest| async move { Err::<&str, _>(no_such_method(&request, allow)) };
    web::resource(path).app_data(PayloadConfig::new(most)).default_service(web::to(refuse))
}

fn no_such_method(request: &HttpRequest, allow: &'static str) -> Refused {
    let message = format!(
        "Not allowed to {} on {}. (HINT: Perhaps you meant to use a different HTTP method?)",
        request.method(),
        request.path()
    );
    Refused::without_code(StatusCode::METHOD_NOT_ALLOWED, message).allow(allow)
}

/// For every path that is not simulated.
pub(super) async fn no_such_path(request: HttpRequest) -> Result<&'static str, Refused> {
    let message = format!("Invalid URL ({} {})", request.method(), request.path());
    Err(Refused::without_code(StatusCode::NOT_FOUND, message))
}

/// For what an answer to a mint says: when a secret that is minted now expires.
fn in_seconds(clock: &SharedClock, seconds: u64) -> u64 {
    (clock.wall() + Duration::from_secs(seconds)).as_secs()
}
