//! Two replicas at one Redis are as exact as one process.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::redis::RedisServer;
use crate::support::{Answer, Config, Issuer, MINT, Reply, Service, Upstream, error, eventually};

struct Pair {
    replicas: [Service; 2],
    issuer: Issuer,
    upstream: Upstream,
    config: Config,
    redis: RedisServer,
}

impl Pair {
    fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let (issuer, upstream, redis) = (Issuer::start(), Upstream::start(), RedisServer::start());
        let config = Config::new(&issuer, &upstream).redis(&redis).set("store.timeout_ms", "2000");
        let config = change(config);
        let replicas = [Service::start(&config), Service::start(&config)];
        Self { replicas, issuer, upstream, config, redis }
    }

    fn start() -> Self {
        Self::with(|config| config)
    }

    fn bearer(&self, name: &str) -> String {
        self.issuer.bearer(name)
    }
}

async fn mint_under(service: &Service, key: &str, body: &Value, token: &str) -> Answer {
    service.call(Method::POST, MINT).bearer(token).header("idempotency-key", key).json(body).send().await
}

#[tokio::test]
async fn of_sixty_four_mints_at_once_at_both_exactly_ten_pass_where_ten_may() {
    for limit in
        ["profiles.default.limits.mints_per_minute", "profiles.default.limits.concurrent_calls", "limits.global.monthly_mints"]
    {
        let pair = Pair::with(|config| config.set(limit, "10"));
        let token = pair.bearer("alice");
        let answers = join_all((0..64).map(|i| pair.replicas[i % 2].mint(&token))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 10, "{limit}");
        assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 54, "{limit}");
        assert_eq!(pair.upstream.count(), 10, "{limit}: nothing was minted in vain");
    }
}

#[tokio::test]
async fn a_session_is_known_ended_and_hung_up_at_either() {
    let pair = Pair::with(|config| config.limit("concurrent_calls", 1));
    let ([here, there], token) = (&pair.replicas, pair.bearer("alice"));
    let session = here.mint(&token).await.expect_session();
    there.report(&session, "rtc_1", &token).await.expect(204);
    let path = format!("/v1/sessions/{session}");
    assert_eq!(here.get(&path, &token).await.expect(200).json()["state"], "in_call");
    there.mint(&token).await.expect_problem(429, "concurrency_limited");
    here.delete(&path, &token).await.expect(204);
    there.delete(&path, &token).await.expect(204);
    eventually("the call is hung up", 10, async || (pair.upstream.hang_ups().len() == 1).then_some(())).await;
    there.mint(&token).await.expect_minted();
    assert_eq!(pair.upstream.hang_ups().len(), 1, "by one of them");
}

#[tokio::test]
async fn a_key_means_the_same_at_both_also_while_its_first_request_is_under_way() {
    let pair = Pair::with(|config| config.limit("mints_per_minute", 1).limit("concurrent_calls", 1));
    let ([here, there], token) = (&pair.replicas, pair.bearer("alice"));
    pair.upstream
        .script(Reply::json(200, &crate::support::minted_until(crate::support::now() + 60)).after(Duration::from_millis(500)));
    let body = json!({});
    let retry = async {
        eventually("the first is under way", 10, async || (pair.upstream.count() > 0).then_some(())).await;
        mint_under(there, "key-1", &body, &token).await
    };
    let (first, retry) = tokio::join!(mint_under(here, "key-1", &body, &token), retry);
    assert_eq!(first.expect_session(), retry.expect_session());
    let other = json!({"expires_after": {"anchor": "created_at", "seconds": 61}});
    mint_under(there, "key-1", &other, &token).await.expect_problem(409, "idempotency_conflict");
}

