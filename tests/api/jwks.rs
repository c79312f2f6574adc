//! Where the issuers' keys come from, and what happens when they cannot be had.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::support::{
    Algorithm, Config, Issuer, Key, MINT, Reply, Responder, Service, Token, Upstream, World, claims, eventually,
};

/// A token of the issuer under a key that it has not published.
fn unknown_kid(issuer: &Issuer, kid: &str) -> String {
    issuer.token("canary-user-mallory").head("kid", kid).build()
}

/// Sends forged key ids until the key set was fetched once more.
async fn provoke_a_fetch(world: &World) {
    let before = world.issuer.key_set_fetches();
    let forged = unknown_kid(&world.issuer, "forged");
    eventually("an unknown key id makes the service look again", 15, async || {
        let answer = world.service.mint(&forged).await;
        assert!([401, 503].contains(&answer.status), "{answer}");
        (world.issuer.key_set_fetches() > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn keys_are_found_by_discovery() {
    let world = World::start();
    world.service.mint(&world.bearer("alice")).await.expect_minted();
    assert_eq!((world.issuer.discovery_fetches(), world.issuer.key_set_fetches()), (1, 1));
}

#[tokio::test]
async fn a_configured_key_set_needs_no_discovery() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let url = format!("{:?}", issuer.jwks_url());
    let world = World::from(issuer, upstream, |config| config.set("identity.jwt.main.jwks_url", &url));
    world.service.mint(&world.bearer("alice")).await.expect_minted();
    assert_eq!((world.issuer.discovery_fetches(), world.issuer.key_set_fetches()), (0, 1));
}

#[tokio::test]
async fn requests_to_the_issuer_carry_no_secret() {
    let world = World::start();
    world.service.mint(&world.bearer("alice")).await.expect_minted();
    for request in world.issuer.requests() {
        assert_eq!(request.method, "GET");
        assert!(request.all("authorization").is_empty() && request.all("cookie").is_empty(), "{request:?}");
        assert!(!format!("{request:?}").contains("canary"), "{request:?}");
    }
}

#[tokio::test]
async fn known_keys_are_not_fetched_again() {
    let world = World::start();
    let tokens: Vec<_> = (0..50).map(|number| world.bearer(&format!("number-{number}"))).collect();
    for answer in join_all(tokens.iter().map(|token| world.service.mint(token))).await {
        answer.expect_minted();
    }
    assert_eq!(world.issuer.key_set_fetches(), 1);
}

#[tokio::test]
async fn two_hundred_forged_key_ids_cause_one_fetch_and_delay_nobody() {
    let world = World::start();
    let good = world.bearer("alice");
    let forged: Vec<_> = (0..200).map(|number| unknown_kid(&world.issuer, &format!("forged-{number}"))).collect();
    let (refused, accepted) = tokio::join!(
        join_all(forged.iter().map(|token| world.service.mint(token))),
        join_all((0..20).map(|_| world.service.mint(&good))),
    );
    for answer in refused {
        answer.expect_problem(401, "invalid_token");
    }
    for answer in accepted {
        answer.expect_minted();
    }
    let fetches = world.issuer.key_set_fetches();
    assert!(fetches <= 2, "{fetches} fetches");
    assert!(world.issuer.discovery_fetches() <= 2);
    let answers = join_all(forged.iter().map(|token| world.service.mint(token))).await;
    assert!(answers.iter().all(|answer| answer.status == 401));
    assert_eq!(world.issuer.key_set_fetches(), fetches, "the cool-down did not hold");
}

#[tokio::test]
async fn a_rotated_key_is_picked_up_and_the_old_one_is_forgotten() {
    let world = World::with(|config| config.set("identity.jwt.main.jwks_cooldown_seconds", "1"));
    let old = world.bearer("alice");
    world.service.mint(&old).await.expect_minted();
    let fresh = Key::new("fresh", Algorithm::ES256);
    world.issuer.publish(std::slice::from_ref(&fresh));
    let token = Token::new(&fresh, claims(&world.issuer.url(), "canary-user-alice")).build();
    eventually("the new key is accepted", 15, async || {
        let answer = world.service.mint(&token).await;
        (answer.status == 200).then_some(())
    })
    .await;
    let answer = world.service.mint(&old).await;
    answer.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn known_keys_survive_every_kind_of_outage() {
    let html = || Reply::text(200, "text/html", "<html>maintenance</html>");
    let outages = [
        ("500", Reply::json(500, &json!({"error": "internal"}))),
        ("HTML", html()),
        ("no keys", Reply::json(200, &json!({"keys": []}))),
        ("no keys member", Reply::json(200, &json!({}))),
        ("keys that are none", Reply::json(200, &json!({"keys": [1, "x", {"kty": "oct", "k": "AAAA"}]}))),
        ("cut off", Reply::json(200, &json!({"keys": []})).cut(3, crate::support::End::Reset)),
        ("too large", Reply::text(200, "application/json", format!("{{\"keys\":[],\"pad\":\"{}\"}}", "x".repeat(10_000_000)))),
        ("a redirect", Reply::new(302).header("Location", "http://127.0.0.1:9/jwks.json")),
    ];
    let quick = |config: Config| config.set("identity.jwt.main.jwks_cooldown_seconds", "1");
    let worlds: Vec<_> = outages.iter().map(|_| World::with(quick)).collect();
    let run = worlds.iter().zip(outages).map(|(world, (name, reply))| async move {
        world.issuer.break_key_set(Some(reply));
        provoke_a_fetch(world).await;
        let answer = world.service.mint(&world.bearer("alice")).await;
        assert_eq!(answer.status, 200, "{name}: {answer}");
        let answer = world.service.call(Method::GET, "/readyz").send().await;
        assert_eq!(answer.status, 200, "{name}: {answer}");
    });
    join_all(run).await;
}

#[tokio::test]
async fn a_hanging_or_vanished_issuer_delays_no_known_key() {
    let world = World::with(|config| config.set("identity.jwt.main.jwks_cooldown_seconds", "1"));
    world.issuer.break_key_set(Some(Reply::never()));
    let forged = unknown_kid(&world.issuer, "forged");
    let before = world.issuer.key_set_fetches();
    let good = world.bearer("alice");
    let provoke = async {
        while world.issuer.key_set_fetches() == before {
            let waiting = world.service.mint(&forged);
            let _ = tokio::time::timeout(Duration::from_millis(200), waiting).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), provoke).await.expect("a fetch that hangs");
    let minted = tokio::time::timeout(Duration::from_secs(2), world.service.mint(&good)).await;
    minted.expect("a known key waits for nobody").expect_minted();
    world.issuer.refuse();
    world.service.mint(&good).await.expect_minted();
}

#[tokio::test]
async fn an_issuer_that_is_down_at_start_is_waited_for() {
    let (issuer, upstream) = (Issuer::down(), Upstream::start());
    let service = Service::start_unready(&Config::new(&issuer, &upstream));
    let probe = async |path: &str| service.call(Method::GET, path).send().await;
    let live = probe("/livez").await;
    assert_eq!(live.expect(200).json(), json!({"status": "ok"}));
    let ready = probe("/readyz").await;
    assert_eq!(ready.expect(503).json(), json!({"status": "unavailable"}));
    let token = issuer.bearer("alice");
    let refused = service.mint(&token).await;
    refused.expect_problem(503, "identity_unavailable");
    let anonymous = service.call(Method::POST, MINT).send().await;
    anonymous.expect_problem(401, "missing_credentials");
    assert_eq!(upstream.count(), 0);

    issuer.up();
    eventually("the service becomes ready", 30, async || (probe("/readyz").await.status == 200).then_some(())).await;
    service.mint(&token).await.expect_minted();
}

#[tokio::test]
async fn one_issuer_that_is_down_does_not_stop_the_other() {
    let (issuer, upstream, dead) = (Issuer::start(), Upstream::start(), Issuer::down());
    let config = Config::new(&issuer, &upstream).issuer("dead", &dead.url());
    let service = Service::start_unready(&config);
    eventually("the living issuer's keys", 10, async || {
        (service.mint(&issuer.bearer("alice")).await.status == 200).then_some(())
    })
    .await;
    service.mint(&dead.bearer("alice")).await.expect_problem(503, "identity_unavailable");
    let invented = issuer.token("canary-user-alice").claim("iss", "https://unknown.example/");
    service.mint(&invented.build()).await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn discovery_of_another_issuer_is_not_believed() {
    let other = Issuer::start();
    let documents = [
        ("of another name", json!({"issuer": other.url(), "jwks_uri": other.jwks_url()})),
        ("without a name", json!({"jwks_uri": other.jwks_url()})),
        ("without keys", json!({"issuer": "ITSELF"})),
        ("keys in a file", json!({"issuer": "ITSELF", "jwks_uri": "file:///etc/passwd"})),
        ("a list", json!([])),
    ];
    for (name, mut document) in documents {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        if document["issuer"] == "ITSELF" {
            document["issuer"] = json!(issuer.url());
        }
        issuer.break_discovery(Some(Reply::json(200, &document)));
        let service = Service::start_unready(&Config::new(&issuer, &upstream));
        let token = Token::new(&other.keys[0], claims(&issuer.url(), "canary-user-mallory")).build();
        let answer = service.mint(&token).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "identity_unavailable"), "{name}: {answer}");
        let ready = service.call(Method::GET, "/readyz").send().await;
        assert_eq!(ready.status, 503, "{name}");
    }
    assert_eq!(other.key_set_fetches(), 0);
}

#[tokio::test]
async fn redirects_of_an_issuer_are_not_followed() {
    let other = Issuer::start();
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    issuer.break_key_set(Some(Reply::new(307).header("Location", &other.jwks_url())));
    let service = Service::start_unready(&Config::new(&issuer, &upstream));
    service.mint(&issuer.bearer("alice")).await.expect_problem(503, "identity_unavailable");
    assert_eq!(other.key_set_fetches(), 0);
}

#[tokio::test]
async fn keys_that_are_not_understood_do_not_spoil_the_others() {
    let (issuer, upstream) = (Issuer::down(), Upstream::start());
    let mut keys = vec![
        json!(null),
        json!({"kty": "FUTURE", "kid": "future-1"}),
        json!({"kty": "oct", "kid": "oct-1", "k": "AAAA"}),
        json!({"kty": "RSA", "kid": "broken-1", "n": "not base64url!", "e": "AQAB"}),
        json!({"kty": "EC", "kid": "broken-2", "crv": "P-256", "x": "AA", "y": "AA"}),
        json!({"kty": "OKP", "kid": "x-1", "crv": "X25519", "x": "AA"}),
    ];
    keys.extend(issuer.keys.iter().map(|key| key.jwk()));
    issuer.publish_jwks(&keys);
    issuer.up();
    let world = World::from(issuer, upstream, |config| config);
    world.service.mint(&world.bearer("alice")).await.expect_minted();
}

#[tokio::test]
async fn the_private_network_is_not_scanned_by_tokens() {
    let trap = Responder::start(|_| Reply::json(200, &json!({"keys": []})));
    let world = World::start();
    let token = world.issuer.token("canary-user-mallory");
    let token = token.claim("iss", format!("http://{}/", trap.address())).head("kid", "forged").build();
    world.service.mint(&token).await.expect_problem(401, "invalid_token");
    assert_eq!(trap.connections(), 0);
}
