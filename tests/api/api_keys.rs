//! Servers are known by their keys, and may act for users if they are allowed to.

use jiff::Timestamp;
use reqwest::Method;

use crate::support::{Answer, Config, MINT, Scope, Service, World, now, user};

const FIRST: &str = "epk_canary_0001_0123456789abcdef0123456789abcdef";
const SECOND: &str = "epk-canary-0002-0123456789abcdef0123456789abcdef";
const FOREIGN: &str = "epk-canary-0003-0123456789abcdef0123456789abcdef";

fn sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// An entry of `identity.api_keys`; times are seconds from now.
fn keys(config: Config, name: &str, keys: &[(&str, &str, Option<i64>)]) -> Config {
    let entry = |(id, key, expires): &(&str, &str, Option<i64>)| {
        let end = expires.map(|seconds| Timestamp::from_second(now() + seconds).expect("a moment"));
        let end = end.map(|end| format!(", expires = {end}")).unwrap_or_default();
        format!(r#"{{ id = "{id}", sha256 = "{}"{end} }}"#, sha256(key))
    };
    let entries: Vec<_> = keys.iter().map(entry).collect();
    config.set(&format!("identity.api_keys.{name}.keys"), &format!("[{}]", entries.join(", ")))
}

fn backend(change: impl FnOnce(Config) -> Config) -> World {
    World::with(|config| {
        let config = keys(config.profile("other"), "backend", &[("k1", FIRST, None), ("k2", SECOND, Some(3600))]);
        change(keys(config, "foreign", &[("k1", FOREIGN, None)]))
    })
}

fn acting(change: impl FnOnce(Config) -> Config) -> World {
    backend(|config| change(config.set("identity.api_keys.backend.may_act_for_users", "true")))
}

async fn mint_for(service: &Service, key: &str, user: &str) -> Answer {
    service.call(Method::POST, MINT).bearer(key).header("Ephemint-User", user).send().await
}

async fn pseudonym(service: &Service, answer: &Answer) -> String {
    service.audit_of(answer.request_id()).await["user"].as_str().expect("a pseudonym").to_owned()
}

#[tokio::test]
async fn every_key_of_a_server_mints_and_the_audit_trail_names_it() {
    let world = backend(|config| config);
    let mut users = Vec::new();
    for (key, name) in [(FIRST, "api_keys.backend/k1"), (SECOND, "api_keys.backend/k2")] {
        let answer = world.service.mint(key).await;
        answer.expect_minted();
        let line = world.service.audit_of(answer.request_id()).await;
        assert_eq!(line["identity"], name, "{line:#}");
        users.push(pseudonym(&world.service, &answer).await);
    }
    assert_eq!(users[0], users[1], "both keys are the same server's");
    let foreign = world.service.mint(FOREIGN).await;
    foreign.expect_minted();
    assert_ne!(pseudonym(&world.service, &foreign).await, users[0]);
}

#[tokio::test]
async fn what_is_not_exactly_a_key_is_refused() {
    let world = backend(|config| config);
    let hash = sha256(FIRST);
    for wrong in [
        &FIRST[..FIRST.len() - 1],
        &format!("{FIRST}0"),
        &FIRST.to_uppercase(),
        &FIRST.replace("0001", "0004"),
        &hash,
        "k1",
        "backend",
        &format!("{FIRST},{SECOND}"),
    ] {
        if wrong.len() > 16 {
            world.service.guard("a wrong key", wrong, Scope::Records);
        }
        let call = world.service.call(Method::POST, MINT).header("authorization", &format!("Bearer {wrong}"));
        call.send().await.expect_problem(401, "invalid_token");
    }
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn a_key_ends_when_it_expires_and_its_successor_goes_on() {
    let world = World::with(|config| keys(config, "backend", &[("old", FIRST, Some(2)), ("new", SECOND, None)]));
    world.service.mint(FIRST).await.expect_minted();
    crate::support::eventually("the key expires", 10, async || {
        let answer = world.service.mint(FIRST).await;
        (answer.status == 401).then(|| answer.expect_problem(401, "token_expired"))
    })
    .await;
    world.service.mint(SECOND).await.expect_minted();
    let warned = world.service.log().iter().any(|line| line["key"] == "old" && line["identity"] == "api_keys.backend");
    assert!(warned, "an operator is warned of the end: {}", world.service.stderr());
}

#[tokio::test]
async fn a_key_is_confined_to_its_profiles() {
    let world = backend(|config| config.set("identity.api_keys.backend.profiles", r#"["other"]"#));
    world.service.mint(FIRST).await.expect_problem(403, "profile_forbidden");
    world.service.mint_from("other", FIRST).await.expect_minted();
    world.service.mint(FOREIGN).await.expect_minted();
}

#[tokio::test]
async fn groups_of_a_server_open_profiles() {
    let world = backend(|config| {
        config
            .set("profiles.other.allow", r#"{ groups = ["machines"] }"#)
            .set("identity.api_keys.backend.groups", r#"["machines"]"#)
    });
    world.service.mint_from("other", FIRST).await.expect_minted();
    world.service.mint_from("other", FOREIGN).await.expect_problem(403, "profile_forbidden");
}

#[tokio::test]
async fn a_server_with_the_right_to_it_acts_for_its_users() {
    let world = acting(|config| config.limit("mints_per_minute", 1));
    let (alice, bob) = (user("alice"), user("bob"));
    let first = mint_for(&world.service, FIRST, &alice).await;
    let session = first.expect_session();
    mint_for(&world.service, FIRST, &bob).await.expect_minted();
    world.service.mint(FIRST).await.expect_minted();
    mint_for(&world.service, SECOND, &alice).await.expect_problem(429, "rate_limited");
    let list = |name: String| {
        let call = world.service.call(Method::GET, "/v1/sessions").bearer(SECOND).header("Ephemint-User", &name);
        async move { call.send().await.expect(200).text() }
    };
    assert!(list(alice).await.contains(&session));
    assert!(!list(bob).await.contains(&session));
    assert!(!world.service.get("/v1/sessions", FIRST).await.text().contains(&session));
}

#[tokio::test]
async fn whom_others_say_they_act_for_is_not_read() {
    let world = acting(|config| config);
    let alice = user("alice");
    let token = world.bearer("bob");
    let alone = world.service.mint(&token).await;
    let saying = mint_for(&world.service, &token, &alice).await;
    saying.expect_minted();
    assert_eq!(pseudonym(&world.service, &alone).await, pseudonym(&world.service, &saying).await);
    let alone = world.service.mint(FOREIGN).await;
    for name in [alice.as_str(), "", "\u{fc}"] {
        let saying = mint_for(&world.service, FOREIGN, name).await;
        saying.expect_minted();
        assert_eq!(pseudonym(&world.service, &alone).await, pseudonym(&world.service, &saying).await);
    }
}

#[tokio::test]
async fn a_user_needs_a_name_that_can_be_one() {
    let world = acting(|config| config);
    for name in ["", &"x".repeat(257), "a\tb"] {
        let problem = mint_for(&world.service, FIRST, name).await.expect_problem(401, "invalid_token");
        assert_eq!(problem["error"]["param"], "Ephemint-User");
    }
    mint_for(&world.service, FIRST, "\u{fc}ber").await.expect_minted();
    let head =
        format!("POST {MINT} HTTP/1.1\r\nHost: e\r\nAuthorization: Bearer {FIRST}\r\nContent-Length: 0\r\nConnection: close\r\n");
    let not_text = world.service.raw().ask(&[head.as_bytes(), b"Ephemint-User: \xff\r\n\r\n"].concat());
    not_text.expect_problem(401, "invalid_token");
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn a_user_is_named_once() {
    let world = acting(|config| config);
    let twice = world.service.call(Method::POST, MINT).bearer(FIRST).header("Ephemint-User", "a").header("Ephemint-User", "b");
    let problem = twice.send().await.expect_problem(400, "duplicate_header");
    assert_eq!(problem["error"]["param"], "Ephemint-User");
}

#[tokio::test]
async fn a_user_of_a_server_is_nobody_elses_user_of_that_name() {
    let world = acting(|config| config.set("identity.api_keys.foreign.may_act_for_users", "true"));
    let alice = user("alice");
    let mut seen = Vec::new();
    for answer in [
        mint_for(&world.service, FIRST, &alice).await,
        mint_for(&world.service, FOREIGN, &alice).await,
        world.service.mint(&world.bearer("alice")).await,
    ] {
        answer.expect_minted();
        seen.push(pseudonym(&world.service, &answer).await);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 3);
}

#[tokio::test]
async fn api_keys_alone_are_enough_to_start_with() {
    let world = World::with(|config| keys(config.without("identity.jwt"), "backend", &[("k1", FIRST, None)]));
    world.service.mint(FIRST).await.expect_minted();
    world.service.mint(&world.bearer("alice")).await.expect_problem(401, "invalid_token");
}
