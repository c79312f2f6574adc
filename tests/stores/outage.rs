//! A Redis that is gone, frozen or empty: nothing is admitted that cannot be counted, and nothing stays stuck.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::support::redis::RedisServer;
use crate::support::{Config, Issuer, Service, Upstream, eventually};

struct Site {
    service: Service,
    redis: RedisServer,
    issuer: Issuer,
    upstream: Upstream,
}

impl Site {
    fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let (issuer, upstream, redis) = (Issuer::start(), Upstream::start(), RedisServer::start());
        let config = Config::new(&issuer, &upstream).redis(&redis);
        Self { service: Service::start(&change(config)), redis, issuer, upstream }
    }

    fn alice(&self) -> String {
        self.issuer.bearer("alice")
    }

    async fn ready(&self) -> u16 {
        self.service.call(Method::GET, "/readyz").send().await.status
    }

    async fn recovers(&self) {
        eventually("it serves again", 20, async || (self.service.mint(&self.alice()).await.status == 200).then_some(())).await;
    }
}

#[tokio::test]
async fn without_its_store_nothing_is_minted_and_with_it_everything_is_again() {
    let mut site = Site::with(|config| config);
    let session = site.service.mint(&site.alice()).await.expect_session();
    site.redis.down();
    let asked = site.upstream.count();
    eventually("it is not ready", 10, async || (site.ready().await == 503).then_some(())).await;
    for _ in 0..5 {
        let began = Instant::now();
        let refused = site.service.mint(&site.alice()).await;
        refused.expect_problem(503, "store_unavailable");
        assert!(refused.retry_after() > 0 && began.elapsed() < Duration::from_secs(2), "{refused}");
    }
    site.service.get("/v1/sessions", &site.alice()).await.expect_problem(503, "store_unavailable");
    site.service.delete(&format!("/v1/sessions/{session}"), &site.alice()).await.expect_problem(503, "store_unavailable");
    site.service.call(Method::GET, "/livez").send().await.expect(200);
    assert_eq!(site.upstream.count(), asked);
    site.redis.up();
    site.recovers().await;
    eventually("it is ready", 10, async || (site.ready().await == 200).then_some(())).await;
}

#[tokio::test]
async fn a_frozen_store_is_waited_for_as_long_as_is_said_and_what_it_may_have_taken_is_given_back() {
    let site = Site::with(|config| config.limit("concurrent_calls", 1).limit("monthly_mints", 2));
    let token = site.alice();
    site.redis.signal("STOP");
    for _ in 0..4 {
        let began = Instant::now();
        site.service.mint(&token).await.expect_problem(503, "store_unavailable");
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
    site.redis.signal("CONT");
    site.recovers().await;
    site.service.mint(&token).await.expect_problem(429, "concurrency_limited");
    let session = site.service.get("/v1/sessions", &token).await.json()["data"][0]["session_id"].as_str().unwrap().to_owned();
    site.service.delete(&format!("/v1/sessions/{session}"), &token).await.expect(204);
    // The four that were refused were given back, whether or not the store had taken them.
    eventually("the month has room for a second", 30, async || (site.service.mint(&token).await.status == 200).then_some(()))
        .await;
}

#[tokio::test]
async fn a_store_that_lost_everything_begins_anew() {
    let site = Site::with(|config| config.limit("monthly_mints", 1));
    let token = site.alice();
    let path = "/admin/v1/users/canary-user-bob/block";
    let session = site.service.mint(&token).await.expect_session();
    site.service.admin(Method::PUT, path).json(&json!({})).send().await.expect(200);
    site.service.mint(&token).await.expect_problem(429, "quota_exhausted");
    site.redis.cli(&["flushall"]);
    site.redis.cli(&["script", "flush"]);
    site.service.mint(&token).await.expect_minted();
    site.service.get(&format!("/v1/sessions/{session}"), &token).await.expect_problem(404, "not_found");
    let bob = site.issuer.bearer("bob");
    eventually("blocks are as the store has them", 5, async || (site.service.mint(&bob).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn a_service_that_starts_without_its_store_is_up_and_not_ready_until_it_is_there() {
    let (issuer, upstream, mut redis) = (Issuer::start(), Upstream::start(), RedisServer::start());
    redis.down();
    let config = Config::new(&issuer, &upstream).redis(&redis);
    let service = Service::start_unready(&config);
    let token = issuer.bearer("alice");
    let refused = async || (service.mint(&token).await.code() == "store_unavailable").then_some(());
    eventually("mints are refused", 10, refused).await;
    assert_eq!(service.call(Method::GET, "/readyz").send().await.status, 503);
    redis.up();
    eventually("it serves", 20, async || (service.mint(&token).await.status == 200).then_some(())).await;
    assert_eq!(service.call(Method::GET, "/readyz").send().await.status, 200);
}

#[tokio::test]
async fn alone_by_choice_each_replica_counts_its_share_and_says_so() {
    let mut site = Site::with(|config| {
        let config = config.set("store.on_outage", r#""local""#).set("store.replicas", "2");
        config.limit("mints_per_minute", 6).limit("concurrent_calls", 6)
    });
    let token = site.alice();
    site.redis.down();
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(site.service.mint(&token).await.expect_session());
    }
    let refused = site.service.mint(&token).await;
    assert_eq!(refused.status, 429, "half of six is three: {refused}");
    assert_eq!(site.ready().await, 200);
    let path = format!("/v1/sessions/{}", sessions[0]);
    site.service.get(&path, &token).await.expect(200);
    site.service.delete(&path, &token).await.expect(204);
    let metrics = site.service.admin(Method::GET, "/metrics").send().await.text();
    assert!(metrics.contains("ephemint_admitted_alone_total 3"), "{metrics}");
    assert!(site.service.stderr().contains("the store cannot be reached"));
    site.redis.up();
    eventually("it counts with the others", 20, async || (site.service.mint(&token).await.status == 200).then_some(())).await;
}
