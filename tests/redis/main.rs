//! What only a real Redis can show: outages, failover, access control, TLS. What every store keeps to is in `tests/contract`.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, and tests read clocks and environments of their own"
)]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod blocks;
mod growth;
mod outages;
mod refusals;
mod sentinel;

use support::{Config, Service, World, eventually};

/// A service at a store of its own.
fn at(url: &str, change: impl FnOnce(Config) -> Config) -> World {
    World::with(|config| change(stored(config, url)))
}

/// With the store at `url`. Its deadline is long, so that only a server that hangs exceeds it.
fn stored(config: Config, url: &str) -> Config {
    config
        .env("TEST_REDIS_URL", url)
        .set("store.kind", r#""redis""#)
        .set("store.url", r#""env://TEST_REDIS_URL""#)
        .set("store.key_prefix", r#""test""#)
        .set("store.timeout_ms", "5000")
}

/// How many calls to the store failed in this way.
async fn failures(service: &Service, kind: &str) -> u64 {
    let metrics = service.admin(reqwest::Method::GET, "/metrics").send().await.expect(200).text();
    let name = format!("ephemint_store_failures_total{{kind=\"{kind}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
}

/// Until alice mints.
async fn minting(world: &World, token: &str) {
    eventually("the service mints again", 20, async || (world.service.mint(token).await.status == 200).then_some(())).await;
}

/// Until alice is refused because of the store.
async fn refusing(world: &World, token: &str) {
    let refused = async || (world.service.mint(token).await.code() == "store_unavailable").then_some(());
    eventually("the service refuses", 20, refused).await;
}
