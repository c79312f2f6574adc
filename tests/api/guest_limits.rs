//! What guests may have, for each guest and for each client address behind proxies.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use super::guests::{GUEST, House};
use crate::support::{Answer, Config, MINT};

const PROXY: &str = r#"["127.0.0.1", "10.0.0.0/8"]"#;

fn per_address(config: Config, name: &str, value: u64) -> Config {
    config.set(&format!("identity.guest.per_address.{name}"), &value.to_string())
}

/// Two mints for each address, behind proxies or not.
fn two_mints(behind_proxies: bool) -> House {
    House::with(|config| {
        let config = per_address(config, "mints_per_minute", 2);
        if behind_proxies { config.set("server.trusted_proxies", PROXY) } else { config }
    })
}

async fn mint(house: &House, token: &str, header: &str, value: &str) -> Answer {
    house.service.call(Method::POST, &format!("{MINT}?profile=guest")).bearer(token).header(header, value).send().await
}

#[tokio::test]
async fn of_many_guests_at_one_address_exactly_as_many_mint_as_may() {
    let house = House::with(|config| per_address(config, "mints_per_minute", 10));
    let proofs: Vec<_> = (0..64).map(|i| format!("good-proof-of-guest-number-{i:02}")).collect();
    let tokens = join_all(proofs.iter().map(|proof| house.guest(proof))).await;
    let answers = join_all(tokens.iter().map(|token| house.service.mint_from("guest", token))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 10);
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        let problem = refused.expect_problem(429, "rate_limited");
        assert!(problem["detail"].as_str().unwrap().contains("for your network address"), "{refused}");
    }
    assert_eq!(house.upstream.count(), 10);
}

#[tokio::test]
async fn a_place_that_a_guest_gives_back_is_the_addresss_again() {
    let house = House::with(|config| per_address(config, "concurrent_calls", 1));
    let (one, other) = (house.guest("good-proof-of-one-guest").await, house.guest("good-proof-of-the-other").await);
    let session = house.service.mint_from("guest", &one).await.expect_session();
    let refused = house.service.mint_from("guest", &other).await;
    let problem = refused.expect_problem(429, "concurrency_limited");
    assert!(problem["detail"].as_str().unwrap().contains("for your network address"), "{refused}");
    house.service.delete(&format!("/v1/sessions/{session}"), &one).await.expect(204);
    house.service.mint_from("guest", &other).await.expect_minted();
}

#[tokio::test]
async fn each_guest_has_the_profiles_limits_of_their_own() {
    let house = House::with(|config| config.set("profiles.guest.limits.mints_per_minute", "1"));
    let (one, other) = (house.guest("good-proof-of-one-guest").await, house.guest("good-proof-of-the-other").await);
    house.service.mint_from("guest", &one).await.expect_minted();
    let problem = house.service.mint_from("guest", &one).await.expect_problem(429, "rate_limited");
    assert!(!problem["detail"].as_str().unwrap().contains("network address"), "{problem:#}");
    house.service.mint_from("guest", &other).await.expect_minted();
}

#[tokio::test]
async fn a_user_who_signed_in_is_not_counted_with_the_address() {
    let house = two_mints(false);
    let guest = house.guest("good-proof-beside-a-user").await;
    for _ in 0..3 {
        house.service.mint(&house.issuer.bearer("alice")).await.expect_minted();
    }
    house.service.mint_from("guest", &guest).await.expect_minted();
}

#[tokio::test]
async fn proofs_are_limited_before_the_provider_is_asked() {
    let house = House::with(|config| per_address(config, "proofs_per_minute", 3));
    for i in 0..3 {
        house.show(&format!("a-bad-proof-number-{i}-of-three")).await.expect_problem(401, "invalid_token");
    }
    house.show("good-proof-that-comes-too-late").await.expect_problem(429, "rate_limited");
    assert_eq!(house.provider.questions().len(), 3);
}

