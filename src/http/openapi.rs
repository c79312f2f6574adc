//! The public API as OpenAPI 3.1. The functions here are never called: utoipa reads their attributes.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{RefOr, Required};
use utoipa::{Modify, OpenApi, ToSchema};

use super::auth::{SignedIn, SignedOut};
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
    #[schema(nullable = false, pattern = "^created_at$")]
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "utoipa reads its shape")]
struct ReportedCall {
    /// The last segment of the `Location` header that came with the SDP answer.
    #[schema(pattern = "^rtc_[A-Za-z0-9_-]{1,124}$")]
    call_id: String,
}

#[derive(Serialize, ToSchema)]
struct Health {
    /// `ok` or `unavailable`.
    status: String,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Ephemint", description = "Trades a signed-in user's own token for a client secret that lives 60 to 600 seconds and opens realtime voice sessions with the provider."),
    paths(realtime, translation, guest, list, show, end, report, login, callback, logout, me, webhook, livez, readyz),
    components(schemas(MintRequest, ClientSecret, Session, Sessions, ReportedCall, Proof, Guest, SignedIn, SignedOut, Problem, Health)),
    modifiers(&Credentials, &Bodies, &Refusals),
    tags((name = "mint", description = "Client secrets"), (name = "guests", description = "Anonymous visitors"), (name = "sessions", description = "The caller's own sessions"), (name = "sign-in", description = "For browsers, where it is configured"), (name = "webhooks", description = "For the provider, where it is configured"), (name = "health", description = "For load balancers")),
)]
struct Api;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "The user's own access token from one of the configured issuers, a JWT or an opaque one; or a server's API key. A server that \
                 may act for users names one in Ephemint-User, on every route. A token that is bound to a key (`cnf.jkt`) is sent as \
                 `Authorization: DPoP <token>`, with a proof for this request in the `DPoP` header (RFC 9449).",
            ))
            .build();
        let cookie = ApiKeyValue::with_description(
            "__Host-ephemint",
            "The session of a browser that signed in at `/auth/login`. What changes something must come from an allowed page, as `Origin` or `Sec-Fetch-Site: same-origin` say. With an `Authorization` header it is not looked at.",
        );
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("user", SecurityScheme::Http(bearer));
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// A body may be left out, which is not the same as `null`.
struct Bodies;

