//! A Vault while the service runs: new versions, outages, tokens that are taken back.

use reqwest::Method;
use serde_json::json;

use super::{LOGIN, READ, vault, world};
use crate::support::vault::{Auth, Vault};
use crate::support::{World, eventually, secrets};
use crate::{count, credentials, key, used};

/// Has the service look at once. A manager is asked once a second at most.
async fn reload(world: &World) {
    world.service.admin(Method::POST, "/admin/v1/credentials/reload").send().await.expect(202);
}

/// Has the service look until a mint is served with this key.
async fn adopted(world: &World, token: &str, key: &str) {
    let is_used = async || {
        reload(world).await;
        world.service.mint(token).await.expect_minted();
        (world.upstream.last().bearer() == key).then_some(())
    };
    eventually("the new key is used", 10, is_used).await;
}

/// Waits for a failure of the key that begins so, asking for a look until there is one.
async fn fails(world: &World, words: &str) -> String {
    let failure = async || {
        reload(world).await;
        let failure = credentials(&world.service).await["credentials"][0]["last_failure"]["cause"].as_str()?.to_owned();
        failure.contains(words).then_some(failure)
    };
    eventually(words, 10, failure).await
}

fn keep(vault: &Vault, key: &str) {
    vault.keep_v2("secret", "ephemint/openai", &json!({ "api_key": key }));
}

#[tokio::test]
async fn a_new_version_is_used_with_its_own_age() {
    let vault = vault();
    let world = world(&vault, Auth::Kubernetes, |config| config);
    world.upstream.accept(&key(3));
    let token = world.bearer("anna");
    used(&world, &token, secrets::PRIMARY_KEY).await;
    keep(&vault, &key(3));
    adopted(&world, &token, &key(3)).await;
    let shown = &credentials(&world.service).await["credentials"][0];
    assert_eq!(shown["source"], "vault://secret/ephemint/openai#api_key");
    assert_eq!(shown["made_at"], 1_521_685_446, "created_time of the version");
}

#[tokio::test]
async fn an_outage_leaves_the_key_in_use_and_is_over_by_itself() {
    let vault = vault();
    let world = world(&vault, Auth::AppRole, |config| config.set("secrets.poll_seconds", "5"));
    world.upstream.accept(&key(3));
    let token = world.bearer("anna");
    vault.refuse();
    fails(&world, "cannot be reached").await;
    used(&world, &token, secrets::PRIMARY_KEY).await;
    keep(&vault, &key(3));
    vault.up();
    let is_used = async || {
        world.service.mint(&token).await.expect_minted();
        (world.upstream.last().bearer() == key(3)).then_some(())
    };
    eventually("the new version is seen by looking every five seconds", 15, is_used).await;
    assert_eq!(vault.asked().iter().filter(|asked| *asked == LOGIN).count(), 1, "the token is still good");
}

#[tokio::test]
async fn a_token_that_is_taken_back_costs_one_login_and_a_lost_right_says_so() {
    let vault = vault();
    let world = world(&vault, Auth::AppRole, |config| config);
    world.upstream.accept(&key(3));
    let token = world.bearer("anna");
    vault.revoke_all();
    keep(&vault, &key(3));
    adopted(&world, &token, &key(3)).await;
    assert_eq!(vault.asked().iter().filter(|asked| *asked == LOGIN).count(), 2, "{:?}", vault.asked());
    vault.forget("secret/data/ephemint/openai");
    let failure = fails(&world, "Vault has nothing at ephemint/openai in secret (status 404)").await;
    assert!(failure.starts_with("cannot be read: "), "{failure}");
    assert!(count(&world.service, "unreadable").await >= 1);
    used(&world, &token, &key(3)).await;
    assert_eq!(vault.asked().last().map(String::as_str), Some(READ));
}
