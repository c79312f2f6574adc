//! The caller's own sessions: listed, shown, ended, and nobody else's business.

use reqwest::Method;

use crate::support::{Reply, World, eventually, minted_until, now};

async fn listed(world: &World, token: &str) -> String {
    let answer = world.service.get("/v1/sessions", token).await;
    assert_eq!(answer.expect(200).header("cache-control"), Some("no-store"));
    answer.json().to_string()
}

#[tokio::test]
async fn a_minted_session_is_listed_and_shown_to_its_user() {
    let world = World::start();
    let token = world.bearer("alice");
    let first = world.service.mint(&token).await.expect_session();
    let second = world.service.mint(&token).await.expect_session();
    let list = listed(&world, &token).await;
    assert!(list.contains(&first) && list.contains(&second), "{list}");
    let answer = world.service.get(&format!("/v1/sessions/{first}"), &token).await;
    let shown = answer.expect(200).json().to_string();
    assert!(shown.contains(&first) && shown.contains("default"), "{shown}");
    assert!(!shown.contains(&second), "{shown}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_user_without_sessions_sees_an_empty_list() {
    let world = World::start();
    let mine = world.service.mint(&world.bearer("alice")).await.expect_session();
    let list = listed(&world, &world.bearer("bob")).await;
    assert!(!list.contains(&mine), "{list}");
}

#[tokio::test]
async fn another_users_session_does_not_exist() {
    let world = World::start();
    let (alice, bob) = (world.bearer("alice"), world.bearer("bob"));
    let session = world.service.mint(&alice).await.expect_session();
    let path = format!("/v1/sessions/{session}");
    let invented = format!("/v1/sessions/{}", uuid::Uuid::now_v7());
    for method in [Method::GET, Method::DELETE] {
        let theirs = world.service.call(method.clone(), &path).bearer(&bob).send().await;
        let theirs = theirs.expect_problem(404, "not_found");
        let nobodys = world.service.call(method, &invented).bearer(&bob).send().await;
        let nobodys = nobodys.expect_problem(404, "not_found");
        assert_eq!((&theirs["title"], &theirs["detail"]), (&nobodys["title"], &nobodys["detail"]));
    }
    world.service.get(&path, &alice).await.expect(200);
}

#[tokio::test]
async fn ending_a_session_answers_204_and_again_204() {
    let world = World::start();
    let token = world.bearer("alice");
    let session = world.service.mint(&token).await.expect_session();
    let other = world.service.mint(&token).await.expect_session();
    let path = format!("/v1/sessions/{session}");
    for _ in 0..2 {
        let answer = world.service.delete(&path, &token).await;
        assert!(answer.expect(204).body.is_empty(), "{answer}");
        assert!(!answer.request_id().is_empty());
    }
    let list = listed(&world, &token).await;
    assert!(list.contains(&other), "{list}");
    world.service.get(&format!("/v1/sessions/{other}"), &token).await.expect(200);
}

#[tokio::test]
async fn a_session_goes_from_issued_to_expired_and_can_still_be_ended_then() {
    let world = World::start();
    let (alice, bob) = (world.bearer("alice"), world.bearer("bob"));
    world.upstream.script(Reply::json(200, &minted_until(now() + 2)));
    let session = world.service.mint(&alice).await.expect_session();
    let path = format!("/v1/sessions/{session}");
    let state = async || world.service.get(&path, &alice).await.expect(200).json()["state"].clone();
    assert_eq!(state().await, "issued");
    eventually("the secret expires", 10, async || (state().await == "expired").then_some(())).await;
    assert!(listed(&world, &alice).await.contains(&session));
    world.service.delete(&path, &bob).await.expect_problem(404, "not_found");
    for _ in 0..2 {
        world.service.delete(&path, &alice).await.expect(204);
        assert_eq!(state().await, "ended");
    }
    let shown = world.service.get(&path, &alice).await.json();
    assert!(shown["ended_at"].as_i64().is_some_and(|ended| (now() - ended).abs() < 10), "{shown}");
    assert!(shown.get("user").is_none() && shown.get("call_id").is_none(), "{shown}");
}

#[tokio::test]
async fn what_is_no_session_id_is_not_found() {
    let world = World::start();
    let token = world.bearer("alice");
    for id in ["nonsense", "1", "%2e%2e", "00000000-0000-0000-0000-000000000000", "*", "%00", &"a".repeat(2000)] {
        for method in [Method::GET, Method::DELETE] {
            let answer = world.service.call(method, &format!("/v1/sessions/{id}")).bearer(&token).send().await;
            answer.expect_problem(404, "not_found");
        }
    }
}

#[tokio::test]
async fn a_refused_mint_leaves_no_session() {
    let world = World::start();
    let token = world.bearer("alice");
    world.upstream.always(crate::support::error(400, "invalid_request_error", "unknown_parameter"));
    world.service.mint(&token).await.expect_problem(502, "upstream_rejected");
    let before = listed(&world, &token).await;
    assert!(!before.contains("default"), "{before}");
}
