//! Calls that clients report: bound to their session, counted until they are over, hung up with the permanent key.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{End, Reply, World, error, eventually, secrets};

async fn state(world: &World, session: &str, token: &str) -> Value {
    world.service.get(&format!("/v1/sessions/{session}"), token).await.expect(200).json()["state"].clone()
}

async fn hung_up(world: &World, count: usize) -> Vec<(String, String)> {
    let done = async || Some(world.upstream.hang_ups()).filter(|calls| calls.len() >= count);
    eventually("the call is hung up", 10, done).await
}

#[tokio::test]
async fn a_reported_call_is_hung_up_with_the_permanent_key_when_its_owner_ends_the_session() {
    let world = World::start();
    let token = world.bearer("alice");
    let session = world.service.mint(&token).await.expect_session();
    let answer = world.service.report(&session, "rtc_u0-1_A", &token).await;
    assert!(answer.expect(204).body.is_empty() && answer.header("cache-control") == Some("no-store"), "{answer}");
    let shown = world.service.get(&format!("/v1/sessions/{session}"), &token).await.expect(200).json();
    assert_eq!((&shown["state"], &shown["call_id"]), (&json!("in_call"), &json!("rtc_u0-1_A")));
    assert!(world.upstream.hang_ups().is_empty());
    world.service.delete(&format!("/v1/sessions/{session}"), &token).await.expect(204);
    assert_eq!(hung_up(&world, 1).await, [("rtc_u0-1_A".to_owned(), secrets::PRIMARY_KEY.to_owned())]);
    world.service.delete(&format!("/v1/sessions/{session}"), &token).await.expect(204);
    assert_eq!(state(&world, &session, &token).await, "ended");
    let entries = async || {
        let audit = world.service.audit();
        let of = |event: &str| audit.iter().find(|entry| entry["event"] == event && entry["session_id"] == *session).cloned();
        Some((of("call")?, of("end")?, of("hang_up")?))
    };
    let (call, end, hang_up) = eventually("all is written down", 10, entries).await;
    assert_eq!((&call["outcome"], &call["call_id"]), (&json!("reported"), &json!("rtc_u0-1_A")));
    assert_eq!((&end["outcome"], &hang_up["outcome"]), (&json!("ended"), &json!("hung_up")));
    assert_eq!(world.upstream.hang_ups().len(), 1, "a call is hung up once");
}

#[tokio::test]
async fn hanging_up_is_tried_again_until_it_is_done_and_404_is_done() {
    let world = World::start();
    let token = world.bearer("alice");
    world.upstream.script_hang_up(error(500, "server_error", "server_error"));
    world.upstream.script_hang_up(Reply::never().end(End::Reset));
    world.upstream.script_hang_up(error(429, "requests", "rate_limit_exceeded"));
    world.upstream.script_hang_up(error(404, "invalid_request_error", "call_not_found"));
    let session = world.service.mint(&token).await.expect_session();
    world.service.report(&session, "rtc_1", &token).await.expect(204);
    world.service.delete(&format!("/v1/sessions/{session}"), &token).await.expect(204);
    hung_up(&world, 4).await;
    let written = async || world.service.audit().into_iter().find(|entry| entry["event"] == "hang_up");
    assert_eq!(eventually("it is written down", 10, written).await["outcome"], "already_over");
    assert_eq!(world.upstream.hang_ups().len(), 4);
}

#[tokio::test]
async fn a_call_is_hung_up_with_another_key_when_the_one_that_minted_is_no_longer_good() {
    let world = World::with(|config| config.keys(&["TEST_OPENAI_KEY", "TEST_OPENAI_KEY_FALLBACK"]));
    let token = world.bearer("alice");
    let session = world.service.mint(&token).await.expect_session();
    world.service.report(&session, "rtc_1", &token).await.expect(204);
    world.upstream.script_hang_up(error(401, "invalid_request_error", "invalid_api_key"));
    world.service.delete(&format!("/v1/sessions/{session}"), &token).await.expect(204);
    let keys: Vec<_> = hung_up(&world, 2).await.into_iter().map(|(_, key)| key).collect();
    assert_eq!(keys, [secrets::PRIMARY_KEY, secrets::FALLBACK_KEY]);
}

#[tokio::test]
async fn one_session_has_one_call_and_one_call_one_session() {
    let world = World::start();
    let (alice, bob) = (world.bearer("alice"), world.bearer("bob"));
    let first = world.service.mint(&alice).await.expect_session();
    let second = world.service.mint(&bob).await.expect_session();
    for _ in 0..2 {
        world.service.report(&first, "rtc_1", &alice).await.expect(204);
    }
    world.service.report(&first, "rtc_2", &alice).await.expect_problem(409, "call_already_reported");
    world.service.report(&second, "rtc_1", &bob).await.expect_problem(409, "call_already_reported");
    world.service.report(&first, "rtc_1", &bob).await.expect_problem(404, "not_found");
    world.service.delete(&format!("/v1/sessions/{second}"), &bob).await.expect(204);
    assert!(world.upstream.hang_ups().is_empty(), "nobody ends another one's call");
}

