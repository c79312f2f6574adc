//! What counts as a credential, and what never does.

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, MINT, Service, World, secrets};

async fn authorization(service: &Service, value: &str) -> Answer {
    let call = service.call(Method::POST, MINT);
    call.header("authorization", value).send().await
}

/// A mint written out byte by byte, with these extra header lines.
fn raw_mint(target: &str, headers: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: ephemint\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn a_request_without_a_credential_is_refused() {
    let world = World::start();
    let answer = world.service.call(Method::POST, MINT).send().await;
    answer.expect_problem(401, "missing_credentials");
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn the_scheme_is_bearer_in_any_case() {
    let world = World::start();
    let token = world.bearer("alice");
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let answer = authorization(&world.service, &format!("{scheme} {token}")).await;
        answer.expect_minted();
    }
}

#[tokio::test]
async fn other_schemes_and_broken_values_are_refused() {
    let world = World::start();
    let token = world.bearer("alice");
    let mut wrong = Vec::new();
    for value in [
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        token.clone(),
        format!("Basic {token}"),
        format!("DPoP {token}"),
        format!("Token {token}"),
        format!("BearerX {token}"),
        format!("Bearer{token}"),
        format!("Bearer {token} {token}"),
        format!("Bearer {token},Bearer {token}"),
        format!("Bearer token={token}"),
        format!("Bearer \"{token}\""),
        "Bearer ".to_owned() + &token.replace('.', "\u{e9}"),
    ] {
        let answer = authorization(&world.service, &value).await;
        let code = answer.code();
        if answer.status != 401 || !["missing_credentials", "invalid_token"].contains(&code.as_str()) {
            wrong.push(format!("{}: {} {code}", value.replace(&token, "TOKEN"), answer.status));
            continue;
        }
        answer.expect_problem(401, &code);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn two_authorization_headers_are_refused_even_when_they_are_equal() {
    let world = World::start();
    let (alice, bob) = (world.bearer("alice"), world.bearer("bob"));
    for second in [&alice, &bob] {
        let headers = format!("Authorization: Bearer {alice}\r\nAuthorization: Bearer {second}\r\n");
        let answer = world.service.raw().ask(raw_mint(MINT, &headers).as_bytes());
        answer.expect_problem(400, "duplicate_header");
    }
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn two_content_types_or_idempotency_keys_are_refused() {
    let world = World::start();
    let token = world.bearer("alice");
    for header in ["Content-Type: application/json", "Idempotency-Key: one"] {
        let headers = format!("Authorization: Bearer {token}\r\n{header}\r\n{header}\r\n");
        let answer = world.service.raw().ask(raw_mint(MINT, &headers).as_bytes());
        answer.expect_problem(400, "duplicate_header");
    }
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn a_duplicate_header_is_noticed_before_anything_else() {
    let world = World::start();
    let headers = "Authorization: Bearer x\r\nAuthorization: Bearer y\r\nOrigin: https://evil.example\r\n";
    for target in [MINT, "/nowhere"] {
        let answer = world.service.raw().ask(raw_mint(target, headers).as_bytes());
        answer.expect_problem(400, "duplicate_header");
    }
}

#[tokio::test]
async fn tokens_in_the_query_in_forms_and_in_cookies_are_no_credentials() {
    let world = World::start();
    let token = world.bearer("alice");
    let service = &world.service;
    for name in ["access_token", "token", "authorization", "api_key", "bearer"] {
        let call = service.call(Method::POST, &format!("{MINT}?{name}={token}"));
        call.send().await.expect_problem(401, "missing_credentials");
        let call = service.call(Method::POST, MINT);
        let call = call.header("cookie", &format!("{name}={token}"));
        call.send().await.expect_problem(401, "missing_credentials");
        let call = service.call(Method::POST, MINT);
        let call = call.body("application/x-www-form-urlencoded", format!("{name}={token}"));
        call.send().await.expect_problem(401, "missing_credentials");
    }
    for header in ["api-key", "x-api-key", "x-access-token", "proxy-authorization", "x-authorization"] {
        let call = service.call(Method::POST, MINT);
        let call = call.header(header, &format!("Bearer {token}"));
        call.send().await.expect_problem(401, "missing_credentials");
    }
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn the_services_own_secrets_are_no_credentials_of_users() {
    let world = World::start();
    for secret in [secrets::PRIMARY_KEY, secrets::ADMIN_TOKEN, secrets::PSEUDONYM_KEY] {
        world.service.mint(secret).await.expect_problem(401, "invalid_token");
    }
    let minted = world.service.mint(&world.bearer("alice")).await;
    let minted = minted.expect_minted();
    let value = minted["value"].as_str().expect("a value");
    world.service.mint(value).await.expect_problem(401, "invalid_token");
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn every_route_of_users_asks_for_the_credential() {
    let world = World::start();
    let session = world.service.mint(&world.bearer("alice")).await.expect_session();
    for (method, path) in [
        (Method::POST, MINT.to_owned()),
        (Method::POST, "/v1/realtime/translations/client_secrets".to_owned()),
        (Method::GET, "/v1/sessions".to_owned()),
        (Method::GET, format!("/v1/sessions/{session}")),
        (Method::DELETE, format!("/v1/sessions/{session}")),
    ] {
        let answer = world.service.call(method.clone(), &path).send().await;
        answer.expect_problem(401, "missing_credentials");
        let answer = world.service.call(method, &path).bearer("not-a-token").send().await;
        answer.expect_problem(401, "invalid_token");
    }
}

#[tokio::test]
async fn the_credential_is_looked_at_before_body_and_profile() {
    let world = World::start();
    let call = world.service.call(Method::POST, &format!("{MINT}?profile=no-such-profile"));
    let answer = call.body("text/plain", "{").send().await;
    answer.expect_problem(401, "missing_credentials");
    let call = world.service.call(Method::POST, MINT).bearer("not-a-token");
    let answer = call.json(&json!({"unknown": "x".repeat(20_000)})).send().await;
    answer.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn the_body_is_looked_at_before_the_profile() {
    let world = World::start();
    let call = world.service.call(Method::POST, &format!("{MINT}?profile=no-such-profile"));
    let answer = call.bearer(&world.bearer("alice")).body("application/json", "{").send().await;
    answer.expect_problem(400, "invalid_json");
}
