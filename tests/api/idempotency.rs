//! `Idempotency-Key`: a retry is booked once and never stores a secret.

use std::time::Duration;

use futures_util::future::{join, join_all};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, MINT, Reply, World, error, eventually, minted_until, now};

async fn mint(world: &World, user: &str, key: &str) -> Answer {
    mint_with(world, user, key, &json!({})).await
}

async fn mint_with(world: &World, user: &str, key: &str, body: &Value) -> Answer {
    let call = world.service.call(Method::POST, MINT).bearer(&world.bearer(user));
    call.header("idempotency-key", key).json(body).send().await
}

#[tokio::test]
async fn a_retry_gets_a_fresh_secret_for_the_same_session() {
    let world = World::with(|config| config.limit("mints_per_minute", 1).limit("concurrent_calls", 1).limit("monthly_mints", 1));
    let first = mint(&world, "alice", "key-1").await.expect_minted();
    let second = mint(&world, "alice", "key-1").await.expect_minted();
    assert_eq!(first["ephemint"]["session_id"], second["ephemint"]["session_id"]);
    assert_ne!(first["value"], second["value"]);
    assert_eq!(world.upstream.count(), 2);
    let answer = mint(&world, "alice", "key-2").await;
    assert_eq!(answer.status, 429, "the retry was booked once, so the next mint is the second: {answer}");
}

#[tokio::test]
async fn a_key_is_good_for_three_secrets_at_least_and_not_for_ever() {
    let world = World::start();
    for _ in 0..3 {
        mint(&world, "alice", "key-1").await.expect_minted();
    }
    mint(&world, "alice", "key-1").await;
    mint(&world, "alice", "key-1").await.expect_problem(409, "idempotency_conflict");
    assert!(world.upstream.count() <= 4, "{} secrets for one key", world.upstream.count());
}

#[tokio::test]
async fn the_same_key_with_another_body_is_a_conflict() {
    let world = World::start();
    let ask = |seconds: u32| json!({"expires_after": {"anchor": "created_at", "seconds": seconds}});
    mint_with(&world, "alice", "key-1", &ask(60)).await.expect_minted();
    mint_with(&world, "alice", "key-1", &ask(61)).await.expect_problem(409, "idempotency_conflict");
    mint_with(&world, "alice", "key-1", &ask(60)).await.expect_minted();
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test]
async fn a_key_belongs_to_one_user() {
    let world = World::start();
    let alices = mint(&world, "alice", "key-1").await.expect_session();
    let bobs = mint(&world, "bob", "key-1").await.expect_session();
    assert_ne!(alices, bobs);
    let body = json!({"expires_after": {"anchor": "created_at", "seconds": 61}});
    mint_with(&world, "carol", "key-1", &body).await.expect_minted();
}

#[tokio::test]
async fn different_keys_are_different_mints() {
    let world = World::start();
    let first = mint(&world, "alice", "key-1").await.expect_session();
    for key in ["key-2", "KEY-1", "key-1."] {
        assert_ne!(mint(&world, "alice", key).await.expect_session(), first, "{key}");
    }
}

#[tokio::test]
async fn keys_are_one_to_two_hundred_and_fifty_five_visible_letters() {
    let world = World::start();
    let longest = "k".repeat(255);
    for key in ["k", "!~#\"$%&'()*+,-./:;<=>?@[]^_`{|}", longest.as_str()] {
        let answer = mint(&world, "alice", key).await;
        assert_eq!(answer.status, 200, "{key}: {answer}");
    }
    let before = world.upstream.count();
    let too_long = "k".repeat(256);
    for key in ["", " ", "a b", "a\tb", "k\u{e9}", too_long.as_str()] {
        let answer = mint(&world, "alice", key).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_idempotency_key"), "{key:?}");
        answer.expect_problem(400, "invalid_idempotency_key");
    }
    assert_eq!(world.upstream.count(), before);
}

