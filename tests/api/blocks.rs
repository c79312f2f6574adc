//! Operators shut users, tenants and everybody out, and revoke sessions.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Reply, World, eventually, now, user};

async fn admin(world: &World, method: Method, path: &str) -> Answer {
    world.service.admin(method, path).send().await
}

async fn put(world: &World, path: &str, body: &Value) -> Answer {
    world.service.admin(Method::PUT, path).json(body).send().await
}

/// The pseudonym of the user whose session it is.
async fn user_of(world: &World, session: &str) -> String {
    let list = admin(world, Method::GET, "/admin/v1/sessions?limit=1000").await.expect(200).json();
    let found = list["data"].as_array().unwrap().iter().find(|it| it["session_id"] == *session).unwrap();
    found["user"].as_str().unwrap().to_owned()
}

async fn hung_up(world: &World, call: &str) {
    let done = async || world.upstream.hang_ups().iter().any(|(id, _)| id == call).then_some(());
    eventually("the call is hung up", 10, done).await;
}

#[tokio::test]
async fn a_blocked_user_gets_nothing_and_loses_the_calls_that_are_under_way() {
    let world = World::start();
    let (alice, bob) = (world.bearer("alice"), world.bearer("bob"));
    let session = world.service.mint(&alice).await.expect_session();
    let other = world.service.mint(&bob).await.expect_session();
    world.service.report(&session, "rtc_alice", &alice).await.expect(204);
    world.service.report(&other, "rtc_bob", &bob).await.expect(204);
    let path = format!("/admin/v1/users/{}/block", user_of(&world, &session).await);
    admin(&world, Method::GET, &path).await.expect_problem(404, "not_found");
    let block = put(&world, &path, &json!({"reason": "abuse, ticket 7", "author": "carol"})).await.expect(200).json();
    assert_eq!((&block["reason"], &block["author"], &block["revoked"]), (&json!("abuse, ticket 7"), &json!("carol"), &json!(1)));
    assert!(block["expires_at"].is_null() && block["created_at"].as_i64().is_some_and(|at| (now() - at).abs() < 10));
    world.service.mint(&alice).await.expect_problem(403, "user_blocked");
    hung_up(&world, "rtc_alice").await;
    let shown = world.service.get(&format!("/v1/sessions/{session}"), &alice).await.expect(200).json();
    assert_eq!(shown["state"], "revoked");
    world.service.mint(&bob).await.expect_minted();
    assert!(world.upstream.hang_ups().iter().all(|(call, _)| call == "rtc_alice"));
    admin(&world, Method::GET, &path).await.expect(200);
    for _ in 0..2 {
        admin(&world, Method::DELETE, &path).await.expect(204);
    }
    world.service.mint(&alice).await.expect_minted();
    let audit = world.service.audit();
    let entry = |event: &str| audit.iter().find(|entry| entry["event"] == event).unwrap_or_else(|| panic!("no {event}"));
    assert_eq!((&entry("block")["author"], &entry("block")["cause"]), (&json!("carol"), &json!("abuse, ticket 7")));
    assert_eq!((&entry("revoke")["author"], &entry("unblock")["outcome"]), (&json!("carol"), &json!("unblocked")));
    let refused = audit.iter().find(|entry| entry["outcome"] == "user_blocked").expect("the refusal is written down");
    assert_eq!(refused["user"], entry("block")["user"]);
}

#[tokio::test]
async fn a_user_is_blocked_by_the_name_that_the_issuer_gives() {
    let world = World::start();
    let alice = world.bearer("alice");
    put(&world, "/admin/v1/users/canary-user-alice/block", &json!({})).await.expect(200);
    world.service.mint(&alice).await.expect_problem(403, "user_blocked");
    world.service.mint(&world.bearer("bob")).await.expect_minted();
    for asked in ["?issuer=https%3A%2F%2Felsewhere.example", "?issuer=", "?tennant=acme"] {
        let path = format!("/admin/v1/users/canary-user-bob/block{asked}");
        put(&world, &path, &json!({})).await.expect_problem(400, "unknown_field");
    }
    world.service.mint(&world.bearer("bob")).await.expect_minted();
    // A name that has the form of a pseudonym is one, unless it is said who gives it.
    let name = "ab".repeat(32);
    let token = world.issuer.token(&name).build();
    put(&world, &format!("/admin/v1/users/{name}/block"), &json!({})).await.expect(200);
    world.service.mint(&token).await.expect_minted();
    let issuer = world.issuer.url().replace(':', "%3A").replace('/', "%2F");
    put(&world, &format!("/admin/v1/users/{name}/block?issuer={issuer}"), &json!({})).await.expect(200);
    world.service.mint(&token).await.expect_problem(403, "user_blocked");
}

