//! AWS Secrets Manager, as moto's server speaks it, and as it can be broken.

mod answers;
mod chain;
mod fake;
mod settings;
mod signature;
mod start;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::moto::{Moto, at, element};
use crate::support::{Config, Scope, World, eventually, now, secrets};
use crate::{credentials, used};
use start::refused;

/// Ephemint's own at AWS.
pub(crate) const KEY_ID: &str = "AKIDEXAMPLE000000001";
pub(crate) const SECRET: &str = "canary-aws-secret-access-key/0001+=";

/// The permanent key is where `reference` says.
pub(crate) fn key(config: Config, reference: &str) -> Config {
    config.set("upstreams.openai.credential", &format!("{{ keys = [{reference:?}] }}"))
}

/// With credentials in the environment.
pub(crate) fn with_keys(config: Config) -> Config {
    config.env("AWS_ACCESS_KEY_ID", KEY_ID).env("AWS_SECRET_ACCESS_KEY", SECRET)
}

/// A mint with this permanent key.
pub(crate) async fn expect_mint(world: &World, key: &str) {
    world.service.mint(&world.bearer("alice")).await.expect_minted();
    assert_eq!(world.upstream.last().bearer(), key);
}

#[tokio::test]
async fn a_secret_serves_a_mint_by_name_by_arn_by_field_and_as_bytes() {
    let moto = Moto::shared();
    let arn = moto.secret("ephemint/whole", secrets::PRIMARY_KEY).await;
    moto.secret("ephemint/json", &json!({"other": 1, "api.key": secrets::PRIMARY_KEY}).to_string()).await;
    let bytes = STANDARD.encode(format!("{}\n", secrets::PRIMARY_KEY));
    moto.secrets("CreateSecret", &json!({"Name": "ephemint/bytes", "SecretBinary": bytes})).await;
    for reference in
        ["aws-sm://ephemint/whole", &format!("aws-sm://{arn}"), "aws-sm://ephemint/json#api.key", "aws-sm://ephemint/bytes"]
    {
        let world = World::with(|config| key(with_keys(at(config, moto.origin())), reference));
        expect_mint(&world, secrets::PRIMARY_KEY).await;
    }
}

#[tokio::test]
async fn the_next_start_reads_the_value_of_then() {
    let moto = Moto::shared();
    moto.secret("ephemint/rotated", secrets::PRIMARY_KEY).await;
    let start = || World::with(|config| key(with_keys(at(config, moto.origin())), "aws-sm://ephemint/rotated"));
    expect_mint(&start(), secrets::PRIMARY_KEY).await;
    let rotated = json!({"SecretId": "ephemint/rotated", "SecretString": secrets::FALLBACK_KEY});
    moto.secrets("PutSecretValue", &rotated).await;
    expect_mint(&start(), secrets::FALLBACK_KEY).await;
}

#[tokio::test]
async fn a_new_version_is_used_without_a_restart() {
    let moto = Moto::shared();
    moto.secret("ephemint/live", secrets::PRIMARY_KEY).await;
    let world = World::with(|config| key(with_keys(at(config, moto.origin())), "aws-sm://ephemint/live"));
    expect_mint(&world, secrets::PRIMARY_KEY).await;
    moto.secrets("PutSecretValue", &json!({"SecretId": "ephemint/live", "SecretString": secrets::FALLBACK_KEY})).await;
    world.service.signal("HUP");
    used(&world, &world.bearer("alice"), secrets::FALLBACK_KEY).await;
}

#[tokio::test]
async fn an_outage_or_a_refusal_later_on_loses_no_mint_and_is_told_to_operators() {
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = broken.clone();
    let aws = fake::Aws::with(move |_| is_broken.load(Ordering::SeqCst).then(|| fake::error(400, "AccessDeniedException")));
    let world = World::with(|config| key(with_keys(at(config, &aws.origin())), "aws-sm://ephemint/openai"));
    let age = credentials(&world.service).await["credentials"][0]["age_seconds"].as_u64().expect("an age");
    assert!(now() - 1_790_000_000 - i64::try_from(age).expect("an age") < 60, "{age}: it is as old as AWS says");
    broken.store(true, Ordering::SeqCst);
    let failure = async |words: &str| {
        world.service.signal("HUP");
        eventually(words, 10, async || {
            let shown = credentials(&world.service).await;
            shown["credentials"][0]["last_failure"].to_string().contains(words).then_some(())
        })
        .await;
        expect_mint(&world, secrets::PRIMARY_KEY).await;
    };
    failure("allow secretsmanager:GetSecretValue").await;
    aws.refuse();
    failure("AWS Secrets Manager cannot be reached").await;
}

#[tokio::test]
async fn the_region_of_the_secret_is_that_of_its_arn() {
    let moto = Moto::shared();
    let arn = moto.secret("ephemint/regional", secrets::PRIMARY_KEY).await;
    let elsewhere = |config: Config| with_keys(at(config, moto.origin())).env("AWS_REGION", "ap-south-1");
    expect_mint(&World::with(|config| key(elsewhere(config), &format!("aws-sm://{arn}"))), secrets::PRIMARY_KEY).await;
    let by_setting = |config| key(elsewhere(config).set("secrets.aws.region", r#""eu-west-1""#), "aws-sm://ephemint/regional");
    expect_mint(&World::with(by_setting), secrets::PRIMARY_KEY).await;
    refused(|config| key(elsewhere(config), "aws-sm://ephemint/regional")).expect(
        "AWS Secrets Manager has no such secret with a current value in ap-south-1; check the name, and secrets.aws.region",
    );
}

/// With moto's check of signatures and policies, which is botocore's own code.
#[tokio::test]
async fn the_least_policy_is_enough_and_nothing_less_is() {
    const POLICY: &str =
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"*"}]}"#;
    let moto = Moto::start();
    moto.secret("ephemint/guarded", secrets::PRIMARY_KEY).await;
    let mut users = Vec::new();
    for user in ["reader", "stranger"] {
        moto.iam("CreateUser", &[("UserName", user)]).await;
        let made = moto.iam("CreateAccessKey", &[("UserName", user)]).await;
        users.push((element(&made, "AccessKeyId").to_owned(), element(&made, "SecretAccessKey").to_owned()));
    }
    moto.iam("PutUserPolicy", &[("UserName", "reader"), ("PolicyName", "read"), ("PolicyDocument", POLICY)]).await;
    moto.check_everybody().await;
    let [(reader, secret), (stranger, other)] = &users[..] else { panic!("two users") };
    let with = |config: Config, id: &str, secret: &str| {
        let config = at(config, moto.origin()).env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
        key(config, "aws-sm://ephemint/guarded")
    };
    let world = World::with(|config| with(config, reader, secret));
    world.service.guard("the secret access key", secret, Scope::Everywhere);
    expect_mint(&world, secrets::PRIMARY_KEY).await;
    for (id, secret) in [(stranger, other), (reader, other)] {
        let outcome = refused(|config| with(config, id, secret));
        assert!(outcome.problem().contains("AWS Secrets Manager answered 403"), "{outcome:?}");
    }
}