#[tokio::test]
async fn the_same_key_at_the_same_time_is_one_session() {
    let world = World::with(|config| config.limit("mints_per_minute", 1).limit("concurrent_calls", 1));
    let answers = join_all((0..8).map(|_| mint(&world, "alice", "key-1"))).await;
    let mut sessions: Vec<_> = answers.iter().filter(|answer| answer.status == 200).map(Answer::expect_session).collect();
    assert_eq!(sessions.len(), 4, "one and three retries: {}", answers[0]);
    sessions.dedup();
    assert_eq!(sessions.len(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.expect_problem(409, "idempotency_conflict");
    }
    assert_eq!(world.upstream.count(), 4);
}

/// Sends a mint, and another with the same key once the upstream has been asked.
async fn twice(world: &World, first_answer: Reply) -> (Answer, Answer) {
    world.upstream.script(first_answer.after(Duration::from_millis(500)));
    let second = async {
        eventually("the upstream is asked", 10, async || (world.upstream.count() == 1).then_some(())).await;
        let other = json!({"expires_after": {"anchor": "created_at", "seconds": 61}});
        mint_with(world, "alice", "key-1", &other).await.expect_problem(409, "idempotency_conflict");
        mint(world, "alice", "key-1").await
    };
    join(mint(world, "alice", "key-1"), second).await
}

#[tokio::test]
async fn a_retry_waits_for_a_first_mint_that_is_still_under_way() {
    let world = World::with(|config| config.limit("mints_per_minute", 1).limit("concurrent_calls", 1));
    let (first, retry) = twice(&world, Reply::json(200, &minted_until(now() + 100))).await;
    assert_eq!(first.expect_session(), retry.expect_session());
    assert_ne!(first.expect_minted()["value"], retry.expect_minted()["value"]);
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test]
async fn a_retry_becomes_the_first_when_that_fails_under_way() {
    let world = World::with(|config| {
        config.limit("mints_per_minute", 1).limit("concurrent_calls", 1).set("upstreams.openai.max_attempts", "1")
    });
    let (first, retry) = twice(&world, error(500, "server_error", "server_error")).await;
    first.expect_problem(503, "upstream_unavailable");
    let session = retry.expect_session();
    assert_eq!(mint(&world, "alice", "key-1").await.expect_session(), session);
    assert_eq!(world.upstream.count(), 3);
}

/// Mints a secret that is about to expire, and returns its session once that is so.
async fn expired(world: &World, key: &str, ends: bool) -> String {
    world.upstream.script(Reply::json(200, &minted_until(now() + 3)));
    let session = mint(world, "alice", key).await.expect_session();
    let (path, token) = (format!("/v1/sessions/{session}"), world.bearer("alice"));
    if ends {
        world.service.delete(&path, &token).await.expect(204);
    }
    eventually("the secret expires", 10, async || {
        let shown = world.service.get(&path, &token).await.expect(200).json();
        // A lease of a shared store counts from its clock, and ends within the second after.
        (shown["expires_at"].as_i64()? < now()).then_some(())
    })
    .await;
    session
}

#[tokio::test]
async fn a_retry_after_the_lease_has_run_out_needs_a_free_place() {
    let world = World::with(|config| config.limit("mints_per_minute", 2).limit("concurrent_calls", 1));
    let session = expired(&world, "key-1", false).await;
    let other = mint(&world, "alice", "key-2").await.expect_session();
    for _ in 0..5 {
        let answer = mint(&world, "alice", "key-1").await;
        answer.expect_problem(429, "concurrency_limited");
        assert!(answer.retry_after() > 0, "{answer}");
    }
    world.service.delete(&format!("/v1/sessions/{other}"), &world.bearer("alice")).await.expect(204);
    assert_eq!(mint(&world, "alice", "key-1").await.expect_session(), session);
    mint(&world, "alice", "key-3").await.expect_problem(429, "concurrency_limited");
    world.service.get(&format!("/v1/sessions/{session}"), &world.bearer("alice")).await.expect(200);
}

#[tokio::test]
async fn a_retry_that_fails_gives_the_place_back_that_it_took_again() {
    let world = World::with(|config| config.limit("concurrent_calls", 1).set("upstreams.openai.max_attempts", "1"));
    expired(&world, "key-1", false).await;
    world.upstream.script(error(500, "server_error", "server_error"));
    mint(&world, "alice", "key-1").await.expect_problem(503, "upstream_unavailable");
    mint(&world, "alice", "key-2").await.expect_minted();
}

#[tokio::test]
async fn a_session_that_was_ended_does_not_come_back_when_its_secret_has_expired() {
    for limits in ["concurrent_calls", "monthly_mints"] {
        let world = World::with(|config| {
            let config = config.without("profiles.default.limits").limit("mints_per_minute", 1000);
            config.limit(limits, 2)
        });
        let (session, token) = (expired(&world, "key-1", true).await, world.bearer("alice"));
        mint(&world, "alice", "key-1").await.expect_problem(409, "idempotency_conflict");
        let path = format!("/v1/sessions/{session}");
        assert_eq!(world.service.get(&path, &token).await.expect(200).json()["state"], "ended");
        world.service.delete(&path, &token).await.expect(204);
        mint(&world, "alice", "key-2").await.expect_minted();
    }
}

#[tokio::test]
async fn a_session_that_is_ended_while_its_retry_is_under_way_stays_ended() {
    let world = World::with(|config| config.limit("concurrent_calls", 1));
    let token = world.bearer("alice");
    let session = mint(&world, "alice", "key-1").await.expect_session();
    let path = format!("/v1/sessions/{session}");
    world.upstream.script(Reply::json(200, &minted_until(now() + 100)).after(Duration::from_millis(500)));
    let end = async {
        eventually("the upstream is asked", 10, async || (world.upstream.count() == 2).then_some(())).await;
        world.service.delete(&path, &token).await.expect(204);
    };
    let (retry, ()) = join(mint(&world, "alice", "key-1"), end).await;
    retry.expect_problem(409, "idempotency_conflict");
    assert_eq!(world.service.get(&path, &token).await.expect(200).json()["state"], "ended");
    mint(&world, "alice", "key-2").await.expect_minted();
}

#[tokio::test]
async fn a_mint_that_failed_may_be_tried_again_with_its_key() {
    let world = World::with(|config| config.limit("mints_per_minute", 1).set("upstreams.openai.max_attempts", "1"));
    for _ in 0..5 {
        world.upstream.script(error(500, "server_error", "server_error"));
        mint(&world, "alice", "key-1").await.expect_problem(503, "upstream_unavailable");
    }
    mint(&world, "alice", "key-1").await.expect_minted();
}

#[tokio::test]
async fn a_refused_body_does_not_use_up_its_key() {
    let world = World::start();
    let wrong = json!({"unknown": 1});
    mint_with(&world, "alice", "key-1", &wrong).await.expect_problem(400, "unknown_field");
    mint(&world, "alice", "key-1").await.expect_minted();
}

#[tokio::test]
async fn a_retry_that_fails_takes_nothing_back() {
    let world = World::with(|config| {
        config.limit("mints_per_minute", 1).limit("concurrent_calls", 1).set("upstreams.openai.max_attempts", "1")
    });
    let session = mint(&world, "alice", "key-1").await.expect_session();
    world.upstream.script(error(500, "server_error", "server_error"));
    mint(&world, "alice", "key-1").await.expect_problem(503, "upstream_unavailable");
    let answer = mint(&world, "alice", "key-2").await;
    assert_eq!(answer.status, 429, "the first mint is still booked: {answer}");
    world.service.get(&format!("/v1/sessions/{session}"), &world.bearer("alice")).await.expect(200);
    assert_eq!(mint(&world, "alice", "key-1").await.expect_session(), session);
}

#[tokio::test]
async fn an_ended_session_is_not_brought_back_by_its_key() {
    for limits in ["concurrent_calls", "monthly_mints"] {
        let world = World::with(|config| {
            let config = config.without("profiles.default.limits").limit("mints_per_minute", 1000);
            config.limit(limits, 5)
        });
        let token = world.bearer("alice");
        let session = mint(&world, "alice", "key-1").await.expect_session();
        world.service.delete(&format!("/v1/sessions/{session}"), &token).await.expect(204);
        mint(&world, "alice", "key-1").await.expect_problem(409, "idempotency_conflict");
    }
}
