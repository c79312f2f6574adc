//! The web demo at `/`: served when asked for, and no further.

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, MINT, World};

fn with_demo() -> World {
    World::with(|config| config.set("demo.enabled", "true"))
}

async fn get(world: &World, path: &str) -> Answer {
    world.service.call(Method::GET, path).send().await
}

#[tokio::test]
async fn without_the_setting_there_is_no_page() {
    let world = World::start();
    for path in ["/", "/index.html", "/app.js", "/demo.json", "/ephemint.js"] {
        get(&world, path).await.expect_problem(404, "not_found");
    }
}

#[tokio::test]
async fn the_page_and_all_that_it_loads_are_served_with_their_types() {
    let world = with_demo();
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/client/secret.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/logo.svg", "image/svg+xml"),
        ("/demo.json", "application/json"),
    ] {
        let answer = get(&world, path).await;
        assert_eq!(answer.expect(200).header("content-type"), Some(kind), "{path}");
        assert!(!answer.text().is_empty(), "{path}");
        world.service.call(Method::POST, path).send().await.expect_problem(405, "method_not_allowed");
    }
    for path in
        ["/README.md", "/package.json", "/client/", "/client", "/../Cargo.toml", "/page/../demo.json/", "/%2e%2e/Cargo.toml"]
    {
        get(&world, path).await.expect_problem(404, "not_found");
    }
}

#[tokio::test]
async fn the_page_may_reach_this_service_and_its_upstream_alone() {
    let world = with_demo();
    let answer = get(&world, "/").await;
    let policy = answer.expect(200).header("content-security-policy").unwrap_or_default().to_owned();
    let minted = world.service.call(Method::POST, MINT).bearer(&world.bearer("alice")).send().await.expect_minted();
    let calls = minted["ephemint"]["calls_url"].as_str().unwrap_or_default();
    let upstream = &calls[..calls.find("/v1/").unwrap_or_default()];
    assert!(policy.contains(&format!("connect-src 'self' {upstream};")), "{policy}");
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe") && !policy.contains('*'), "{policy}");
}

#[tokio::test]
async fn the_settings_name_no_user_and_no_profile_that_was_not_named() {
    let world = World::with(|config| config.set("demo.enabled", "true").profile("hidden"));
    let settings = get(&world, "/demo.json").await.expect(200).json();
    assert_eq!(settings["sign_in"], "token");
    assert_eq!(settings["profiles"], json!(["default"]));
    assert_eq!(settings["scenarios"], json!([]));
    assert_eq!(settings.get("users"), None);
}