#[tokio::test]
async fn a_call_of_a_session_that_is_over_is_hung_up_as_soon_as_it_is_reported() {
    let world = World::start();
    let token = world.bearer("alice");
    let session = world.service.mint(&token).await.expect_session();
    world.service.delete(&format!("/v1/sessions/{session}"), &token).await.expect(204);
    for _ in 0..3 {
        world.service.report(&session, "rtc_late", &token).await.expect_problem(404, "not_found");
    }
    assert_eq!(hung_up(&world, 1).await[0].0, "rtc_late");
    assert_eq!(state(&world, &session, &token).await, "ended");
}

#[tokio::test]
async fn a_call_holds_its_place_after_its_secret_has_expired_until_it_is_over() {
    let world = World::with(|config| config.limit("concurrent_calls", 1));
    let token = world.bearer("alice");
    world.upstream.script(Reply::json(200, &crate::support::minted_until(crate::support::now() + 2)));
    let session = world.service.mint(&token).await.expect_session();
    world.service.report(&session, "rtc_1", &token).await.expect(204);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(state(&world, &session, &token).await, "in_call");
    let refused = world.service.mint(&token).await;
    refused.expect_problem(429, "concurrency_limited");
    assert!((3000..=3600).contains(&refused.retry_after()), "{refused}");
    world.service.delete(&format!("/v1/sessions/{session}"), &token).await.expect(204);
    world.service.mint(&token).await.expect_minted();
}

#[tokio::test]
async fn what_is_no_call_id_goes_nowhere() {
    let world = World::start();
    let token = world.bearer("alice");
    let session = world.service.mint(&token).await.expect_session();
    let path = format!("/v1/sessions/{session}/call");
    let post = async |body: Value| world.service.call(Method::POST, &path).bearer(&token).json(&body).send().await;
    for id in ["", "rtc_", "sess_1", "rtc_1/hangup", "rtc_../../models", "rtc_%2e%2e", "rtc_a?b=c", "rtc_a b", "rtc_\r\nx"] {
        let problem = post(json!({ "call_id": id })).await.expect_problem(400, "invalid_json");
        assert_eq!(problem["error"]["param"], "/call_id", "{id}");
    }
    for body in [json!({}), json!({"call_id": 1}), json!({"call_id": null}), json!([]), json!("rtc_1")] {
        post(body).await.expect_problem(400, "invalid_json");
    }
    post(json!({"call_id": "rtc_1", "x": 1})).await.expect_problem(400, "unknown_field");
    world
        .service
        .call(Method::POST, &path)
        .json(&json!({"call_id": "rtc_1"}))
        .send()
        .await
        .expect_problem(401, "missing_credentials");
    let call = world.service.call(Method::POST, &path).bearer(&token).json(&json!({"call_id": "rtc_1"}));
    call.header("origin", "https://evil.example").send().await.expect_problem(403, "origin_not_allowed");
    world.service.get(&path, &token).await.expect_problem(405, "method_not_allowed");
    assert_eq!(state(&world, &session, &token).await, "issued");
}

#[tokio::test]
async fn an_end_goes_through_although_its_caller_is_gone_before_the_answer() {
    let world = World::with(|config| config.limit("concurrent_calls", 20));
    let token = world.bearer("alice");
    let mut sessions = Vec::new();
    for i in 0..20 {
        let session = world.service.mint(&token).await.expect_session();
        world.service.report(&session, &format!("rtc_{i}"), &token).await.expect(204);
        sessions.push(session);
    }
    for session in &sessions {
        let request = format!("DELETE /v1/sessions/{session} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
        world.service.raw().and_reset(request.as_bytes());
    }
    // Whatever came in is ended as a whole; what did not can be ended again.
    for session in &sessions {
        world.service.delete(&format!("/v1/sessions/{session}"), &token).await.expect(204);
    }
    let calls = async || {
        let mut calls: Vec<_> = world.upstream.hang_ups().into_iter().map(|(call, _)| call).collect();
        calls.sort_unstable();
        calls.dedup();
        (calls.len() == 20).then_some(())
    };
    eventually("every call is hung up", 15, calls).await;
    for _ in 0..20 {
        world.service.mint(&token).await.expect_minted();
    }
}

#[tokio::test]
async fn a_session_that_is_ended_while_its_call_is_reported_keeps_no_place() {
    let world = World::with(|config| config.limit("concurrent_calls", 1));
    let token = world.bearer("alice");
    for i in 0..40 {
        let session = world.service.mint(&token).await.expect_session();
        let path = format!("/v1/sessions/{session}");
        let call = format!("rtc_{i}");
        let (_, ended) = tokio::join!(world.service.report(&session, &call, &token), world.service.delete(&path, &token));
        ended.expect(204);
    }
    world.service.mint(&token).await.expect_minted();
}
