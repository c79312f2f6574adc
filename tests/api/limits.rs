//! How much a user may have, counted exactly.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, MINT, Reply, World, error};

/// The parameters of the item of a list header (draft-ietf-httpapi-ratelimit-headers) whose policy counts a minute, or of its only item.
fn parameters(answer: &Answer, header: &str, name: Option<&str>) -> (String, BTreeMap<String, u64>) {
    let value = answer.header(header).unwrap_or_else(|| panic!("{header}: {answer}"));
    let items: Vec<_> = value
        .split(',')
        .map(|item| {
            let mut parts = item.trim().split(';');
            let policy = parts.next().unwrap_or_default().trim_matches('"').to_owned();
            let numbers = parts.filter_map(|it| it.trim().split_once('='));
            (policy, numbers.filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?))).collect::<BTreeMap<_, _>>())
        })
        .collect();
    let wanted = |item: &&(String, BTreeMap<String, u64>)| name.map_or(item.1.get("w") == Some(&60), |name| item.0 == name);
    items.iter().find(wanted).unwrap_or_else(|| panic!("{header}: {value}")).clone()
}

/// Quota and remainder of the minute's policy.
fn minute(answer: &Answer) -> (u64, u64) {
    let (name, policy) = parameters(answer, "ratelimit-policy", None);
    let (_, state) = parameters(answer, "ratelimit", Some(&name));
    (policy["q"], state["r"])
}

#[tokio::test]
async fn the_minutes_mints_are_counted_down_and_then_refused() {
    let world = World::with(|config| config.limit("mints_per_minute", 3));
    let token = world.bearer("alice");
    for left in [2, 1, 0] {
        let answer = world.service.mint(&token).await;
        answer.expect_minted();
        assert_eq!(minute(&answer), (3, left), "{answer}");
    }
    let answer = world.service.mint(&token).await;
    answer.expect_problem(429, "rate_limited");
    assert!((1..=60).contains(&answer.retry_after()), "{answer}");
    assert_eq!(minute(&answer), (3, 0));
    assert_eq!(world.upstream.count(), 3);
}

#[tokio::test]
async fn each_user_has_limits_of_their_own() {
    let world = World::with(|config| config.limit("mints_per_minute", 1));
    world.service.mint(&world.bearer("alice")).await.expect_minted();
    world.service.mint(&world.bearer("alice")).await.expect_problem(429, "rate_limited");
    world.service.mint(&world.bearer("bob")).await.expect_minted();
}

#[tokio::test]
async fn another_token_of_the_same_user_is_the_same_user() {
    let world = World::with(|config| config.limit("mints_per_minute", 1));
    world.service.mint(&world.bearer("alice")).await.expect_minted();
    let fresh = world.issuer.token("canary-user-alice").claim("jti", "2").claim("email", "other@example.com").build();
    world.service.mint(&fresh).await.expect_problem(429, "rate_limited");
}

#[tokio::test]
async fn each_profile_is_counted_by_itself() {
    let world = World::with(|config| config.limit("mints_per_minute", 1).profile("second"));
    let token = world.bearer("alice");
    world.service.mint(&token).await.expect_minted();
    world.service.mint(&token).await.expect_problem(429, "rate_limited");
    world.service.mint_from("second", &token).await.expect_minted();
}

#[tokio::test]
async fn of_sixty_four_mints_at_once_exactly_ten_pass() {
    let world = World::with(|config| config.limit("mints_per_minute", 10));
    let token = world.bearer("alice");
    let answers = join_all((0..64).map(|_| world.service.mint(&token))).await;
    let minted = answers.iter().filter(|answer| answer.status == 200).count();
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.expect_problem(429, "rate_limited");
    }
    assert_eq!((minted, world.upstream.count()), (10, 10));
}

#[tokio::test]
async fn of_many_mints_at_once_as_many_pass_as_calls_are_allowed() {
    let world = World::with(|config| config.limit("concurrent_calls", 3));
    let token = world.bearer("alice");
    let answers = join_all((0..32).map(|_| world.service.mint(&token))).await;
    let minted = answers.iter().filter(|answer| answer.status == 200).count();
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.expect_problem(429, "concurrency_limited");
    }
    assert_eq!((minted, world.upstream.count()), (3, 3));
}

#[tokio::test]
async fn without_configured_limits_one_hundred_and_twenty_mints_pass_in_a_minute() {
    let world = World::with(|config| config.without("profiles.default.limits"));
    let token = world.bearer("alice");
    let answers = join_all((0..125).map(|_| world.service.mint(&token))).await;
    let minted = answers.iter().filter(|answer| answer.status == 200).count();
    assert!((120..=122).contains(&minted), "{minted}");
}