#[tokio::test]
async fn a_block_ends_by_itself() {
    let world = World::start();
    let alice = world.bearer("alice");
    let path = "/admin/v1/users/canary-user-alice/block";
    put(&world, path, &json!({"expires_at": now() + 2})).await.expect(200);
    world.service.mint(&alice).await.expect_problem(403, "user_blocked");
    eventually("the block ends", 10, async || (world.service.mint(&alice).await.status == 200).then_some(())).await;
    admin(&world, Method::GET, path).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn a_tenant_is_blocked_with_all_its_users() {
    let world = World::with(|config| config.set("identity.jwt.main.tenant_claim", "\"org\""));
    let of = |name: &str, tenant: &str| world.issuer.token(&user(name)).claim("org", tenant).build();
    let (alice, bob, carol) = (of("alice", "acme"), of("bob", "acme"), of("carol", "other"));
    for token in [&alice, &bob, &carol] {
        world.service.mint(token).await.expect_minted();
    }
    let block = put(&world, "/admin/v1/tenants/acme/block", &json!({"reason": "unpaid"})).await.expect(200).json();
    assert_eq!((&block["tenant"], &block["revoked"]), (&json!("acme"), &json!(2)));
    for token in [&alice, &bob] {
        world.service.mint(token).await.expect_problem(403, "user_blocked");
    }
    world.service.mint(&carol).await.expect_minted();
    let blocks = admin(&world, Method::GET, "/admin/v1/blocks").await.expect(200).json();
    assert_eq!(blocks["data"][0]["tenant"], "acme", "{blocks}");
    admin(&world, Method::DELETE, "/admin/v1/tenants/acme/block").await.expect(204);
    world.service.mint(&alice).await.expect_minted();
}

#[tokio::test]
async fn a_lockdown_stops_every_mint_and_hangs_up_when_asked_to() {
    let world = World::start();
    let (alice, path) = (world.bearer("alice"), "/admin/v1/lockdown");
    let session = world.service.mint(&alice).await.expect_session();
    world.service.report(&session, "rtc_1", &alice).await.expect(204);
    put(&world, path, &json!({"reason": "key leaked"})).await.expect(200);
    let refused = world.service.mint(&alice).await;
    refused.expect_problem(503, "locked_down");
    assert_eq!(refused.retry_after(), 60);
    world.service.get("/v1/sessions", &alice).await.expect(200);
    assert!(world.upstream.hang_ups().is_empty(), "calls go on unless they are to end");
    put(&world, path, &json!({"reason": "key leaked", "hang_up": true, "expires_at": now() + 600})).await.expect(200);
    hung_up(&world, "rtc_1").await;
    assert!((500..=600).contains(&world.service.mint(&alice).await.retry_after()));
    assert_eq!(admin(&world, Method::GET, path).await.expect(200).json()["everybody"], true);
    admin(&world, Method::DELETE, path).await.expect(204);
    world.service.mint(&alice).await.expect_minted();
    admin(&world, Method::GET, path).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn whoever_is_blocked_while_their_secret_is_made_does_not_get_it() {
    let world = World::with(|config| config.limit("concurrent_calls", 1));
    let alice = world.bearer("alice");
    world.upstream.script(Reply::json(200, &crate::support::minted_until(now() + 60)).after(std::time::Duration::from_secs(1)));
    let block = async {
        eventually("the mint is under way", 10, async || (world.upstream.count() > 0).then_some(())).await;
        put(&world, "/admin/v1/users/canary-user-alice/block", &json!({})).await.expect(200);
    };
    let (answer, ()) = tokio::join!(world.service.mint(&alice), block);
    answer.expect_problem(403, "user_blocked");
    admin(&world, Method::DELETE, "/admin/v1/users/canary-user-alice/block").await.expect(204);
    world.service.mint(&alice).await.expect_minted();
}

#[tokio::test]
async fn sessions_are_listed_filtered_and_revoked_by_operators() {
    let world = World::with(|config| config.profile("other"));
    let (alice, bob) = (world.bearer("alice"), world.bearer("bob"));
    let first = world.service.mint(&alice).await.expect_session();
    let second = world.service.mint_from("other", &bob).await.expect_session();
    world.service.report(&second, "rtc_1", &bob).await.expect(204);
    let ids = async |query: &str| -> Vec<String> {
        let list = admin(&world, Method::GET, &format!("/admin/v1/sessions{query}")).await.expect(200).json();
        list["data"].as_array().unwrap().iter().map(|it| it["session_id"].as_str().unwrap().to_owned()).collect()
    };
    let (alices, bobs) = (std::slice::from_ref(&first), std::slice::from_ref(&second));
    assert_eq!(ids("").await, [second.clone(), first.clone()], "the newest first");
    assert_eq!(ids("?limit=1").await, bobs);
    assert_eq!(ids("?profile=other").await, bobs);
    assert_eq!(ids("?state=issued").await, alices);
    assert_eq!(ids("?state=in_call").await, bobs);
    assert_eq!(ids("?user=canary-user-alice").await, alices);
    assert_eq!(ids(&format!("?user={}", user_of(&world, &second).await)).await, bobs);
    assert_eq!(ids("?state=expired").await, Vec::<String>::new());
    for bad in ["?state=alive", "?limit=0", "?limit=1001", "?limit=x", "?page=2"] {
        admin(&world, Method::GET, &format!("/admin/v1/sessions{bad}")).await.expect_problem(400, "unknown_field");
    }
    for _ in 0..2 {
        admin(&world, Method::DELETE, &format!("/admin/v1/sessions/{second}")).await.expect(204);
    }
    hung_up(&world, "rtc_1").await;
    assert_eq!(ids("?state=revoked").await, bobs);
    let nobodys = format!("/admin/v1/sessions/{}", uuid::Uuid::now_v7());
    for path in [nobodys.as_str(), "/admin/v1/sessions/x"] {
        admin(&world, Method::DELETE, path).await.expect_problem(404, "not_found");
    }
}

#[tokio::test]
async fn nobody_without_the_admin_token_lists_revokes_or_blocks() {
    let world = World::start();
    let alice = world.bearer("alice");
    let session = world.service.mint(&alice).await.expect_session();
    let revoke = format!("/admin/v1/sessions/{session}");
    for (method, path) in [
        (Method::GET, "/admin/v1/sessions"),
        (Method::DELETE, revoke.as_str()),
        (Method::GET, "/admin/v1/blocks"),
        (Method::PUT, "/admin/v1/users/canary-user-alice/block"),
        (Method::GET, "/admin/v1/users/canary-user-alice/block"),
        (Method::DELETE, "/admin/v1/users/canary-user-alice/block"),
        (Method::PUT, "/admin/v1/tenants/acme/block"),
        (Method::DELETE, "/admin/v1/tenants/acme/block"),
        (Method::PUT, "/admin/v1/lockdown"),
        (Method::DELETE, "/admin/v1/lockdown"),
    ] {
        let bare = world.service.admin_without_token(method.clone(), path).send().await;
        bare.expect_problem(401, "missing_credentials");
        let user = world.service.admin_without_token(method.clone(), path).bearer(&alice).send().await;
        user.expect_problem(401, "invalid_token");
        let public = world.service.call(method, path).bearer(&alice).send().await;
        public.expect_problem(404, "not_found");
    }
    world.service.mint(&alice).await.expect_minted();
}

#[tokio::test]
async fn a_block_with_a_mistake_in_it_is_refused() {
    let world = World::start();
    let path = "/admin/v1/users/canary-user-alice/block";
    for (body, param) in [
        (json!({"reason": 1}), "/reason"),
        (json!({"reason": "a\nb"}), "/reason"),
        (json!({"author": "a".repeat(257)}), "/author"),
        (json!({"expires_at": now() - 1}), "/expires_at"),
        (json!({"expires_at": "tomorrow"}), "/expires_at"),
    ] {
        let problem = put(&world, path, &body).await.expect_problem(400, "invalid_json");
        assert_eq!(problem["error"]["param"], param, "{body}");
    }
    put(&world, path, &json!({"until": 1})).await.expect_problem(400, "unknown_field");
    put(&world, "/admin/v1/lockdown", &json!({"hang_up": "yes"})).await.expect_problem(400, "invalid_json");
    put(&world, &format!("/admin/v1/users/{}/block", "a".repeat(257)), &json!({})).await.expect_problem(400, "invalid_json");
    world.service.mint(&world.bearer("alice")).await.expect_minted();
}

#[tokio::test]
async fn a_call_that_is_reported_during_a_lockdown_goes_on_unless_calls_are_to_end() {
    let world = World::start();
    let alice = world.bearer("alice");
    let session = world.service.mint(&alice).await.expect_session();
    put(&world, "/admin/v1/lockdown", &json!({"reason": "key leaked"})).await.expect(200);
    world.service.report(&session, "rtc_1", &alice).await.expect(204);
    let shown = world.service.get(&format!("/v1/sessions/{session}"), &alice).await.expect(200).json();
    assert_eq!(shown["state"], "in_call");
    assert!(world.upstream.hang_ups().is_empty());
}

#[tokio::test]
async fn the_call_of_a_blocked_user_is_hung_up_however_many_sessions_they_have_minted_since() {
    let world = World::start();
    let alice = world.bearer("alice");
    let session = world.service.mint(&alice).await.expect_session();
    world.service.report(&session, "rtc_old", &alice).await.expect(204);
    for _ in 0..30 {
        let mints = futures_util::future::join_all((0..40).map(|_| world.service.mint(&alice))).await;
        assert!(mints.iter().all(|answer| answer.status == 200));
    }
    let list = world.service.get("/v1/sessions", &alice).await.expect(200).json();
    assert_eq!(list["data"].as_array().unwrap().len(), 100, "the newest hundred");
    let block = put(&world, "/admin/v1/users/canary-user-alice/block", &json!({})).await.expect(200).json();
    assert_eq!(block["revoked"], 1201, "{block}");
    hung_up(&world, "rtc_old").await;
}
