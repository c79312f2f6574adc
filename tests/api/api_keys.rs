//! API keys of servers: rotation, expiry, profiles, and acting for users.

use aws_lc_rs::digest;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Config, MINT, Service, World, now, user};

pub(crate) const KEY: &str = "epk_canary-api-key-0001-AbCdEfGhIjKlMnOp";
pub(crate) const NEXT_KEY: &str = "epk_canary-api-key-0002-AbCdEfGhIjKlMnOp";
pub(crate) const OTHER_KEY: &str = "epk_canary-api-key-0003-AbCdEfGhIjKlMnOp";
const SAFETY: &str = "openai-safety-identifier";

pub(crate) fn sha256(key: &str) -> String {
    let digest = digest::digest(&digest::SHA256, key.as_bytes());
    digest.as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// One item of `keys`.
pub(crate) fn item(id: &str, key: &str, more: &str) -> String {
    format!(r#"{{ id = "{id}", sha256 = "{}"{more} }}"#, sha256(key))
}

/// A world whose only identity is the keys of `backend`, [`KEY`] if the test names no others.
pub(crate) fn keyed(change: impl FnOnce(Config) -> Config) -> World {
    World::with(|config| {
        let config = config.without("identity").set("identity.api_keys.backend.keys", &format!("[{}]", item("k1", KEY, "")));
        change(config)
    })
}

/// The same with the right to act for users.
fn acting() -> World {
    keyed(|config| config.set("identity.api_keys.backend.may_act_for_users", "true"))
}

/// A mint for a user, in the header as it stands.
pub(crate) async fn mint_for(service: &Service, key: &str, user: &str) -> Answer {
    service.call(Method::POST, MINT).bearer(key).header("ephemint-user", user).send().await
}

/// How the upstream knows the user of the last mint.
pub(crate) fn last_user(world: &World) -> String {
    world.upstream.last().header(SAFETY).expect("a pseudonym").to_owned()
}

#[tokio::test]
async fn a_key_mints_for_its_owner() {
    let world = keyed(|config| config);
    let answer = world.service.mint(KEY).await;
    let session = answer.expect_session();
    let line = world.service.audit_of(answer.request_id()).await;
    assert_eq!((&line["identity"], &line["user"]), (&json!("api_keys.backend/k1"), &json!(last_user(&world))));
    let sessions = world.service.get("/v1/sessions", KEY).await.expect(200).json();
    assert_eq!(
        sessions["data"][0]["id"].as_str().or(sessions["data"][0]["session_id"].as_str()),
        Some(session.as_str()),
        "{sessions}"
    );
    let ready = world.service.call(Method::GET, "/readyz").send().await;
    ready.expect(200);
}

#[tokio::test]
async fn two_keys_are_live_during_a_rotation_and_are_one_owner() {
    let keys = format!("[{}, {}]", item("k1", KEY, ""), item("k2", NEXT_KEY, ""));
    let world = keyed(|config| config.set("identity.api_keys.backend.keys", &keys));
    let mut owners = Vec::new();
    for (key, identity) in [(KEY, "api_keys.backend/k1"), (NEXT_KEY, "api_keys.backend/k2")] {
        let answer = world.service.mint(key).await;
        answer.expect_minted();
        assert_eq!(world.service.audit_of(answer.request_id()).await["identity"], identity);
        owners.push(last_user(&world));
    }
    assert_eq!(owners[0], owners[1]);
}

#[tokio::test]
async fn an_expired_key_is_refused_and_its_successor_is_not() {
    let at =
        |seconds: i64| format!(", expires = {:?}", jiff::Timestamp::from_second(now() + seconds).expect("a time").to_string());
    let keys = format!(
        "[{}, {}, {}]",
        item("old", KEY, ", expires = 2020-01-01T00:00:00Z"),
        item("new", NEXT_KEY, &at(3 * 24 * 3600)),
        item("later", OTHER_KEY, &at(15 * 24 * 3600))
    );
    let world = keyed(|config| config.set("identity.api_keys.backend.keys", &keys));
    world.service.mint(KEY).await.expect_problem(401, "token_expired");
    mint_for(&world.service, KEY, "canary-user-alice").await.expect_problem(401, "token_expired");
    assert_eq!(world.upstream.count(), 0);
    world.service.mint(NEXT_KEY).await.expect_minted();
    world.service.mint(OTHER_KEY).await.expect_minted();
    let warned: Vec<Value> = world.service.log().into_iter().filter(|line| line["identity"] == "api_keys.backend").collect();
    let of = |key: &str| warned.iter().filter(|line| line["key"] == key && line["level"] == "WARN").count();
    assert_eq!((of("old"), of("new"), of("later")), (1, 1, 0), "{warned:#?}");
}

#[tokio::test]
async fn a_key_that_expires_while_the_service_runs_is_refused_from_then_on() {
    let soon = jiff::Timestamp::from_second(now() + 3).expect("a time");
    let keys = format!("[{}]", item("k1", KEY, &format!(", expires = \"{soon}\"")));
    let world = keyed(|config| config.set("identity.api_keys.backend.keys", &keys));
    let refused = crate::support::eventually("the key expires", 10, async || {
        let answer = world.service.mint(KEY).await;
        (answer.status != 200).then_some(answer)
    });
    refused.await.expect_problem(401, "token_expired");
}

#[tokio::test]
async fn a_key_opens_only_its_profiles() {
    let world = keyed(|config| {
        config.profile("phone").profile("kiosk").set("identity.api_keys.backend.profiles", r#"["phone", "default"]"#)
    });
    for profile in ["phone", "default"] {
        world.service.mint_from(profile, KEY).await.expect_minted();
    }
    for profile in ["kiosk", "nobodys", "Phone"] {
        world.service.mint_from(profile, KEY).await.expect_problem(403, "profile_forbidden");
    }
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test]
async fn groups_and_tenant_of_the_entry_are_those_of_its_users() {
    let world = keyed(|config| {
        config
            .set("identity.api_keys.backend.groups", r#"["support"]"#)
            .set("identity.api_keys.backend.tenant", r#""acme""#)
            .set("identity.api_keys.backend.may_act_for_users", "true")
            .set("profiles.default.allow", r#"{ groups = ["support"] }"#)
            .set("identity.api_keys.stranger.keys", &format!("[{}]", item("k1", OTHER_KEY, "")))
    });
    for answer in [world.service.mint(KEY).await, mint_for(&world.service, KEY, &user("alice")).await] {
        answer.expect_minted();
        assert_eq!(world.service.audit_of(answer.request_id()).await["tenant"], "acme");
    }
    world.service.mint(OTHER_KEY).await.expect_problem(403, "profile_forbidden");
}

#[tokio::test]
async fn a_server_with_the_right_to_it_acts_for_its_users() {
    let world = acting();
    let mut seen = Vec::new();
    for name in ["alice", "bob"] {
        let answer = mint_for(&world.service, KEY, &user(name)).await;
        let session = answer.expect_session();
        let line = world.service.audit_of(answer.request_id()).await;
        assert_eq!((&line["identity"], &line["user"]), (&json!("api_keys.backend/k1"), &json!(last_user(&world))));
        seen.push((name, session, last_user(&world)));
    }
    world.service.mint(KEY).await.expect_minted();
    seen.push(("nobody", String::new(), last_user(&world)));
    assert!(seen[0].2 != seen[1].2 && seen[1].2 != seen[2].2 && seen[0].2 != seen[2].2, "{seen:?}");

    let (alice, bob) = (&seen[0].1, &seen[1].1);
    let call = |method: Method, path: &str, name: &str| {
        world.service.call(method, path).bearer(KEY).header("ephemint-user", &user(name))
    };
    let listed = call(Method::GET, "/v1/sessions", "alice").send().await;
    let text = listed.expect(200).text();
    assert!(text.contains(alice.as_str()) && !text.contains(bob.as_str()), "{text}");
    let path = format!("/v1/sessions/{bob}");
    call(Method::GET, &path, "alice").send().await.expect_problem(404, "not_found");
    call(Method::DELETE, &path, "alice").send().await.expect_problem(404, "not_found");
    world.service.get(&path, KEY).await.expect_problem(404, "not_found");
    call(Method::DELETE, &path, "bob").send().await.expect(204);
}

#[tokio::test]
async fn limits_are_those_of_the_user_and_not_of_the_key() {
    let world = keyed(|config| config.set("identity.api_keys.backend.may_act_for_users", "true").limit("mints_per_minute", 1));
    for name in ["alice", "bob"] {
        mint_for(&world.service, KEY, &user(name)).await.expect_minted();
        mint_for(&world.service, KEY, &user(name)).await.expect_problem(429, "rate_limited");
    }
    world.service.mint(KEY).await.expect_minted();
}

#[tokio::test]
async fn users_of_two_servers_and_of_an_issuer_are_never_the_same() {
    let world = World::with(|config| {
        config
            .set("identity.api_keys.one.keys", &format!("[{}]", item("k1", KEY, "")))
            .set("identity.api_keys.one.may_act_for_users", "true")
            .set("identity.api_keys.two.keys", &format!("[{}]", item("k1", OTHER_KEY, "")))
            .set("identity.api_keys.two.may_act_for_users", "true")
    });
    let mut seen = std::collections::BTreeSet::new();
    for key in [KEY, OTHER_KEY] {
        mint_for(&world.service, key, &user("twin")).await.expect_minted();
        seen.insert(last_user(&world));
    }
    world.service.mint(&world.bearer("twin")).await.expect_minted();
    seen.insert(last_user(&world));
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[tokio::test]
async fn the_header_of_anybody_else_is_ignored() {
    let world = World::with(|config| config.set("identity.api_keys.backend.keys", &format!("[{}]", item("k1", KEY, ""))));
    let jwt = world.bearer("mallory");
    for credential in [KEY, jwt.as_str()] {
        world.service.mint(credential).await.expect_minted();
        let own = last_user(&world);
        for named in ["canary-user-alice", "", "x\ty", &"x".repeat(300)] {
            mint_for(&world.service, credential, named).await.expect_minted();
            assert_eq!(last_user(&world), own, "{named:?} was believed");
        }
    }
}

#[tokio::test]
async fn a_name_that_names_nobody_is_refused() {
    let world = acting();
    for name in ["", " ", "a\tb", "a\u{85}b", &"x".repeat(257), &"\u{e9}".repeat(257)] {
        let problem = mint_for(&world.service, KEY, name).await.expect_problem(401, "invalid_token");
        assert_eq!(problem["error"]["param"], "Ephemint-User");
    }
    let mut bytes = format!("POST {MINT} HTTP/1.1\r\nHost: ephemint\r\nAuthorization: Bearer {KEY}\r\n").into_bytes();
    bytes.extend_from_slice(b"Ephemint-User: caf\xe9\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    world.service.raw().ask(&bytes).expect_problem(401, "invalid_token");
    assert_eq!(world.upstream.count(), 0);
    for name in ["x", &"x".repeat(256), &"\u{e9}".repeat(256), "auth0|64f0", "a b@example.com"] {
        mint_for(&world.service, KEY, name).await.expect_minted();
    }
}

#[tokio::test]
async fn a_user_is_named_once() {
    let world = acting();
    for second in ["canary-user-alice", "canary-user-bob"] {
        let head = format!(
            "POST {MINT} HTTP/1.1\r\nHost: ephemint\r\nAuthorization: Bearer {KEY}\r\nEphemint-User: canary-user-alice\r\nephemint-user: {second}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        world.service.raw().ask(head.as_bytes()).expect_problem(400, "duplicate_header");
    }
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn pages_may_not_send_the_header() {
    let world = acting();
    let call = world.service.call(Method::OPTIONS, MINT).header("origin", "https://app.example.com");
    let answer = call.header("access-control-request-method", "POST").send().await;
    let allowed = answer.header("access-control-allow-headers").unwrap_or_default().to_ascii_lowercase();
    assert!(allowed.contains("authorization") && !allowed.contains("ephemint-user"), "{answer}");
}