impl Modify for Bodies {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let operations = document.paths.paths.values_mut().filter_map(|path| path.post.as_mut());
        for body in operations.filter_map(|operation| operation.request_body.as_mut()) {
            if let RefOr::T(body) = body {
                body.required = Some(Required::False);
            }
        }
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
    post, path = "/v1/realtime/client_secrets", tag = "mint", security(("user" = []), ("session" = [])),
    summary = "Mint a client secret for a realtime or transcription session",
    params(
        ("profile" = Option<String>, Query, description = "Name of a profile with `api = \"realtime\"` or `\"transcription\"`; absent: `default`"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters. A retry under the same key within 10 minutes is booked once, at most three times"),
        ("Ephemint-User" = Option<String>, Header, description = "The user that a server acts for, 1 to 256 characters. Read only with an API key that may act for users"),
        ("X-Request-ID" = Option<String>, Header, description = "1 to 128 of `A-Za-z0-9._-`; kept, otherwise replaced"),
    ),
    request_body(content = MintRequest, description = "May be left out. At most 16 KiB, nested at most 16 deep, no duplicate keys"),
    responses(
        (status = 200, description = "The secret. It is handed out once and kept nowhere", body = ClientSecret, headers(("RateLimit" = String), ("RateLimit-Policy" = String), ("X-Request-ID" = String), ("DPoP-Nonce" = String, description = "For the next proof, where proofs need one"))),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[expect(dead_code, reason = "utoipa reads its attributes")]
fn realtime() {}

#[utoipa::path(
    post, path = "/v1/realtime/translations/client_secrets", tag = "mint", security(("user" = []), ("session" = [])),
    summary = "Mint a client secret for a translation session",
    params(
        ("profile" = Option<String>, Query, description = "Name of a profile with `api = \"translation\"`; absent: `default`"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters. A retry under the same key within 10 minutes is booked once, at most three times"),
        ("Ephemint-User" = Option<String>, Header, description = "The user that a server acts for, 1 to 256 characters. Read only with an API key that may act for users"),
        ("X-Request-ID" = Option<String>, Header, description = "1 to 128 of `A-Za-z0-9._-`; kept, otherwise replaced"),
    ),
    request_body(content = MintRequest, description = "May be left out. At most 16 KiB, nested at most 16 deep, no duplicate keys"),
    responses(
        (status = 200, description = "The secret. It is handed out once and kept nowhere", body = ClientSecret, headers(("RateLimit" = String), ("RateLimit-Policy" = String), ("X-Request-ID" = String), ("DPoP-Nonce" = String, description = "For the next proof, where proofs need one"))),
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
    get, path = "/v1/sessions", tag = "sessions", security(("user" = []), ("session" = [])), summary = "List the caller's sessions",
    responses((status = 200, description = "The newest first", body = Sessions), (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"))
)]
#[expect(dead_code, reason = "utoipa reads its attributes")]
fn list() {}

#[utoipa::path(
    get, path = "/v1/sessions/{id}", tag = "sessions", security(("user" = []), ("session" = [])), summary = "Show one of the caller's sessions",
    params(("id" = String, Path, description = "`ephemint.session_id` of the mint answer")),
    responses((status = 200, description = "The session", body = Session), (status = "default", description = "Refused; 404 also for another user's session", body = Problem, content_type = "application/problem+json"))
)]
#[expect(dead_code, reason = "utoipa reads its attributes")]
fn show() {}

#[utoipa::path(
    delete, path = "/v1/sessions/{id}", tag = "sessions", security(("user" = []), ("session" = [])), summary = "End one of the caller's sessions and free its place",
    params(("id" = String, Path, description = "`ephemint.session_id` of the mint answer")),
    responses((status = 204, description = "Ended, now or before"), (status = "default", description = "Refused; 404 also for another user's session", body = Problem, content_type = "application/problem+json"))
)]
#[expect(dead_code, reason = "utoipa reads its attributes")]
fn end() {}

#[utoipa::path(
    post, path = "/v1/sessions/{id}/call", tag = "sessions", security(("user" = []), ("session" = [])), summary = "Report the call that was opened with a session's secret, so that it can be ended with the session",
    params(("id" = String, Path, description = "`ephemint.session_id` of the mint answer")),
    request_body(content = ReportedCall),
    responses((status = 204, description = "It is noted; again is fine"), (status = "default", description = "Refused; 409 when the session has another call or the call another session; 404 also when the session is over: its call is hung up then", body = Problem, content_type = "application/problem+json"))
)]
#[expect(dead_code, reason = "utoipa reads its attributes")]
fn report() {}

#[utoipa::path(
    get, path = "/auth/login", tag = "sign-in", summary = "Lead the browser to the OpenID provider",
    params(
        ("return_to" = Option<String>, Query, description = "A path of this service to come back to; anything else counts as the home page"),
        ("claims" = Option<String>, Query, description = "What to ask the user for: `claims` of an answer with `interaction_required`"),
    ),
    responses((status = 302, description = "To the provider"), (status = "default", description = "Refused; a page for browsers", body = Problem, content_type = "application/problem+json"))
)]
#[expect(dead_code, reason = "utoipa reads its attributes")]
fn login() {}

#[utoipa::path(
    get, path = "/auth/callback", tag = "sign-in", summary = "Where the OpenID provider leads the browser back to",
    params(
        ("code" = Option<String>, Query, description = "Of the provider"),
        ("state" = Option<String>, Query, description = "As it was sent to the provider, in the same browser, once, within 10 minutes"),
        ("iss" = Option<String>, Query, description = "The provider (RFC 9207)"),
        ("error" = Option<String>, Query, description = "Why the provider gives no code"),
    ),
    responses((status = 303, description = "Signed in; to where the browser was"), (status = "default", description = "Refused; a page for browsers", body = Problem, content_type = "application/problem+json"))
)]
#[expect(dead_code, reason = "utoipa reads its attributes")]
fn callback() {}

