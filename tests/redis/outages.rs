//! The server forgets, hangs, dies and comes back.

use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::redis::RedisServer;
use crate::{at, failures, minting};

#[tokio::test]
async fn a_script_that_the_server_forgot_is_sent_again() {
    let mut server = RedisServer::start();
    let world = at(&server.url(), |config| config);
    let alice = world.bearer("alice");
    let session = world.service.mint(&alice).await.expect_session();
    for _ in 0..2 {
        assert_eq!(server.cli(&["script", "flush"]), "OK");
        world.service.mint(&alice).await.expect_minted();
        assert_eq!(server.cli(&["script", "flush"]), "OK");
        world.service.get(&format!("/v1/sessions/{session}"), &alice).await.expect(200);
    }
    assert_eq!(failures(&world.service, "script").await, 0);
    server.down();
    server.up();
    minting(&world, &alice).await;
}

#[tokio::test]
async fn a_server_that_died_is_not_waited_for_and_is_found_again() {
    let mut server = RedisServer::start();
    let world = at(&server.url(), |config| config.limit("concurrent_calls", 1));
    let alice = world.bearer("alice");
    world.service.mint(&alice).await.expect_minted();
    world.service.mint(&alice).await.expect_problem(429, "concurrency_limited");
    server.down();
    let start = Instant::now();
    for _ in 0..10 {
        world.service.mint(&alice).await.expect_problem(503, "store_unavailable");
    }
    // One that waited for its deadline would take five seconds alone.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(failures(&world.service, "timeout").await, 0);
    world.service.raw().blocking_get("/readyz", "").expect("an answer").expect(503);
    server.up();
    // What it knew is lost, and so is the place that was taken.
    minting(&world, &alice).await;
    world.service.mint(&alice).await.expect_problem(429, "concurrency_limited");
    world.service.raw().blocking_get("/readyz", "").expect("an answer").expect(200);
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_and_what_it_does_later_is_undone() {
    let server = RedisServer::start();
    let world = at(&server.url(), |config| config.set("store.timeout_ms", "500").limit("monthly_mints", 2));
    let alice = world.bearer("alice");
    minting(&world, &alice).await;
    let before = server.connections("normal");
    assert!(!before.is_empty());
    server.signal("STOP");
    for _ in 0..4 {
        world.service.mint(&alice).await.expect_problem(503, "store_unavailable");
    }
    assert!(failures(&world.service, "timeout").await > 2);
    server.signal("CONT");
    // The bookings that were under way are made now, and given back: one mint of this month's two is left, and one alone.
    minting(&world, &alice).await;
    world.service.mint(&alice).await.expect_problem(429, "quota_exhausted");
    let anew = async || server.connections("normal").is_disjoint(&before).then_some(());
    eventually("another connection", 10, anew).await;
    assert_eq!(world.upstream.minted(), 2);
}
