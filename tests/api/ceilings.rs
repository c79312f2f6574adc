//! Limits across profiles: of each user, each tenant, each address, each profile in total, and everybody.

use crate::support::{Answer, MINT, World, user};
use reqwest::Method;

async fn mint_from_address(world: &World, address: &str, token: &str) -> Answer {
    world.service.call(Method::POST, MINT).bearer(token).header("x-forwarded-for", address).send().await
}

/// The refusal names the rule, and where it is set.
#[track_caller]
fn refused(answer: &Answer, code: &str, rule: &str) {
    let problem = answer.expect_problem(429, code);
    assert!(problem["detail"].as_str().unwrap().contains(rule), "{problem}");
    assert!(answer.retry_after() > 0);
}

#[tokio::test]
async fn a_user_has_one_rate_over_all_profiles() {
    let world = World::with(|config| config.profile("other").set("limits.per_user.mints_per_minute", "2"));
    let (alice, bob) = (world.bearer("alice"), world.bearer("bob"));
    world.service.mint(&alice).await.expect_minted();
    let answer = world.service.mint_from("other", &alice).await;
    answer.expect_minted();
    assert_eq!(answer.header("ratelimit-policy"), Some("\"mints_per_minute\";q=2;w=60"), "the tightest rate is told");
    for profile in ["default", "other"] {
        let answer = world.service.mint_from(profile, &alice).await;
        refused(&answer, "rate_limited", "limits.per_user.mints_per_minute");
        assert!(answer.header("ratelimit").is_some_and(|it| it.starts_with("\"mints_per_minute\";r=0;t=")), "{answer}");
    }
    world.service.mint(&bob).await.expect_minted();
}

#[tokio::test]
async fn a_tenant_shares_its_places() {
    let world = World::with(|config| {
        config.set("identity.jwt.main.tenant_claim", "\"org\"").set("limits.per_tenant.concurrent_calls", "2")
    });
    let of = |name: &str, tenant: &str| world.issuer.token(&user(name)).claim("org", tenant).build();
    let (alice, bob, carol) = (of("alice", "acme"), of("bob", "acme"), of("carol", "other"));
    let session = world.service.mint(&alice).await.expect_session();
    world.service.mint(&bob).await.expect_minted();
    for token in [&alice, &bob] {
        refused(&world.service.mint(token).await, "concurrency_limited", "limits.per_tenant.concurrent_calls");
    }
    world.service.mint(&carol).await.expect_minted();
    world.service.delete(&format!("/v1/sessions/{session}"), &alice).await.expect(204);
    world.service.mint(&bob).await.expect_minted();
}

#[tokio::test]
async fn an_address_is_counted_behind_proxies_that_are_trusted_and_of_ipv6_by_its_64() {
    let world = World::with(|config| {
        config.set("server.trusted_proxies", "[\"127.0.0.1\"]").set("limits.per_address.mints_per_minute", "1")
    });
    let (alice, bob) = (world.bearer("alice"), world.bearer("bob"));
    mint_from_address(&world, "192.0.2.1", &alice).await.expect_minted();
    refused(&mint_from_address(&world, "192.0.2.1", &bob).await, "rate_limited", "limits.per_address.mints_per_minute");
    mint_from_address(&world, "192.0.2.2", &bob).await.expect_minted();
    mint_from_address(&world, "2001:db8:1:2::1", &alice).await.expect_minted();
    refused(&mint_from_address(&world, "2001:db8:1:2:ffff::9", &bob).await, "rate_limited", "limits.per_address");
    mint_from_address(&world, "2001:db8:1:3::1", &bob).await.expect_minted();
}

#[tokio::test]
async fn an_address_that_a_stranger_claims_is_not_believed() {
    let world = World::with(|config| config.set("limits.per_address.mints_per_minute", "1"));
    let alice = world.bearer("alice");
    mint_from_address(&world, "192.0.2.1", &alice).await.expect_minted();
    refused(&mint_from_address(&world, "192.0.2.2", &alice).await, "rate_limited", "limits.per_address");
}

#[tokio::test]
async fn a_profile_has_a_total_of_its_own() {
    let world = World::with(|config| config.profile("other").set("profiles.default.total_limits.monthly_mints", "2"));
    let (alice, bob) = (world.bearer("alice"), world.bearer("bob"));
    world.service.mint(&alice).await.expect_minted();
    world.service.mint(&bob).await.expect_minted();
    refused(&world.service.mint(&alice).await, "quota_exhausted", "total_limits.monthly_mints");
    world.service.mint_from("other", &alice).await.expect_minted();
}

#[tokio::test]
async fn everybody_together_is_limited_and_nothing_is_taken_of_who_is_refused() {
    let world = World::with(|config| {
        config.limit("mints_per_minute", 2).limit("concurrent_calls", 2).set("limits.global.concurrent_calls", "2")
    });
    let (alice, bob, carol) = (world.bearer("alice"), world.bearer("bob"), world.bearer("carol"));
    let first = world.service.mint(&alice).await.expect_session();
    let second = world.service.mint(&bob).await.expect_session();
    for _ in 0..5 {
        refused(&world.service.mint(&carol).await, "concurrency_limited", "limits.global.concurrent_calls");
    }
    world.service.delete(&format!("/v1/sessions/{first}"), &alice).await.expect(204);
    world.service.mint(&carol).await.expect_minted();
    world.service.delete(&format!("/v1/sessions/{second}"), &bob).await.expect(204);
    world.service.mint(&carol).await.expect_minted();
}

#[tokio::test]
async fn many_users_at_once_share_a_limit_of_ten_exactly() {
    let world = World::with(|config| config.set("limits.global.mints_per_minute", "10"));
    let tokens: Vec<_> = (0..64).map(|i| world.bearer(&format!("user-{i}"))).collect();
    let mints = tokens.iter().map(|token| world.service.mint(token));
    let answers = futures_util::future::join_all(mints).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 10);
    assert_eq!(answers.iter().filter(|answer| answer.code() == "rate_limited").count(), 54);
}
