//! What operators see of credentials, and change.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{World, secrets};
use crate::{KeyFile, credentials, entries, fingerprint, key};

const LIST: &str = "/admin/v1/credentials";
const PROMOTE: &str = "/admin/v1/credentials/openai/promote";
const RELOAD: &str = "/admin/v1/credentials/reload";

fn with_both() -> World {
    World::with(|config| config.keys(&["TEST_OPENAI_KEY", "TEST_OPENAI_KEY_FALLBACK"]))
}

#[tokio::test]
async fn the_list_says_what_is_in_use_and_shows_no_key() {
    let world = with_both();
    let answer = world.service.admin(Method::GET, LIST).send().await;
    assert_eq!(answer.expect(200).header("cache-control"), Some("no-store"));
    assert!(!answer.text().contains("sk-"), "{answer}");
    let shown = credentials(&world.service).await;
    assert_eq!((&shown["upstream"], &shown["kind"]), (&json!("openai"), &json!("api_key")));
    assert_eq!(shown["in_use"], fingerprint(secrets::PRIMARY_KEY));
    let rows: Vec<(Value, Value, Value)> = shown["credentials"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["source"].clone(), row["fingerprint"].clone(), row["state"].clone()))
        .collect();
    let row = |name: &str, key: &str, state: &str| (json!(format!("env://{name}")), json!(fingerprint(key)), json!(state));
    assert_eq!(
        rows,
        [row("TEST_OPENAI_KEY", secrets::PRIMARY_KEY, "in_use"), row("TEST_OPENAI_KEY_FALLBACK", secrets::FALLBACK_KEY, "ready")]
    );
    for row in shown["credentials"].as_array().unwrap() {
        assert!(row["age_seconds"].as_u64().is_some_and(|age| age < 60) && row["last_failure"].is_null(), "{row}");
    }
}

#[tokio::test]
async fn a_promoted_key_is_used_from_the_next_mint_on() {
    let world = with_both();
    let token = world.bearer("alice");
    let promoted = world.service.admin(Method::POST, PROMOTE).json(&json!({"author": "ada"})).send().await;
    assert_eq!(promoted.expect(200).json()["upstreams"][0]["in_use"], fingerprint(secrets::FALLBACK_KEY));
    world.service.mint(&token).await.expect_minted();
    assert_eq!(world.upstream.last().bearer(), secrets::FALLBACK_KEY);
    let entry = &entries(&world.service, "promoted")[0];
    assert_eq!((&entry["author"], &entry["key"]), (&json!("ada"), &json!(fingerprint(secrets::FALLBACK_KEY))));
    // And back, by name.
    let body = json!({"fingerprint": fingerprint(secrets::PRIMARY_KEY)});
    world.service.admin(Method::POST, PROMOTE).json(&body).send().await.expect(200);
    world.service.mint(&token).await.expect_minted();
    assert_eq!(world.upstream.last().bearer(), secrets::PRIMARY_KEY);
    // The other one still takes over.
    world.upstream.revoke(secrets::PRIMARY_KEY);
    world.service.mint(&token).await.expect_minted();
}

#[tokio::test]
async fn what_cannot_be_promoted_is_refused_and_nothing_changes() {
    let world = with_both();
    let token = world.bearer("alice");
    world.upstream.revoke(secrets::PRIMARY_KEY);
    world.service.mint(&token).await.expect_minted();
    let promote = |path: &str, body: Value| world.service.admin(Method::POST, path).json(&body).send();
    promote("/admin/v1/credentials/azure/promote", json!({})).await.expect_problem(404, "not_found");
    promote(PROMOTE, json!({"fingerprint": "00000000"})).await.expect_problem(404, "not_found");
    promote(PROMOTE, json!({"fingerprint": fingerprint(secrets::PRIMARY_KEY)})).await.expect_problem(502, "upstream_auth_failed");
    promote(PROMOTE, json!({"fingerprint": 7})).await.expect_problem(400, "invalid_json");
    promote(PROMOTE, json!({"key": secrets::FALLBACK_KEY})).await.expect_problem(400, "unknown_field");
    assert_eq!(credentials(&world.service).await["in_use"], fingerprint(secrets::FALLBACK_KEY));
    assert_eq!(entries(&world.service, "promoted"), Vec::<Value>::new());
}

#[tokio::test]
async fn where_there_is_only_one_key_nothing_can_be_promoted() {
    let world = World::start();
    world.service.admin(Method::POST, PROMOTE).send().await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn all_of_it_is_for_the_admin_alone() {
    let world = World::start();
    for (method, path) in [(Method::GET, LIST), (Method::POST, PROMOTE), (Method::POST, RELOAD)] {
        world.service.admin_without_token(method.clone(), path).send().await.expect_problem(401, "missing_credentials");
        world
            .service
            .admin_without_token(method, path)
            .bearer(&world.bearer("alice"))
            .send()
            .await
            .expect_problem(401, "invalid_token");
    }
    for (method, path) in [(Method::POST, LIST), (Method::GET, PROMOTE), (Method::DELETE, RELOAD)] {
        world.service.admin(method, path).send().await.expect_problem(405, "method_not_allowed");
    }
}

#[tokio::test]
async fn a_reload_and_sighup_look_at_once() {
    let file = KeyFile::holding(secrets::PRIMARY_KEY);
    let world = file.world(|config| config);
    let token = world.bearer("alice");
    for number in 20..30 {
        world.upstream.accept(&key(number));
        file.write(&key(number));
        if number % 2 == 0 {
            world.service.admin(Method::POST, RELOAD).send().await.expect(202);
        } else {
            world.service.signal("HUP");
        }
        crate::used(&world, &token, &key(number)).await;
    }
    world.service.call(Method::GET, "/readyz").send().await.expect(200);
}

#[tokio::test]
async fn a_storm_of_reloads_asks_the_provider_once_a_second_at_most() {
    let file = KeyFile::holding(secrets::PRIMARY_KEY);
    let world = file.world(|config| config);
    file.write(&key(9));
    let end = std::time::Instant::now() + std::time::Duration::from_secs(3);
    while std::time::Instant::now() < end {
        world.service.admin(Method::POST, RELOAD).send().await.expect(202);
    }
    let probes = world.upstream.probes().len();
    assert!((1..=6).contains(&probes), "{probes}");
    assert_eq!(entries(&world.service, "new_key_refused").len(), 1);
    world.service.mint(&world.bearer("alice")).await.expect_minted();
}
