//! The public API as OpenAPI 3.1. The functions here are never called: utoipa reads their attributes.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};

use super::guest::Guest;
use super::problem::Problem;
use super::wire::{ClientSecret, Session, Sessions};
use crate::issue::refusal::Code;

/// The whole document, as JSON text.
pub(crate) fn document() -> String {
    Api::openapi().to_json().unwrap_or_default()
}

/// A mint request: `OpenAI`'s own shape, so that its SDKs work.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "utoipa reads its shape")]
struct MintRequest {
    expires_after: Option<ExpiresAfter>,
    /// Fields that equal the profile's, or that its `client_may_set` lists.
    session: Option<Map<String, Value>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "utoipa reads its shape")]
struct ExpiresAfter {
    /// Only `created_at`.
    #[schema(example = "created_at")]
    anchor: Option<String>,
    /// At most the profile's `max_ttl_seconds`; absent: its `ttl_seconds`.
    #[schema(minimum = 60, maximum = 600)]
    seconds: Option<u16>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "utoipa reads its shape")]
struct Proof {
    /// What the widget gave. It counts once.
    #[schema(min_length = 1, max_length = 8192)]
    proof: String,
}

#[derive(Serialize, ToSchema)]
struct Health {
    /// `ok` or `unavailable`.
    status: String,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Ephemint", description = "Trades a signed-in user's own token for a client secret that lives 60 to 600 seconds and opens realtime voice sessions with the provider."),
    paths(realtime, translation, guest, list, show, end, livez, readyz),
    components(schemas(MintRequest, ClientSecret, Session, Sessions, Proof, Guest, Problem, Health)),
    modifiers(&Bearer, &Refusals),
    tags((name = "mint", description = "Client secrets"), (name = "guests", description = "Anonymous visitors"), (name = "sessions", description = "The caller's own sessions"), (name = "health", description = "For load balancers")),
)]
struct Api;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "The user's own access token from one of the configured issuers, a JWT or an opaque one; or a server's API key. A server that \
                 may act for users names one in Ephemint-User, on every route. A token that is bound to a key (`cnf.jkt`) is sent as \
                 `Authorization: DPoP <token>`, with a proof for this request in the `DPoP` header (RFC 9449).",
            ))
            .build();
        document.components.get_or_insert_default().add_security_scheme("user", SecurityScheme::Http(bearer));
    }
}

/// Lists the codes that a refusal may have.
struct Refusals;

impl Modify for Refusals {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let rows: Vec<String> = Code::ALL
            .iter()
            .map(|code| code.row())
            .map(|row| format!("| {} | `{}` | {} |", row.status, row.name, row.title))
            .collect();
        let table = format!(
            "\n\nEvery refusal is `application/problem+json` with one of these codes:\n\n| status | code | title |\n|---|---|---|\n{}",
            rows.join("\n")
        );
        document.info.description.get_or_insert_default().push_str(&table);
    }
}

#[utoipa::path(
    post, path = "/v1/realtime/client_secrets", tag = "mint", security(("user" = [])),
    summary = "Mint a client secret for a realtime or transcription session",
    params(
        ("profile" = Option<String>, Query, description = "Name of the profile; absent: `default`"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters. A retry under the same key within 10 minutes is booked once, at most three times"),
        ("Ephemint-User" = Option<String>, Header, description = "The user that a server acts for, 1 to 256 characters. Read only with an API key that may act for users"),
        ("X-Request-ID" = Option<String>, Header, description = "1 to 128 of `A-Za-z0-9._-`; kept, otherwise replaced"),
    ),
    request_body(content = Option<MintRequest>, description = "At most 16 KiB, nested at most 16 deep, no duplicate keys"),
    responses(
        (status = 200, description = "The secret. It is handed out once and kept nowhere", body = ClientSecret, headers(("RateLimit" = String), ("RateLimit-Policy" = String), ("X-Request-ID" = String), ("DPoP-Nonce" = String, description = "For the next proof, where proofs need one"))),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[expect(dead_code, reason = "utoipa reads its attributes")]
fn realtime() {}

#[utoipa::path(
    post, path = "/v1/realtime/translations/client_secrets", tag = "mint", security(("user" = [])),
    summary = "Mint a client secret for a translation session",
    params(("profile" = Option<String>, Query, description = "Name of a profile with `api = \"translation\"`")),
    request_body(content = Option<MintRequest>),
    responses(
        (status = 200, description = "The secret", body = ClientSecret),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[expect(dead_code, reason = "utoipa reads its attributes")]
fn translation() {}

#[utoipa::path(
    post, path = "/auth/guest", tag = "guests", summary = "Become a guest, where the operator lets guests in",
    request_body(content = Proof),
    responses(
        (status = 200, description = "The guest's access token", body = Guest),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[expect(dead_code, reason = "utoipa reads its attributes")]
fn guest() {}

#[utoipa::path(
    get, path = "/v1/sessions", tag = "sessions", security(("user" = [])), summary = "List the caller's sessions",
    responses((status = 200, description = "The newest first", body = Sessions), (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"))
)]
#[expect(dead_code, reason = "utoipa reads its attributes")]
fn list() {}

#[utoipa::path(
    get, path = "/v1/sessions/{id}", tag = "sessions", security(("user" = [])), summary = "Show one of the caller's sessions",
    params(("id" = String, Path, description = "`ephemint.session_id` of the mint answer")),
    responses((status = 200, description = "The session", body = Session), (status = "default", description = "Refused; 404 also for another user's session", body = Problem, content_type = "application/problem+json"))
)]
#[expect(dead_code, reason = "utoipa reads its attributes")]
fn show() {}

#[utoipa::path(
    delete, path = "/v1/sessions/{id}", tag = "sessions", security(("user" = [])), summary = "End one of the caller's sessions and free its place",
    params(("id" = String, Path, description = "`ephemint.session_id` of the mint answer")),
    responses((status = 204, description = "Ended, now or before"), (status = "default", description = "Refused; 404 also for another user's session", body = Problem, content_type = "application/problem+json"))
)]
#[expect(dead_code, reason = "utoipa reads its attributes")]
fn end() {}

#[utoipa::path(get, path = "/livez", tag = "health", summary = "Whether the process answers", responses((status = 200, description = "It does", body = Health)))]
#[expect(dead_code, reason = "utoipa reads its attributes")]
fn livez() {}

#[utoipa::path(
    get, path = "/readyz", tag = "health", summary = "Whether requests should be sent here",
    responses((status = 200, description = "Yes", body = Health), (status = 503, description = "No: starting, shutting down, or an issuer's keys are missing", body = Health))
)]
#[expect(dead_code, reason = "utoipa reads its attributes")]
fn readyz() {}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::document;

    #[test]
    fn the_document_is_openapi_3_1_and_complete() {
        let document: Value = serde_json::from_str(&document()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        assert_eq!(document["info"]["title"], "Ephemint");
        assert_eq!(document["paths"].as_object().unwrap().len(), 7);
        assert_eq!(document["components"]["securitySchemes"]["user"]["scheme"], "bearer");
        let references = document.to_string();
        for schema in references.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(document["components"]["schemas"].get(schema).is_some(), "{schema} is not defined");
        }
    }
}
