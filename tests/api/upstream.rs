//! Every outcome of the upstream has one answer, and nothing of the upstream's own words is in it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Answer, End, Issuer, Reply, Upstream, World, error, minted_until, now, secrets};

/// A service that asks its upstream once for each mint.
fn without_retries() -> World {
    World::with(|config| config.set("upstreams.openai.max_attempts", "1"))
}

/// One mint against an upstream that always answers like this; the answer and the number of requests upstream.
pub(crate) async fn outcome(reply: Reply) -> (Answer, usize) {
    let world = without_retries();
    world.upstream.always(reply);
    let answer = world.service.mint(&world.bearer("alice")).await;
    (answer, world.upstream.count())
}

pub(crate) struct Case {
    name: &'static str,
    reply: Reply,
    status: u16,
    code: &'static str,
}

pub(crate) fn case(name: &'static str, reply: Reply, status: u16, code: &'static str) -> Case {
    Case { name, reply, status, code }
}

/// Each case must be answered as it says, and must not spoil the next mint.
pub(crate) async fn all_answered(cases: Vec<Case>) {
    let world = without_retries();
    let token = world.bearer("alice");
    let mut wrong = Vec::new();
    for Case { name, reply, status, code } in cases {
        world.upstream.script(reply);
        let answer = world.service.mint(&token).await;
        if (answer.status, answer.code().as_str()) == (status, code) {
            answer.expect_problem(status, code);
        } else {
            wrong.push(format!("{name}: {} {}, not {status} {code}", answer.status, answer.code()));
        }
        world.service.mint(&token).await.expect_minted();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn what_the_upstream_rejects_is_an_error_of_the_gateway() {
    let bad = |status, code| error(status, "invalid_request_error", code);
    all_answered(vec![
        case("400", bad(400, "unknown_parameter"), 502, "upstream_rejected"),
        case("404", bad(404, "model_not_found"), 502, "upstream_rejected"),
        case("422", bad(422, "invalid_value"), 502, "upstream_rejected"),
        case(
            "400 with empty strings",
            Reply::json(400, &json!({"error": {"message": "", "type": "", "code": "", "param": ""}})),
            502,
            "upstream_rejected",
        ),
        case(
            "400 with nulls",
            Reply::json(400, &json!({"error": {"message": null, "type": null, "code": null, "param": null}})),
            502,
            "upstream_rejected",
        ),
        case("400 with an empty object", Reply::json(400, &json!({})), 502, "upstream_rejected"),
        case("400 without a body", Reply::new(400), 502, "upstream_rejected"),
        case("400 in HTML", Reply::text(400, "text/html", "<h1>canary-upstream-message</h1>"), 502, "upstream_rejected"),
        case("400 with a list", Reply::json(400, &json!([1, 2])), 502, "upstream_rejected"),
        case("beta shape disabled", bad(400, "beta_api_shape_disabled"), 502, "upstream_rejected"),
    ])
    .await;
}

#[tokio::test]
async fn credentials_that_the_upstream_refuses_are_the_gateways_fault() {
    all_answered(vec![
        case("401 invalid_api_key", error(401, "invalid_request_error", "invalid_api_key"), 502, "upstream_auth_failed"),
        case("401 with another code", error(401, "invalid_request_error", "ip_not_authorized"), 502, "upstream_auth_failed"),
        case("401 without a body", Reply::new(401), 502, "upstream_auth_failed"),
        case("401 in HTML", Reply::text(401, "text/html", "<h1>no</h1>"), 502, "upstream_auth_failed"),
        case(
            "401 with a number as code",
            Reply::json(401, &json!({"error": {"code": 401, "message": "canary-upstream-message"}})),
            502,
            "upstream_auth_failed",
        ),
        case("401 missing_scope", error(401, "invalid_request_error", "missing_scope"), 502, "upstream_permission_denied"),
        case("403", error(403, "request_forbidden", "unsupported_country_region_territory"), 502, "upstream_permission_denied"),
        case("403 without a body", Reply::new(403), 502, "upstream_permission_denied"),
    ])
    .await;
}

#[tokio::test]
async fn a_masked_key_in_the_upstreams_message_goes_nowhere() {
    let world = World::start();
    let message = format!("Incorrect API key provided: {}.", secrets::PRIMARY_KEY);
    let body = json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": "invalid_api_key"}});
    world.upstream.always(Reply::json(401, &body));
    let answer = world.service.mint(&world.bearer("alice")).await;
    answer.expect_problem(502, "upstream_auth_failed");
    for status in [400, 403, 500] {
        world.upstream.always(Reply::json(status, &body));
        let answer = world.service.mint(&world.bearer("alice")).await;
        assert!([502, 503].contains(&answer.status), "{answer}");
    }
}

#[tokio::test]
async fn limits_of_the_upstream_will_pass() {
    let limited = |kind, code| error(429, kind, code).header("retry-after-ms", "1");
    all_answered(vec![
        case("rate_limit_exceeded", limited("requests", "rate_limit_exceeded"), 503, "upstream_rate_limited"),
        case("slow_down", limited("rate_limit_error", "slow_down"), 503, "upstream_rate_limited"),
        case("429 without a body", Reply::new(429).header("retry-after-ms", "1"), 503, "upstream_rate_limited"),
        case(
            "429 with empty strings",
            Reply::json(429, &json!({"error": {"message": "", "type": "", "code": ""}})).header("retry-after-ms", "1"),
            503,
            "upstream_rate_limited",
        ),
    ])
    .await;
}

#[tokio::test]
async fn every_name_of_an_empty_account_is_known() {
    let named =
        |kind, code| Reply::json(429, &json!({"error": {"message": "canary-upstream-message", "type": kind, "code": code}}));
    let mut cases = vec![case("by its type", named(Some("insufficient_quota"), None), 502, "upstream_billing")];
    for code in [
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
    ] {
        cases.push(case(code, named(Some("insufficient_quota"), Some(code)), 502, "upstream_billing"));
        cases.push(case(code, named(None, Some(code)), 502, "upstream_billing"));
    }
    all_answered(cases).await;
}

#[tokio::test]
async fn an_upstream_in_trouble_is_unavailable() {
    let trouble = |status| error(status, "server_error", "server_error").header("retry-after-ms", "1");
    all_answered(vec![
        case("500", trouble(500), 503, "upstream_unavailable"),
        case("502", trouble(502), 503, "upstream_unavailable"),
        case("503", trouble(503), 503, "upstream_unavailable"),
        case(
            "503 overloaded",
            error(503, "service_unavailable_error", "server_is_overloaded").header("retry-after-ms", "1"),
            503,
            "upstream_unavailable",
        ),
        case(
            "500 in HTML",
            Reply::text(500, "text/html", "<h1>canary-upstream-message</h1>").header("retry-after-ms", "1"),
            503,
            "upstream_unavailable",
        ),
        case("503 without a body", Reply::new(503).header("retry-after-ms", "1"), 503, "upstream_unavailable"),
        case(
            "500 with an empty error",
            Reply::json(500, &json!({"error": {}})).header("retry-after-ms", "1"),
            503,
            "upstream_unavailable",
        ),
        case("closed without an answer", Reply::raw(""), 503, "upstream_unavailable"),
        case("reset without an answer", Reply::raw("").end(End::Reset), 503, "upstream_unavailable"),
    ])
    .await;
}

#[tokio::test]
async fn redirects_are_not_followed_and_the_key_goes_nowhere_else() {
    let elsewhere = Upstream::start();
    for status in [301, 302, 303, 307, 308] {
        let target = format!("{}/realtime/client_secrets", elsewhere.base_url());
        let (answer, asked) = outcome(Reply::new(status).header("Location", &target)).await;
        answer.expect_problem(502, "upstream_malformed");
        assert_eq!(asked, 1, "{status}");
    }
    assert_eq!(elsewhere.connections(), 0, "the redirect was followed");
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_in_time_is_a_timeout() {
    let good = || Reply::json(200, &minted_until(now() + 120));
    let slow = [
        ("it never answers", Reply::never()),
        ("it stops in the middle", good().cut(10, End::Hang)),
        ("it stops before the body", good().cut(0, End::Hang)),
        ("it answers later", good().after(Duration::from_secs(4))),
    ];
    let world = World::with(|config| config.set("upstreams.openai.timeout_seconds", "1"));
    let token = world.bearer("alice");
    let mut wrong = Vec::new();
    for (name, reply) in slow {
        world.upstream.always(reply);
        let begun = Instant::now();
        let answer = world.service.mint(&token).await;
        if answer.code() == "upstream_timeout" {
            answer.expect_problem(504, "upstream_timeout");
        } else {
            wrong.push(format!("{name}: {} {}", answer.status, answer.code()));
        }
        assert!(begun.elapsed() < Duration::from_secs(4), "{name}: {:?}", begun.elapsed());
    }
    assert!(wrong.is_empty(), "not 504 upstream_timeout: {wrong:#?}");
}

#[tokio::test]
async fn an_upstream_that_refuses_connections_is_unavailable_until_it_is_back() {
    let world = World::from(Issuer::start(), Upstream::down(), |config| config);
    let token = world.bearer("alice");
    world.service.mint(&token).await.expect_problem(503, "upstream_unavailable");
    world.upstream.up();
    crate::support::eventually("the upstream is used again", 15, async || {
        (world.service.mint(&token).await.status == 200).then_some(())
    })
    .await;
}
