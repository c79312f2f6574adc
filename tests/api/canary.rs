//! The canary itself: it must notice what the other tests rely on it to notice.

use serde_json::json;

use crate::support::{Canary, Place, Scope, secrets};

fn headers(name: &str, value: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), value.to_owned())]
}

#[test]
fn a_minted_value_is_expected_in_a_mint_and_nowhere_else() {
    let value = format!("ek_{}_1", secrets::MINTED);
    let minted = json!({"value": value, "client_secret": {"value": value}}).to_string();
    let canary = Canary::new();
    canary.saw_answer("POST /v1/realtime/client_secrets", 200, &[], minted.as_bytes());
    assert_eq!(canary.complaints(), Vec::<String>::new());
    for (name, status, body) in [
        ("POST /v1/realtime/client_secrets", 503, minted.clone()),
        ("GET /v1/sessions", 200, minted.clone()),
        ("POST /v1/realtime/client_secrets", 200, json!({"value": value, "session": {"secret": value}}).to_string()),
        ("POST /v1/realtime/client_secrets", 200, format!("{value}, which is no JSON")),
    ] {
        let canary = Canary::new();
        canary.saw_answer(name, status, &[], body.as_bytes());
        assert_eq!(canary.complaints().len(), 1, "{name} {status} {body}");
    }
    let canary = Canary::new();
    canary.saw_answer("POST /v1/realtime/client_secrets", 200, &headers("location", &value), b"{}");
    assert_eq!(canary.complaints().len(), 1);
}

#[test]
fn every_secret_is_noticed_in_every_place() {
    for secret in [
        secrets::PRIMARY_KEY,
        secrets::FALLBACK_KEY,
        secrets::MINTED,
        secrets::ADMIN_TOKEN,
        secrets::PSEUDONYM_KEY,
        secrets::INTROSPECTION_SECRET,
        secrets::API_KEY,
        secrets::MCP_AUTHORIZATION,
        secrets::INSTRUCTIONS,
        secrets::TOOL,
        secrets::LOGIN_SECRET,
        secrets::COOKIE_KEY,
        secrets::WEBHOOK_SECRET,
        secrets::FORMER_WEBHOOK_SECRET,
        secrets::CODE,
        secrets::REFRESH_TOKEN,
    ] {
        for place in [Place::Answer, Place::Log, Place::Audit, Place::Metrics] {
            let canary = Canary::new();
            canary.saw(place, "a place", format!("before{secret}after").as_bytes());
            assert_eq!(canary.complaints().len(), 1, "{secret} in {place:?}");
        }
    }
}

#[test]
fn names_of_users_are_for_their_own_eyes() {
    for (place, complaints) in [(Place::Answer, 0), (Place::Log, 1), (Place::Audit, 1), (Place::Metrics, 1)] {
        let canary = Canary::new();
        canary.saw(place, "a place", b"canary-user-alice");
        assert_eq!(canary.complaints().len(), complaints, "{place:?}");
    }
}

#[test]
fn credentials_of_users_are_noticed_by_their_telling_part() {
    let signature = "s".repeat(86);
    let canary = Canary::new();
    canary.guard_credential(&format!("header.payload.{signature}"));
    canary.saw(Place::Log, "the log", b"header.payload.x");
    assert_eq!(canary.complaints(), Vec::<String>::new());
    canary.saw(Place::Log, "the log", format!("token={signature}").as_bytes());
    assert_eq!(canary.complaints().len(), 1);
    let canary = Canary::new();
    canary.guard("a name of a test", "marker-of-a-test", Scope::Everywhere);
    canary.saw(Place::Answer, "an answer", b"marker-of-a-test");
    assert_eq!(canary.complaints().len(), 1);
}

#[test]
fn a_header_that_is_not_listed_is_noticed() {
    let canary = Canary::new();
    canary.saw_answer("GET /livez", 200, &headers("x-request-id", "1"), b"{}");
    assert_eq!(canary.complaints(), Vec::<String>::new());
    canary.saw_answer("GET /auth/login", 302, &headers("set-cookie", "__Host-ephemint=a; Path=/"), b"");
    assert_eq!(canary.complaints(), Vec::<String>::new());
    canary.saw_answer("GET /auth/login", 302, &headers("set-cookie", "openai=a; Path=/"), b"");
    assert_eq!(canary.complaints().len(), 1);
    for name in ["openai-organization", "set-cookie", "server", "x-ratelimit-limit-requests", "x-powered-by", "etag"] {
        let canary = Canary::new();
        canary.saw_answer("GET /livez", 200, &headers(name, "1"), b"{}");
        assert_eq!(canary.complaints().len(), 1, "{name}");
    }
}
