//! Tokens that are bound to a key: good with a proof, once, and with nothing less.

use reqwest::Method;
use serde_json::json;

use crate::holder::{ALGORITHMS, Holder, challenge, expect_challenge, thumbprint};
use crate::support::{Algorithm, Config, Key, MINT, World, now};

const ORIGIN: &str = "https://app.example.com";

/// With the section, but nothing in it.
fn switched_on(config: Config) -> Config {
    config.append("[identity.dpop]")
}

fn with_nonces(config: Config) -> Config {
    config.set("identity.dpop.require_nonce", "true")
}

/// For a token that is not bound.
fn either_scheme() -> String {
    format!(r#"Bearer error="invalid_token", {}"#, challenge("invalid_token"))
}

#[tokio::test]
async fn a_bound_token_mints_with_a_proof_of_every_accepted_algorithm() {
    let world = World::start();
    for algorithm in [Algorithm::ES256, Algorithm::EdDSA, Algorithm::PS256, Algorithm::RS256] {
        let holder = Holder::with(&world, "alice", &Key::new("proof", algorithm));
        holder.mint(&world, &holder.proof(&world).build()).await.expect_minted();
    }
    let holder = Holder::with(&world, "alice", &Key::new("proof", Algorithm::EdDSA));
    holder.mint(&world, &holder.proof(&world).head("alg", "Ed25519").build()).await.expect_minted();
    assert_eq!(world.upstream.count(), 5);
}

#[tokio::test]
async fn the_algorithms_are_those_that_are_configured() {
    let world = World::with(|config| config.set("identity.dpop.algorithms", r#"["ES384"]"#));
    let (old, new) = (Holder::new(&world, "alice"), Holder::with(&world, "alice", &Key::new("proof", Algorithm::ES384)));
    let answer = old.mint(&world, &old.proof(&world).build()).await;
    expect_challenge(&answer, "invalid_token", r#"DPoP error="invalid_dpop_proof", algs="ES384""#);
    new.mint(&world, &new.proof(&world).build()).await.expect_minted();
}

#[tokio::test]
async fn a_bound_token_is_no_bearer_token() {
    let world = World::start();
    let holder = Holder::new(&world, "alice");
    // Also once it has been verified and is remembered.
    for _ in 0..2 {
        let answer = world.service.mint(&holder.token).await;
        expect_challenge(&answer, "invalid_token", &challenge("invalid_token"));
        let call = world.service.call(Method::POST, MINT).bearer(&holder.token);
        let answer = call.header("dpop", &holder.proof(&world).build()).send().await;
        expect_challenge(&answer, "invalid_token", &challenge("invalid_token"));
        let call = world.service.call(Method::POST, MINT).header("authorization", &format!("DPoP {}", holder.token));
        expect_challenge(&call.send().await, "invalid_token", &challenge("invalid_dpop_proof"));
        holder.mint(&world, &holder.proof(&world).build()).await.expect_minted();
    }
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test]
async fn a_token_that_is_not_bound_is_not_made_better_by_a_proof() {
    let world = World::start();
    let bound = Holder::new(&world, "alice");
    let unbound = Holder { key: bound.key.clone(), token: world.bearer("alice") };
    let answer = unbound.mint(&world, &unbound.proof(&world).build()).await;
    expect_challenge(&answer, "invalid_token", &either_scheme());
    let call = world.service.call(Method::POST, MINT).header("authorization", &format!("DPoP {}", unbound.token));
    expect_challenge(&call.send().await, "invalid_token", &either_scheme());
    world.service.mint(&unbound.token).await.expect_minted();
}

#[tokio::test]
async fn a_bound_token_is_still_a_token() {
    let world = World::start();
    let holder = Holder::new(&world, "alice");
    let cnf = json!({"jkt": thumbprint(&crate::holder::public(&holder.key))});
    let token = || world.issuer.token("canary-user-alice").claim("cnf", cnf.clone());
    for (token, code) in [
        (token().claim("exp", now() - 60).build(), "token_expired"),
        (token().claim("aud", "other").build(), "invalid_token"),
        (token().signed_by(&holder.key).build(), "invalid_token"),
    ] {
        let holder = Holder { key: holder.key.clone(), token };
        expect_challenge(&holder.mint(&world, &holder.proof(&world).build()).await, code, &either_scheme());
    }
}

#[tokio::test]
async fn a_binding_that_cannot_be_checked_is_never_ignored() {
    let world = World::start();
    let holder = Holder::new(&world, "alice");
    let jwk = crate::holder::public(&holder.key);
    let jkt = thumbprint(&jwk);
    let certificate = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2";
    for cnf in [
        json!({"x5t#S256": certificate}),
        json!({"jkt": jkt, "x5t#S256": certificate}),
        json!({"jkt": jkt, "kid": "proof"}),
        json!({"jwk": jwk}),
        json!({"kid": "proof"}),
        json!({}),
        json!(null),
        json!([]),
        json!(jkt),
        json!([{"jkt": jkt}]),
        json!({"jkt": null}),
        json!({"jkt": [jkt]}),
        json!({"jkt": ""}),
        json!({"jkt": format!("{jkt}=")}),
        json!({"jkt": &jkt[1..]}),
        json!({"JKT": jkt}),
    ] {
        let token = world.issuer.token("canary-user-alice").claim("cnf", cnf.clone()).build();
        let answer = world.service.mint(&token).await;
        expect_challenge(&answer, "invalid_token", r#"Bearer error="invalid_token""#);
        let holder = Holder { key: holder.key.clone(), token };
        let answer = holder.mint(&world, &holder.proof(&world).build()).await;
        assert_eq!(answer.status, 401, "{cnf}: {answer}");
    }
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn a_proof_is_sent_in_one_header() {
    let world = World::start();
    let holder = Holder::new(&world, "alice");
    let proof = holder.proof(&world).build();
    let call = || world.service.call(Method::POST, MINT).proven(&holder.token, &proof);
    call().header("dpop", &proof).send().await.expect_problem(400, "duplicate_header");
    call().header("dpop", "").send().await.expect_problem(400, "duplicate_header");
    call().send().await.expect_minted();
}

#[tokio::test]
async fn a_proof_is_used_once() {
    let world = World::start();
    let holder = Holder::new(&world, "alice");
    let proof = holder.proof(&world);
    holder.mint(&world, &proof.build()).await.expect_minted();
    let again = [proof.build(), proof.clone().claim("iat", now() - 5).build(), proof.clone().claim("more", 1).build()];
    for text in again {
        expect_challenge(&holder.mint(&world, &text).await, "invalid_token", &challenge("invalid_dpop_proof"));
    }
    // Its name is the key's own: another's proof may have the same.
    let other = Holder::new(&world, "bob");
    let same_name = other.proof(&world).claim("jti", proof.claims["jti"].clone());
    other.mint(&world, &same_name.build()).await.expect_minted();
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test]
async fn of_many_uses_at_once_one_counts() {
    let world = World::start();
    let holder = Holder::new(&world, "alice");
    let proof = holder.proof(&world).build();
    let answers = futures_util::future::join_all((0..32).map(|_| holder.mint(&world, &proof))).await;
    let minted = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((minted, world.upstream.count()), (1, 1));
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        expect_challenge(answer, "invalid_token", &challenge("invalid_dpop_proof"));
    }
}

#[tokio::test]
async fn a_proof_that_was_refused_is_not_used_up() {
    let world = World::start();
    let holder = Holder::new(&world, "alice");
    let proof = holder.proof(&world);
    for spoiled in [proof.clone().claim("htm", "GET"), proof.clone().claim("iat", now() - 90), proof.clone().without("ath")] {
        holder.mint(&world, &spoiled.build()).await.expect(401);
    }
    holder.mint(&world, &proof.build()).await.expect_minted();
}

#[tokio::test]
async fn whoever_makes_too_many_proofs_is_slowed_down_alone() {
    let world = World::with(|config| config.set("identity.dpop.replay_entries", "1000"));
    let (hasty, calm) = (Holder::new(&world, "hasty"), Holder::new(&world, "calm"));
    for _ in 0..20 {
        hasty.mint(&world, &hasty.proof(&world).build()).await.expect_minted();
    }
    let answer = hasty.mint(&world, &hasty.proof(&world).build()).await;
    answer.expect_problem(429, "rate_limited");
    assert_eq!(answer.retry_after(), 60);
    // A new key is no way around it.
    let again = Holder::new(&world, "hasty");
    again.mint(&world, &again.proof(&world).build()).await.expect_problem(429, "rate_limited");
    calm.mint(&world, &calm.proof(&world).build()).await.expect_minted();
}

#[tokio::test]
async fn an_issuer_whose_tokens_must_be_bound_has_no_bearer_tokens() {
    let world = World::with(|config| config.set("identity.jwt.main.require_dpop", "true"));
    let holder = Holder::new(&world, "alice");
    let unbound = Holder { key: holder.key.clone(), token: world.bearer("alice") };
    expect_challenge(&world.service.mint(&unbound.token).await, "invalid_token", &challenge("invalid_token"));
    let answer = unbound.mint(&world, &unbound.proof(&world).build()).await;
    expect_challenge(&answer, "invalid_token", &challenge("invalid_token"));
    assert_eq!(world.upstream.count(), 0);
    holder.mint(&world, &holder.proof(&world).build()).await.expect_minted();
}

#[tokio::test]
async fn only_where_dpop_is_switched_on_are_clients_told_of_it() {
    for (world, offered) in [
        (World::start(), false),
        (World::with(switched_on), true),
        (World::with(|config| config.set("identity.jwt.main.require_dpop", "true")), true),
    ] {
        let answer = world.service.call(Method::POST, MINT).header("origin", ORIGIN).send().await;
        let both = format!(r#"Bearer, DPoP algs="{ALGORITHMS}""#);
        expect_challenge(&answer, "missing_credentials", if offered { &both } else { "Bearer" });
        let (exposed, more) = (
            "Location, Ephemint-Session, X-Request-ID, Retry-After, RateLimit, RateLimit-Policy",
            ", DPoP-Nonce, WWW-Authenticate",
        );
        let wanted = format!("{exposed}{}", if offered { more } else { "" });
        assert_eq!(answer.header("access-control-expose-headers"), Some(wanted.as_str()));

        let call = world.service.call(Method::OPTIONS, MINT).header("origin", ORIGIN);
        let call = call.header("access-control-request-method", "POST");
        let answer = call.header("access-control-request-headers", "authorization, dpop").send().await;
        let allowed = "authorization, content-type, idempotency-key, x-request-id, traceparent, x-openai-agents-sdk, openai-beta";
        let wanted = format!("{allowed}{}", if offered { ", dpop" } else { "" });
        assert_eq!(answer.expect(204).header("access-control-allow-headers"), Some(wanted.as_str()));
    }
}

#[tokio::test]
async fn a_nonce_is_asked_for_handed_out_and_taken() {
    let world = World::with(with_nonces);
    let holder = Holder::new(&world, "alice");
    let proof = || holder.proof(&world);
    let asked = holder.mint(&world, &proof().build()).await;
    expect_challenge(&asked, "invalid_token", &challenge("use_dpop_nonce"));
    let nonce = asked.header("dpop-nonce").expect("a nonce").to_owned();
    for bad in ["", "x", &nonce[1..], &nonce.to_lowercase()] {
        let answer = holder.mint(&world, &proof().claim("nonce", bad).build()).await;
        expect_challenge(&answer, "invalid_token", &challenge("use_dpop_nonce"));
        assert!(answer.header("dpop-nonce").is_some(), "{answer}");
    }
    // Whatever else is wrong is not mended by a nonce.
    for spoiled in [proof().claim("htm", "GET"), proof().claim("nonce", 7), proof().without("jti")] {
        expect_challenge(&holder.mint(&world, &spoiled.build()).await, "invalid_token", &challenge("invalid_dpop_proof"));
    }
    assert_eq!(world.upstream.count(), 0);
    let answer = holder.mint(&world, &proof().claim("nonce", nonce.as_str()).build()).await;
    answer.expect_minted();
    // A good answer has the next one; the same is good for further proofs.
    assert!(answer.header("dpop-nonce").is_some(), "{answer}");
    holder.mint(&world, &proof().claim("nonce", nonce.as_str()).build()).await.expect_minted();
    // Others are not told.
    assert_eq!(world.service.mint(&world.bearer("bob")).await.header("dpop-nonce"), None);
}

#[tokio::test]
async fn replicas_take_each_others_nonces_and_nobody_elses() {
    let (world, replica) = (World::with(with_nonces), World::with(with_nonces));
    let stranger = World::with(|config| with_nonces(config).env("TEST_PSEUDONYM_KEY", "another-key-0123456789abcdef0123456789"));
    let nonce = async |world: &World| {
        let holder = Holder::new(world, "alice");
        holder.mint(world, &holder.proof(world).build()).await.header("dpop-nonce").expect("a nonce").to_owned()
    };
    let holder = Holder::new(&world, "alice");
    let minted = async |nonce: String| holder.mint(&world, &holder.proof(&world).claim("nonce", nonce).build()).await;
    minted(nonce(&replica).await).await.expect_minted();
    expect_challenge(&minted(nonce(&stranger).await).await, "invalid_token", &challenge("use_dpop_nonce"));
}

#[tokio::test]
async fn without_nonces_none_is_handed_out_and_any_is_taken() {
    let world = World::with(switched_on);
    let holder = Holder::new(&world, "alice");
    let answer = holder.mint(&world, &holder.proof(&world).claim("nonce", "another service's").build()).await;
    answer.expect_minted();
    assert_eq!(answer.header("dpop-nonce"), None);
}

#[tokio::test]
async fn the_window_is_the_configured_one() {
    let world = World::with(|config| config.set("identity.dpop.iat_window_seconds", "300"));
    let holder = Holder::new(&world, "alice");
    for (iat, status) in [(now() - 290, 200), (now() - 310, 401), (now() + 5, 200)] {
        holder.mint(&world, &holder.proof(&world).claim("iat", iat).build()).await.expect(status);
    }
}

#[tokio::test]
async fn the_log_says_why_a_proof_was_refused_and_the_audit_that_it_was() {
    let world = World::start();
    let holder = Holder::new(&world, "alice");
    let answer = holder.mint(&world, &holder.proof(&world).claim("htu", "https://elsewhere.example.com/").build()).await;
    answer.expect_problem(401, "invalid_token");
    let entry = world.service.audit_of(answer.request_id()).await;
    assert_eq!((&entry["outcome"], &entry["user"]), (&json!("invalid_token"), &json!(null)));
    crate::support::eventually("a log line", 5, async || {
        let told = |line: &serde_json::Value| line["cause"].as_str().is_some_and(|cause| cause.starts_with("htu"));
        world.service.log().iter().any(told).then_some(())
    })
    .await;
}