#[utoipa::path(
    post, path = "/auth/logout", tag = "sign-in", security(("session" = [])), summary = "Sign this browser out",
    responses((status = 200, description = "Signed out, now or before", body = SignedOut), (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"))
)]
#[expect(dead_code, reason = "utoipa reads its attributes")]
fn logout() {}

#[utoipa::path(
    get, path = "/auth/me", tag = "sign-in", security(("session" = [])), summary = "Who is signed in in this browser",
    responses((status = 200, description = "Somebody", body = SignedIn), (status = "default", description = "Refused; 401 when nobody is", body = Problem, content_type = "application/problem+json"))
)]
#[expect(dead_code, reason = "utoipa reads its attributes")]
fn me() {}

#[utoipa::path(
    post, path = "/v1/webhooks/openai", tag = "webhooks", summary = "Take an event of OpenAI's, signed as Standard Webhooks has it",
    params(
        ("webhook-id" = String, Header, description = "Names the event, however often it is delivered; it is dealt with once"),
        ("webhook-timestamp" = u64, Header, description = "Seconds since 1970, at most 300 from now"),
        ("webhook-signature" = String, Header, description = "`v1,` and the HMAC-SHA256 in base64; several are parted by spaces"),
    ),
    request_body(content = Map<String, Value>, description = "The event, at most 64 KiB"),
    responses((status = 204, description = "Dealt with, now or before"), (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"))
)]
#[expect(dead_code, reason = "utoipa reads its attributes")]
fn webhook() {}

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
    use crate::domain::ask::Ask;

    #[test]
    fn the_document_is_openapi_3_1_and_complete() {
        let document: Value = serde_json::from_str(&document()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        assert_eq!(document["info"]["title"], "Ephemint");
        assert_eq!(document["paths"].as_object().unwrap().len(), 13);
        assert_eq!(document["components"]["securitySchemes"]["user"]["scheme"], "bearer");
        assert_eq!(document["components"]["securitySchemes"]["session"]["in"], "cookie");
        let references = document.to_string();
        for schema in references.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(document["components"]["schemas"].get(schema).is_some(), "{schema} is not defined");
        }
    }

    #[test]
    fn both_kinds_of_mint_take_and_give_the_same() {
        let document: Value = serde_json::from_str(&document()).unwrap();
        let described = |path: &str| {
            let mint = document["paths"][path]["post"].clone();
            let names: Vec<_> = mint["parameters"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
            (names, mint["requestBody"].clone(), mint["responses"]["200"].clone())
        };
        let (names, body, minted) = described("/v1/realtime/client_secrets");
        assert_eq!(names, ["profile", "Idempotency-Key", "Ephemint-User", "X-Request-ID"]);
        assert!(minted["headers"]["RateLimit"].is_object(), "{minted:#}");
        assert_eq!(described("/v1/realtime/translations/client_secrets"), (names, body, minted));
    }

    #[test]
    fn a_body_may_be_left_out_and_is_never_null() {
        let document: Value = serde_json::from_str(&document()).unwrap();
        let body = &document["paths"]["/v1/realtime/client_secrets"]["post"]["requestBody"];
        assert_ne!(body["required"], true, "{body:#}");
        assert_eq!(body["content"]["application/json"]["schema"]["$ref"], "#/components/schemas/MintRequest", "{body:#}");
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["ExpiresAfter"]["properties"]["anchor"]["type"], "string", "{schemas:#}");
        for refused in ["null", r#"{"expires_after":{"anchor":null,"seconds":60}}"#] {
            assert!(Ask::parse(refused.as_bytes()).is_err(), "{refused}");
        }
    }
}
