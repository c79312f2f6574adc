//! Keys that an issuer takes up and lays down while tokens are in use.

use std::slice;
use std::sync::Arc;

use serde_json::json;

use crate::support::{
    Algorithm, Answer, Config, Issuer, Key, Reply, Responder, Service, Token, Upstream, World, claims, eventually,
};

fn quick(config: Config) -> Config {
    config.set("identity.jwt.main.jwks_cooldown_seconds", "1")
}

fn signed_by(world: &World, key: &Arc<Key>) -> String {
    Token::new(key, claims(&world.issuer.url(), "canary-user-alice")).build()
}

/// Presents a token until it has this outcome. Forged key ids in between make the service look for the keys again.
async fn becomes(world: &World, what: &str, token: &str, status: u16) -> Answer {
    let forged = world.issuer.token("canary-user-mallory").head("kid", "forged").build();
    eventually(what, 15, async || {
        world.service.mint(&forged).await.expect_problem(401, "invalid_token");
        let answer = world.service.mint(token).await;
        (answer.status == status).then_some(answer)
    })
    .await
}

#[tokio::test]
async fn while_both_keys_are_published_tokens_of_both_are_good() {
    let world = World::with(quick);
    let (old, new) = (Arc::clone(&world.issuer.keys[0]), Key::new("ec-next", Algorithm::ES256));
    let (before, after) = (signed_by(&world, &old), signed_by(&world, &new));
    world.service.mint(&before).await.expect_minted();
    world.service.mint(&after).await.expect_problem(401, "invalid_token");

    world.issuer.publish(&[old, Arc::clone(&new)]);
    becomes(&world, "the new key is known", &after, 200).await;
    world.service.mint(&before).await.expect_minted();

    world.issuer.publish(slice::from_ref(&new));
    // Verified twice and remembered, and gone with its key all the same.
    becomes(&world, "the old key is forgotten", &before, 401).await.expect_problem(401, "invalid_token");
    world.service.mint(&after).await.expect_minted();
}

#[tokio::test]
async fn a_remembered_token_of_a_key_that_stays_is_still_good_and_of_one_that_goes_is_not() {
    let world = World::with(quick);
    let (ec, ed) = (Arc::clone(&world.issuer.keys[0]), Arc::clone(&world.issuer.keys[1]));
    let (by_ec, from_ed) = (signed_by(&world, &ec), signed_by(&world, &ed));
    for token in [&by_ec, &from_ed] {
        world.service.mint(token).await.expect_minted();
    }
    world.issuer.publish(slice::from_ref(&ed));
    becomes(&world, "one key is gone", &by_ec, 401).await;
    world.service.mint(&from_ed).await.expect_minted();
}

#[tokio::test]
async fn another_key_under_the_same_name_takes_the_place_of_the_first() {
    let world = World::with(quick);
    let old = Arc::clone(&world.issuer.keys[0]);
    let new = Key::stranger(old.kid(), Algorithm::ES256);
    let (before, after) = (signed_by(&world, &old), signed_by(&world, &new));
    world.service.mint(&before).await.expect_minted();
    world.service.mint(&after).await.expect_problem(401, "invalid_token");
    world.issuer.publish(slice::from_ref(&new));
    becomes(&world, "the replacement is known", &after, 200).await;
    world.service.mint(&before).await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn a_key_that_comes_back_is_good_again() {
    let world = World::with(quick);
    let all = world.issuer.keys.clone();
    let token = signed_by(&world, &all[0]);
    world.service.mint(&token).await.expect_minted();
    world.issuer.publish(&all[1..]);
    becomes(&world, "the key is gone", &token, 401).await;
    world.issuer.publish(&all);
    becomes(&world, "the key is back", &token, 200).await;
}

#[tokio::test]
async fn an_issuer_with_a_path_is_discovered_below_it() {
    let key = Key::new("ec-1", Algorithm::ES256);
    let jwk = key.jwk();
    let address = Arc::new(std::sync::OnceLock::new());
    let known = Arc::clone(&address);
    // As Entra ID: the issuer ends in a version, and the keys are elsewhere.
    let responder = Responder::start(move |request| {
        let base = known.get().map_or("", String::as_str);
        match request.target.as_str() {
            "/tenant-1/v2.0/.well-known/openid-configuration" => Reply::json(
                200,
                &json!({"issuer": format!("{base}/tenant-1/v2.0"), "jwks_uri": format!("{base}/tenant-1/discovery/v2.0/keys")}),
            ),
            "/tenant-1/discovery/v2.0/keys" => Reply::json(200, &json!({"keys": [jwk]})),
            _ => Reply::new(404),
        }
    });
    let base = format!("http://{}", responder.address());
    address.set(base.clone()).expect("once");
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let service = Service::start(&Config::new(&issuer, &upstream).issuer("path", &format!("{base}/tenant-1/v2.0")));
    let token = |name: &str| Token::new(&key, claims(&format!("{base}{name}"), "canary-user-alice")).build();
    service.mint(&token("/tenant-1/v2.0")).await.expect_minted();
    for other in ["", "/", "/tenant-1", "/tenant-1/v2.0/", "/tenant-2/v2.0", "/tenant-1/V2.0"] {
        service.mint(&token(other)).await.expect_problem(401, "invalid_token");
    }
}
