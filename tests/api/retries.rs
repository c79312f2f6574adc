//! What is tried again, how often, how soon, and what is never tried again.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Config, End, Reply, World, error, minted_until, now};

/// A failure that may be tried again at once.
fn passing(status: u16) -> Reply {
    error(status, "server_error", "server_error").header("retry-after-ms", "1")
}

/// How many requests one mint makes of an upstream that always answers like this.
async fn attempts(world: &World, reply: Reply) -> usize {
    let token = world.bearer("alice");
    let before = world.upstream.count();
    world.upstream.always(reply);
    let answer = world.service.mint(&token).await;
    assert!(answer.status >= 500, "{answer}");
    let count = world.upstream.count() - before;
    world.upstream.always(None);
    world.service.mint(&token).await.expect_minted();
    count
}

#[tokio::test]
async fn failures_that_may_pass_are_tried_max_attempts_times() {
    let limited = error(429, "requests", "rate_limit_exceeded").header("retry-after-ms", "1");
    for most in [1_u32, 2, 3] {
        let world = World::with(|config| config.set("upstreams.openai.max_attempts", &most.to_string()));
        for (name, reply) in [("500", passing(500)), ("502", passing(502)), ("503", passing(503)), ("429", limited.clone())] {
            assert_eq!(attempts(&world, reply).await, most as usize, "{name} with max_attempts = {most}");
        }
    }
}

#[tokio::test]
async fn what_will_not_pass_is_tried_once() {
    let invalid = |status| error(status, "invalid_request_error", "some_code");
    let world = World::start();
    for (name, reply) in [
        ("400", invalid(400)),
        ("401", invalid(401)),
        ("403", invalid(403)),
        ("404", invalid(404)),
        ("422", invalid(422)),
        ("billing", error(429, "insufficient_quota", "insufficient_quota").header("retry-after-ms", "1")),
        ("billing by its newer code", error(429, "insufficient_quota", "credit_balance_exhausted").header("retry-after-ms", "1")),
        ("a 200 that is malformed", Reply::text(200, "application/json", "<html>")),
        ("a redirect", Reply::new(307).header("Location", "http://127.0.0.1:9/")),
        ("500 that says so", passing(500).header("x-should-retry", "false")),
        ("503 that says so", passing(503).header("x-should-retry", "false")),
        ("429 that says so", error(429, "requests", "rate_limit_exceeded").header("x-should-retry", "false")),
    ] {
        assert_eq!(attempts(&world, reply).await, 1, "{name}");
    }
}

#[tokio::test]
async fn a_failure_that_passes_is_not_noticed_by_the_caller() {
    let good = || Reply::json(200, &minted_until(now() + 120));
    let replies = [
        passing(500),
        passing(503),
        error(429, "requests", "rate_limit_exceeded").header("retry-after-ms", "1"),
        Reply::raw("").end(End::Close),
        Reply::raw("").end(End::Reset),
        good().cut(40, End::Reset),
        good().cut(40, End::Close),
    ];
    let worlds: Vec<_> = replies.iter().map(|_| World::with(|config| config.limit("mints_per_minute", 1))).collect();
    let runs = worlds.iter().zip(replies).map(|(world, reply)| async move {
        world.upstream.script(reply.clone());
        let answer = world.service.mint(&world.bearer("alice")).await;
        assert_eq!(answer.status, 200, "{reply:?}: {answer}");
        answer.expect_minted();
        let requests = world.upstream.requests();
        assert_eq!(requests.len(), 2, "{reply:?}");
        assert_eq!(requests[0].json(), requests[1].json());
        assert_eq!(requests[0].header("openai-safety-identifier"), requests[1].header("openai-safety-identifier"));
    });
    join_all(runs).await;
}

#[tokio::test]
async fn an_idle_connection_that_the_upstream_closed_is_replaced() {
    let world = World::start();
    let token = world.bearer("alice");
    for round in 0..5 {
        let mut body = minted_until(now() + 120);
        body["value"] = json!(format!("ek_canary_minted_secret_{round}"));
        world.upstream.script(Reply::json(200, &body).end(End::Close));
        world.service.mint(&token).await.expect_minted();
    }
    world.service.mint(&token).await.expect_minted();
}

#[tokio::test]
async fn the_wait_that_the_upstream_asks_for_is_kept() {
    let world = World::start();
    world.upstream.script(error(503, "server_error", "server_error").header("retry-after-ms", "700"));
    let begun = Instant::now();
    world.service.mint(&world.bearer("alice")).await.expect_minted();
    assert!(begun.elapsed() >= Duration::from_millis(690), "tried again after {:?}", begun.elapsed());
    let world = World::start();
    world.upstream.script(error(429, "requests", "rate_limit_exceeded").header("retry-after", "1"));
    let begun = Instant::now();
    world.service.mint(&world.bearer("alice")).await.expect_minted();
    assert!(begun.elapsed() >= Duration::from_millis(990), "tried again after {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_is_passed_on_at_once() {
    for (reply, code) in [
        (error(429, "requests", "rate_limit_exceeded").header("retry-after", "30"), "upstream_rate_limited"),
        (error(429, "requests", "rate_limit_exceeded").header("retry-after-ms", "30000"), "upstream_rate_limited"),
        (error(503, "server_error", "server_error").header("retry-after", "30"), "upstream_unavailable"),
    ] {
        let world = World::start();
        world.upstream.always(reply);
        let begun = Instant::now();
        let answer = world.service.mint(&world.bearer("alice")).await;
        answer.expect_problem(503, code);
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        assert_eq!(world.upstream.count(), 1);
        assert!((30..=60).contains(&answer.retry_after()), "{answer}");
    }
}

#[tokio::test]
async fn a_senseless_wait_harms_nobody() {
    let values = ["-1", "NaN", "inf", "1e400", "99999999999999999999", "soon", "", "Wed, 21 Oct 2015 07:28:00 GMT"];
    let settings = |config: Config| config.set("upstreams.openai.timeout_seconds", "3").set("upstreams.openai.max_attempts", "2");
    let worlds: Vec<_> = values.iter().map(|_| World::with(settings)).collect();
    let runs = worlds.iter().zip(values).map(|(world, value)| async move {
        world.upstream.always(error(503, "server_error", "server_error").header("retry-after", value));
        let begun = Instant::now();
        let answer = world.service.mint(&world.bearer("alice")).await;
        answer.expect_problem(503, "upstream_unavailable");
        assert!(begun.elapsed() < Duration::from_secs(8), "{value}: {:?}", begun.elapsed());
        assert!(answer.retry_after() <= 120, "{value}: {answer}");
    });
    join_all(runs).await;
}

#[tokio::test]
async fn all_attempts_together_keep_the_deadline() {
    let world =
        World::with(|config| config.set("upstreams.openai.timeout_seconds", "1").set("upstreams.openai.max_attempts", "10"));
    world.upstream.always(passing(500).after(Duration::from_millis(300)));
    let begun = Instant::now();
    let answer = world.service.mint(&world.bearer("alice")).await;
    assert!([503, 504].contains(&answer.status), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(world.upstream.count() < 10);
}
