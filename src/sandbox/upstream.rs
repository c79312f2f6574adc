//! A simulated `OpenAI`: the mint endpoints, with the real ones' shapes and error bodies (`openapi.yaml`; bodies seen in the field).

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::AUTHORIZATION;
use actix_web::web::{self, Bytes, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde_json::{Map, Value, json};

use crate::domain::clock::{SharedClock, SystemClock};
use crate::domain::secret::{Secret, Sha256, random_secret};

const SECONDS: std::ops::RangeInclusive<u64> = 10..=7200;
const DEFAULT_SECONDS: u64 = 600;

pub(super) struct Upstream {
    /// Of the whole `Authorization` header.
    expected: Sha256,
    clock: SharedClock,
}

impl Upstream {
    pub(super) fn new(key: &Secret) -> Self {
        Self { expected: Sha256::of(format!("Bearer {}", key.reveal()).as_bytes()), clock: SystemClock::shared() }
    }

    fn knows(&self, request: &HttpRequest) -> bool {
        request.headers().get(AUTHORIZATION).is_some_and(|sent| self.expected.same_as(&Sha256::of(sent.as_bytes())))
    }
}

pub(super) fn routes(upstream: Data<Upstream>) -> impl FnOnce(&mut ServiceConfig) {
    move |app: &mut ServiceConfig| {
        app.app_data(upstream)
            .route("/v1/realtime/client_secrets", web::post().to(realtime))
            .route("/v1/realtime/translations/client_secrets", web::post().to(translation))
            .route("/v1/realtime/sessions", web::post().to(retired))
            .route("/v1/realtime/transcription_sessions", web::post().to(retired));
    }
}

async fn realtime(request: HttpRequest, body: Bytes, upstream: Data<Upstream>) -> Result<HttpResponse, Refused> {
    mint(&request, &body, &upstream, |session| match session.get("type").and_then(Value::as_str) {
        Some("realtime") => Ok(("realtime", "realtime.session")),
        Some("transcription") => Ok(("transcription", "realtime.transcription_session")),
        Some(_) => Err(Refused(400, "invalid_value", "Invalid value for 'session.type'.", Some("session.type"))),
        None => {
            Err(Refused(400, "missing_required_parameter", "Missing required parameter: 'session.type'.", Some("session.type")))
        }
    })
}

async fn translation(request: HttpRequest, body: Bytes, upstream: Data<Upstream>) -> Result<HttpResponse, Refused> {
    mint(&request, &body, &upstream, |session| match session.get("type") {
        None => Ok(("translation", "realtime.translation_session")),
        Some(_) => Err(Refused(400, "unknown_parameter", "Unknown parameter: 'session.type'.", Some("session.type"))),
    })
}

async fn retired() -> Result<HttpResponse, Refused> {
    Err(Refused(
        400,
        "beta_api_shape_disabled",
        "The Realtime Beta API is no longer supported. Use /v1/realtime/client_secrets.",
        None,
    ))
}

/// The `type` and `object` of a session.
type Kind = (&'static str, &'static str);

fn mint(
    request: &HttpRequest,
    body: &[u8],
    upstream: &Upstream,
    kind: impl FnOnce(&Map<String, Value>) -> Result<Kind, Refused>,
) -> Result<HttpResponse, Refused> {
    if !upstream.knows(request) {
        return Err(Refused(401, "invalid_api_key", "Incorrect API key provided.", None));
    }
    let body = if body.is_empty() { b"{}" } else { body };
    let asked: Value =
        serde_json::from_slice(body).map_err(|_| Refused(400, "invalid_json", "The body is not valid JSON.", None))?;
    let seconds = match &asked["expires_after"]["seconds"] {
        Value::Null => DEFAULT_SECONDS,
        value => value.as_u64().filter(|seconds| SECONDS.contains(seconds)).ok_or(OUT_OF_RANGE)?,
    };
    let default = json!({"type": "realtime"});
    let mut session = asked.get("session").unwrap_or(&default).as_object().cloned().unwrap_or_default();
    let (kind, object) = kind(&session)?;
    let random = || random_secret("").map_err(|_| Refused(500, "server_error", "No random numbers.", None));
    let random = |length: usize| random().map(|text| text.reveal().get(..length).unwrap_or_default().to_owned());
    for (key, value) in [
        ("type", json!(kind)),
        ("object", json!(object)),
        ("id", json!(format!("sess_{}", random(21)?))),
        ("expires_at", json!(0)),
    ] {
        session.insert(key.into(), value);
    }
    if kind == "realtime" {
        session.entry("output_modalities").or_insert_with(|| json!(["audio"]));
    }
    let answer =
        json!({"value": format!("ek_{}", random(32)?), "expires_at": upstream.clock.unix() + seconds, "session": session});
    Ok(HttpResponse::Ok().insert_header(("x-request-id", format!("req_{}", random(32)?))).json(answer))
}

/// A refusal in `OpenAI`'s form (`ErrorResponse`): status, code, message, param.
#[derive(Debug)]
struct Refused(u16, &'static str, &'static str, Option<&'static str>);

const OUT_OF_RANGE: Refused = Refused(
    400,
    "integer_out_of_range",
    "Invalid 'expires_after.seconds': expected a value from 10 to 7200.",
    Some("expires_after.seconds"),
);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.1)
    }
}

impl ResponseError for Refused {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let Self(status, code, message, param) = self;
        let kind = if *status >= 500 { "server_error" } else { "invalid_request_error" };
        let body = json!({"error": {"message": message, "type": kind, "param": param, "code": code}});
        HttpResponse::build(self.status_code()).json(body)
    }
}