#[tokio::test]
async fn ending_a_session_makes_room_for_another() {
    let world = World::with(|config| config.limit("concurrent_calls", 1));
    let token = world.bearer("alice");
    let session = world.service.mint(&token).await.expect_session();
    let refused = world.service.mint(&token).await;
    refused.expect_problem(429, "concurrency_limited");
    assert!((1..=600).contains(&refused.retry_after()), "{refused}");
    world.service.mint(&world.bearer("bob")).await.expect_minted();
    let path = format!("/v1/sessions/{session}");
    world.service.delete(&path, &world.bearer("bob")).await.expect_problem(404, "not_found");
    world.service.mint(&token).await.expect_problem(429, "concurrency_limited");
    world.service.delete(&path, &token).await.expect(204);
    let second = world.service.mint(&token).await.expect_session();
    world.service.delete(&path, &token).await.expect(204);
    world.service.mint(&token).await.expect_problem(429, "concurrency_limited");
    world.service.delete(&format!("/v1/sessions/{second}"), &token).await.expect(204);
    world.service.mint(&token).await.expect_minted();
}

#[tokio::test]
async fn the_months_mints_are_a_quota() {
    let world = World::with(|config| config.limit("monthly_mints", 2));
    let token = world.bearer("alice");
    for _ in 0..2 {
        let session = world.service.mint(&token).await.expect_session();
        world.service.delete(&format!("/v1/sessions/{session}"), &token).await.expect(204);
    }
    let answer = world.service.mint(&token).await;
    answer.expect_problem(429, "quota_exhausted");
    assert!(answer.retry_after() <= 31 * 86_400, "{answer}");
    world.service.mint(&world.bearer("bob")).await.expect_minted();
    assert_eq!(world.upstream.count(), 3);
}

#[tokio::test]
async fn a_mint_that_failed_for_certain_is_given_back() {
    for limit in ["mints_per_minute", "concurrent_calls", "monthly_mints"] {
        let world = World::with(|config| config.limit(limit, 1).set("upstreams.openai.max_attempts", "1"));
        let token = world.bearer("alice");
        let failures = [
            (error(400, "invalid_request_error", "unknown_parameter"), "upstream_rejected"),
            (error(401, "invalid_request_error", "missing_scope"), "upstream_permission_denied"),
            (error(429, "requests", "rate_limit_exceeded"), "upstream_rate_limited"),
            (error(429, "insufficient_quota", "insufficient_quota"), "upstream_billing"),
            (error(500, "server_error", "server_error"), "upstream_unavailable"),
        ];
        for (reply, code) in failures {
            world.upstream.script(reply);
            let answer = world.service.mint(&token).await;
            assert_eq!(answer.code(), code, "{limit}: {answer}");
        }
        world.service.mint(&token).await.expect_minted();
        let answer = world.service.mint(&token).await;
        assert_eq!(answer.status, 429, "{limit}: {answer}");
    }
}

#[tokio::test]
async fn a_mint_that_timed_out_is_given_back() {
    let world = World::with(|config| config.limit("mints_per_minute", 1).set("upstreams.openai.timeout_seconds", "1"));
    let token = world.bearer("alice");
    world.upstream.script(Reply::never());
    let unknown = world.service.mint(&token).await;
    assert!([503, 504].contains(&unknown.status), "{unknown}");
    world.service.mint(&token).await.expect_minted();
}

#[tokio::test]
async fn what_is_refused_before_admission_is_not_counted() {
    let world = World::with(|config| config.limit("mints_per_minute", 1).limit("concurrent_calls", 1));
    let token = world.bearer("alice");
    for _ in 0..3 {
        let answer = world.service.mint_with(&token, &json!({"unknown": 1})).await;
        answer.expect_problem(400, "unknown_field");
        let answer = world.service.mint_with(&token, &json!({"session": {"model": "x"}})).await;
        answer.expect_problem(403, "session_field_not_allowed");
        world.service.mint_from("no-such-profile", &token).await.expect_problem(403, "profile_forbidden");
        let call = world.service.call(Method::POST, MINT).bearer(&token);
        call.header("origin", "https://evil.example").send().await.expect_problem(403, "origin_not_allowed");
    }
    world.service.mint(&token).await.expect_minted();
}

#[tokio::test]
async fn a_refusal_is_not_counted_as_a_mint() {
    let world = World::with(|config| config.limit("concurrent_calls", 1).limit("monthly_mints", 2));
    let token = world.bearer("alice");
    let session = world.service.mint(&token).await.expect_session();
    for _ in 0..5 {
        world.service.mint(&token).await.expect_problem(429, "concurrency_limited");
    }
    world.service.delete(&format!("/v1/sessions/{session}"), &token).await.expect(204);
    world.service.mint(&token).await.expect_minted();
}

#[tokio::test]
async fn headers_of_the_caller_do_not_change_who_is_counted() {
    let world = World::with(|config| config.limit("mints_per_minute", 1));
    let token = world.bearer("alice");
    world.service.mint(&token).await.expect_minted();
    for (name, value) in [
        ("x-forwarded-for", "192.0.2.7"),
        ("forwarded", "for=192.0.2.7"),
        ("ephemint-user", "bob"),
        ("openai-safety-identifier", "bob"),
        ("user-agent", "kube-probe/1.30"),
    ] {
        let call = world.service.call(Method::POST, MINT).bearer(&token);
        let answer = call.header(name, value).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (429, "rate_limited"), "{name}");
    }
}