#[tokio::test]
async fn without_trusted_proxies_no_header_makes_another_address() {
    let house = two_mints(false);
    let token = house.guest("good-proof-of-a-liar-without-proxy").await;
    for (i, (header, value)) in [
        ("x-forwarded-for", "203.0.113.1"),
        ("forwarded", "for=203.0.113.2"),
        ("x-real-ip", "203.0.113.3"),
        ("x-forwarded-for", "127.0.0.1, 203.0.113.4"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = mint(&house, &token, header, value).await;
        assert_eq!(answer.status, if i < 2 { 200 } else { 429 }, "{header}: {value}: {answer}");
    }
}

#[tokio::test]
async fn behind_a_proxy_the_rightmost_hop_that_is_no_proxy_counts() {
    let house = two_mints(true);
    let token = house.guest("good-proof-of-a-liar-behind-proxies").await;
    for (value, status) in [
        ("192.0.2.1", 200),
        ("203.0.113.1, 192.0.2.1", 200),
        ("203.0.113.2, 192.0.2.1", 429),
        ("203.0.113.3, 192.0.2.1, 10.0.0.9", 429),
        ("::ffff:192.0.2.1", 429),
        ("192.0.2.1:4711", 429),
        ("192.0.2.2", 200),
    ] {
        let answer = mint(&house, &token, "x-forwarded-for", value).await;
        assert_eq!(answer.status, status, "{value}: {answer}");
    }
    // What cannot be read is counted with the proxy, and so is a header that is not the configured one.
    for (header, value, status) in [
        ("x-forwarded-for", "192.0.2.77, nonsense", 200),
        ("x-forwarded-for", "192.0.2.78, unknown", 200),
        ("x-forwarded-for", "", 429),
        ("forwarded", "for=192.0.2.79", 429),
    ] {
        let answer = mint(&house, &token, header, value).await;
        assert_eq!(answer.status, status, "{header}: {value}: {answer}");
    }
}

#[tokio::test]
async fn the_forwarded_header_is_read_where_it_is_configured() {
    let house = House::with(|config| {
        per_address(config, "mints_per_minute", 1)
            .set("server.trusted_proxies", PROXY)
            .set("server.forwarded_header", r#""forwarded""#)
    });
    let token = house.guest("good-proof-behind-a-modern-proxy").await;
    for (header, value, status) in [
        ("forwarded", "for=203.0.113.1, for=192.0.2.1;proto=https", 200),
        ("forwarded", "for=203.0.113.2, for=\"192.0.2.1:80\"", 429),
        ("forwarded", "for=\"[2001:db8::1]:80\"", 200),
        ("x-forwarded-for", "192.0.2.9", 200),
        ("x-forwarded-for", "192.0.2.8", 429),
    ] {
        let answer = mint(&house, &token, header, value).await;
        assert_eq!(answer.status, status, "{header}: {value}: {answer}");
    }
}

#[tokio::test]
async fn an_ipv6_client_is_its_slash_64() {
    let house = two_mints(true);
    let token = house.guest("good-proof-of-a-house-of-ipv6").await;
    for (value, status) in
        [("2001:db8:1:2::1", 200), ("2001:db8:1:2:ffff::9", 200), ("[2001:db8:1:2::77]:80", 429), ("2001:db8:1:3::1", 200)]
    {
        let answer = mint(&house, &token, "x-forwarded-for", value).await;
        assert_eq!(answer.status, status, "{value}: {answer}");
    }
}

#[tokio::test]
async fn proofs_too_are_counted_by_the_address_behind_the_proxy_which_nothing_writes_down() {
    let house = House::with(|config| per_address(config, "proofs_per_minute", 1).set("server.trusted_proxies", PROXY));
    let address = "198.51.100.231";
    house.service.guard("a client's address", address, crate::support::Scope::Everywhere);
    let show = |address: &str, proof: &str| {
        house.service.call(Method::POST, GUEST).header("x-forwarded-for", address).json(&json!({"proof": proof})).send()
    };
    let first = show(address, "good-proof-of-the-first-address").await;
    first.expect(200);
    show(address, "good-proof-that-comes-too-soon").await.expect_problem(429, "rate_limited");
    show("198.51.100.232", "good-proof-of-another-address").await.expect(200);
    let token = first.json()["access_token"].as_str().unwrap().to_owned();
    mint(&house, &token, "x-forwarded-for", address).await.expect_minted();
}
