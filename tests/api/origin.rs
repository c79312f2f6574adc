//! Browsers: which origins may call, and what preflight says.

use reqwest::Method;

use crate::support::{Answer, MINT, World};

const ORIGIN: &str = "https://app.example.com";

async fn mint_from(world: &World, origin: &str) -> Answer {
    let call = world.service.call(Method::POST, MINT);
    call.bearer(&world.bearer("alice")).header("origin", origin).send().await
}

async fn preflight(world: &World, origin: &str, method: &str, headers: &str) -> Answer {
    let call = world.service.call(Method::OPTIONS, MINT);
    let call = call.header("origin", origin).header("access-control-request-method", method);
    call.header("access-control-request-headers", headers).send().await
}

fn list(answer: &Answer, header: &str) -> Vec<String> {
    let values = answer.all(header).join(",");
    values.split(',').map(|it| it.trim().to_ascii_lowercase()).filter(|it| !it.is_empty()).collect()
}

fn varies_by_origin(answer: &Answer) -> bool {
    list(answer, "vary").contains(&"origin".to_owned())
}

#[tokio::test]
async fn an_allowed_origin_mints_and_may_read_the_answer() {
    let world = World::start();
    for origin in [ORIGIN, "https://second.example.com:8443"] {
        let answer = mint_from(&world, origin).await;
        answer.expect_minted();
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        assert!(varies_by_origin(&answer), "{answer}");
        let exposed = list(&answer, "access-control-expose-headers");
        for header in ["location", "ephemint-session", "x-request-id", "retry-after", "ratelimit", "ratelimit-policy"] {
            assert!(exposed.contains(&header.to_owned()), "{header} is not exposed: {exposed:?}");
        }
    }
}

#[tokio::test]
async fn clients_without_an_origin_are_served_without_cors() {
    let world = World::start();
    let answer = world.service.mint(&world.bearer("alice")).await;
    answer.expect_minted();
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert!(varies_by_origin(&answer), "{answer}");
}

#[tokio::test]
async fn other_origins_are_refused_before_anything_is_minted() {
    let world = World::start();
    let mut wrong = Vec::new();
    for origin in [
        "https://evil.example",
        "null",
        "http://app.example.com",
        "https://app.example.com:444",
        "https://app.example.com.evil.example",
        "https://evilapp.example.com",
        "https://sub.app.example.com",
        "https://app.example.com/",
        "https://APP.example.com.",
        "https://app.example.com@evil.example",
        "https://second.example.com",
        "https://app.example.com https://evil.example",
        "*",
        "file://",
        "https://app.example.com,https://evil.example",
        "https://xn--app-example-com",
        "",
    ] {
        let answer = mint_from(&world, origin).await;
        if (answer.status, answer.code().as_str()) != (403, "origin_not_allowed") {
            wrong.push(format!("{origin:?}: {} {}", answer.status, answer.code()));
            continue;
        }
        answer.expect_problem(403, "origin_not_allowed");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{answer}");
        assert!(varies_by_origin(&answer), "{answer}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn two_origins_are_not_one_that_is_allowed() {
    let world = World::start();
    let token = world.bearer("alice");
    for origins in [[ORIGIN, "https://evil.example"], ["https://evil.example", ORIGIN]] {
        let request = format!(
            "POST {MINT} HTTP/1.1\r\nHost: ephemint\r\nAuthorization: Bearer {token}\r\nOrigin: {}\r\nOrigin: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            origins[0], origins[1]
        );
        let answer = world.service.raw().ask(request.as_bytes());
        assert!([400, 403].contains(&answer.status), "{answer}");
    }
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn the_origin_is_looked_at_before_the_credential() {
    let world = World::start();
    let call = world.service.call(Method::POST, MINT).header("origin", "https://evil.example");
    call.send().await.expect_problem(403, "origin_not_allowed");
    let token = world.bearer("alice");
    for (method, path) in [(Method::GET, "/v1/sessions"), (Method::DELETE, "/v1/sessions/x")] {
        let call = world.service.call(method, path).bearer(&token);
        call.header("origin", "https://evil.example").send().await.expect_problem(403, "origin_not_allowed");
    }
}

#[tokio::test]
async fn refusals_can_be_read_by_allowed_origins() {
    let world = World::start();
    let call = world.service.call(Method::POST, MINT).header("origin", ORIGIN);
    let answer = call.send().await;
    answer.expect_problem(401, "missing_credentials");
    assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
    let call = world.service.call(Method::POST, MINT).header("origin", ORIGIN);
    let answer = call.bearer(&world.bearer("alice")).body("text/plain", "{}").send().await;
    answer.expect_problem(415, "unsupported_media_type");
    assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
}

#[tokio::test]
async fn preflight_allows_what_browsers_and_official_sdks_send() {
    let world = World::start();
    let asked = "authorization, content-type, idempotency-key, x-request-id, traceparent, x-openai-agents-sdk, openai-beta, \
                 x-stainless-lang, x-stainless-package-version, x-stainless-os, x-stainless-arch, x-stainless-runtime, \
                 x-stainless-runtime-version, x-stainless-retry-count, x-stainless-timeout";
    let answer = preflight(&world, ORIGIN, "POST", asked).await;
    assert!([200, 204].contains(&answer.status), "{answer}");
    assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
    assert!(varies_by_origin(&answer), "{answer}");
    let methods = list(&answer, "access-control-allow-methods");
    assert!(methods.contains(&"post".to_owned()), "{methods:?}");
    let allowed = list(&answer, "access-control-allow-headers");
    for header in asked.split(',').map(str::trim) {
        assert!(allowed.contains(&header.to_owned()), "{header} is not allowed: {allowed:?}");
    }
    assert!(answer.body.is_empty(), "{answer}");
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn preflight_allows_ending_a_session() {
    let world = World::start();
    let path = "/v1/sessions/01900000-0000-7000-8000-000000000000";
    let call = world.service.call(Method::OPTIONS, path).header("origin", ORIGIN);
    let call = call.header("access-control-request-method", "DELETE");
    let answer = call.header("access-control-request-headers", "authorization").send().await;
    assert!([200, 204].contains(&answer.status), "{answer}");
    let methods = list(&answer, "access-control-allow-methods");
    assert!(methods.contains(&"delete".to_owned()), "{methods:?}");
}

#[tokio::test]
async fn preflight_of_other_origins_allows_nothing() {
    let world = World::start();
    for origin in ["https://evil.example", "null", "https://app.example.com.evil.example"] {
        let answer = preflight(&world, origin, "POST", "authorization").await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{answer}");
        assert_eq!(answer.header("access-control-allow-headers"), None, "{answer}");
        assert!(varies_by_origin(&answer), "{answer}");
    }
}

#[tokio::test]
async fn preflight_reflects_no_header_that_was_not_planned() {
    let world = World::start();
    let answer = preflight(&world, ORIGIN, "POST", "x-evil, cookie, authorization").await;
    let allowed = list(&answer, "access-control-allow-headers");
    for header in ["x-evil", "cookie", "*"] {
        assert!(!allowed.contains(&header.to_owned()), "{header}: {allowed:?}");
    }
}