#[tokio::test]
async fn a_block_is_in_force_everywhere_within_a_second_and_after_a_restart_of_all() {
    let mut pair = Pair::start();
    let (token, path) = (pair.bearer("alice"), "/admin/v1/users/canary-user-alice/block");
    let session = pair.replicas[1].mint(&token).await.expect_session();
    pair.replicas[0].admin(Method::PUT, path).json(&json!({"reason": "abuse"})).send().await.expect(200);
    let set = Instant::now();
    while pair.replicas[1].mint(&token).await.status != 403 {
        assert!(set.elapsed() < Duration::from_secs(1), "it is not in force at the other");
    }
    let shown = pair.replicas[1].get(&format!("/v1/sessions/{session}"), &token).await.expect(200).json();
    assert_eq!(shown["state"], "revoked");
    pair.replicas = [Service::start(&pair.config), Service::start(&pair.config)];
    for replica in &pair.replicas {
        replica.mint(&token).await.expect_problem(403, "user_blocked");
    }
    pair.replicas[1].admin(Method::DELETE, path).send().await.expect(204);
    eventually("it is lifted everywhere", 1, async || (pair.replicas[0].mint(&token).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn a_block_is_heard_of_also_when_the_store_has_lost_the_ones_before_it() {
    let pair = Pair::start();
    let ([here, there], block) = (&pair.replicas, |name: &str| format!("/admin/v1/users/canary-user-{name}/block"));
    here.admin(Method::PUT, &block("alice")).json(&json!({})).send().await.expect(200);
    let (alice, bob) = (pair.bearer("alice"), pair.bearer("bob"));
    eventually("it is heard of", 5, async || (there.mint(&alice).await.status == 403).then_some(())).await;
    pair.redis.cli(&["flushall"]);
    here.admin(Method::PUT, &block("bob")).json(&json!({})).send().await.expect(200);
    eventually("the next is heard of", 5, async || (there.mint(&bob).await.status == 403).then_some(())).await;
    eventually("the lost one is forgotten", 5, async || (there.mint(&alice).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn a_mint_that_fails_at_one_leaves_its_place_to_the_other() {
    let pair = Pair::with(|config| config.limit("mints_per_minute", 1).limit("concurrent_calls", 1).limit("monthly_mints", 1));
    let token = pair.bearer("alice");
    for _ in 0..3 {
        pair.upstream.script(error(400, "invalid_request_error", "unknown_parameter"));
        pair.replicas[0].mint(&token).await.expect_problem(502, "upstream_rejected");
    }
    pair.replicas[1].mint(&token).await.expect_minted();
    pair.replicas[0].mint(&token).await.expect_problem(429, "quota_exhausted");
}

#[tokio::test]
async fn a_replica_that_is_killed_in_the_middle_of_a_mint_loses_no_count_and_leaks_no_lease() {
    let mut pair = Pair::with(|config| {
        config.limit("concurrent_calls", 1).limit("monthly_mints", 2).set("profiles.default.ttl_seconds", "60")
    });
    let token = pair.bearer("alice");
    pair.upstream.script(Reply::never());
    let killed = async {
        eventually("the mint is under way", 10, async || (pair.upstream.count() > 0).then_some(())).await;
        pair.replicas[0].signal("KILL");
    };
    let (lost, ()) = tokio::join!(pair.replicas[0].try_mint(&token), killed);
    assert_eq!(lost, None);
    assert!(pair.replicas[0].wait(Duration::from_secs(10)).is_some());
    let refused = pair.replicas[1].mint(&token).await;
    refused.expect_problem(429, "concurrency_limited");
    assert!(refused.retry_after() <= 60, "its lease ends with the secret that may have been made: {refused}");
    let again = async || (pair.replicas[1].mint(&token).await.status == 200).then_some(());
    eventually("the lease expires", 70, again).await;
    let session = pair.replicas[1].get("/v1/sessions", &token).await.json()["data"][0]["session_id"].as_str().unwrap().to_owned();
    pair.replicas[1].delete(&format!("/v1/sessions/{session}"), &token).await.expect(204);
    pair.replicas[1].mint(&token).await.expect_problem(429, "quota_exhausted");
}

#[tokio::test]
async fn a_call_that_a_dead_replica_was_to_hang_up_is_hung_up_by_another() {
    let mut pair = Pair::start();
    let token = pair.bearer("alice");
    let session = pair.replicas[0].mint(&token).await.expect_session();
    pair.replicas[0].report(&session, "rtc_1", &token).await.expect(204);
    for _ in 0..3 {
        pair.upstream.script_hang_up(Reply::never());
    }
    pair.replicas[0].delete(&format!("/v1/sessions/{session}"), &token).await.expect(204);
    eventually("it is tried", 10, async || (!pair.upstream.hang_ups().is_empty()).then_some(())).await;
    pair.replicas[0].signal("KILL");
    assert!(pair.replicas[0].wait(Duration::from_secs(10)).is_some());
    pair.upstream.forget_hang_ups();
    let written = async || pair.replicas[1].audit().into_iter().find(|entry| entry["event"] == "hang_up");
    assert_eq!(eventually("the other hangs up", 40, written).await["outcome"], "hung_up");
}
