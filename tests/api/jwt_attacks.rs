//! Forged tokens: algorithms, keys and header parameters that must not be believed.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::range::{Range, row};
use crate::support::{Algorithm, Issuer, Key, Token, Upstream, World, assemble, claims};

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

fn hs256(token: &Token, secret: &[u8]) -> String {
    let header = token.clone().head("alg", "HS256").header.to_string();
    assemble(header.as_bytes(), token.claims.to_string().as_bytes(), |message| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        hmac::sign(&key, message).as_ref().to_vec()
    })
}

#[tokio::test]
async fn unsigned_tokens_are_refused_however_none_is_spelled() {
    let range = Range::start();
    let mut rows = Vec::new();
    for none in ["none", "None", "NONE", "noNe", "nOnE", ""] {
        let token = range.token().head("alg", none);
        rows.push(row(&format!("alg {none:?}, empty signature"), format!("{}.", token.message())));
        rows.push(row(&format!("alg {none:?}, good signature"), token.build()));
        let nameless = token.without_head("kid");
        rows.push(row(&format!("alg {none:?}, no kid"), format!("{}.", nameless.message())));
    }
    range.all_refused(rows).await;
}

#[tokio::test]
async fn a_public_key_is_never_an_hmac_secret() {
    let range = Range::start();
    let rsa = range.world.issuer.key(Algorithm::RS256);
    let token = range.token_of(Algorithm::RS256);
    let pem = pem(&rsa.spki());
    let jwk = rsa.jwk();
    let modulus = jwk["n"].as_str().expect("a modulus");
    let raw = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(modulus).expect("base64url");
    let ed = range.world.issuer.key(Algorithm::EdDSA).jwk();
    let rows = vec![
        row("HS256 with the PEM", hs256(&token, pem.as_bytes())),
        row("HS256 with the PEM without its last line end", hs256(&token, pem.trim_end().as_bytes())),
        row("HS256 with the SPKI", hs256(&token, &rsa.spki())),
        row("HS256 with the PKCS #1 key", hs256(&token, &rsa.pkcs1())),
        row("HS256 with n", hs256(&token, modulus.as_bytes())),
        row("HS256 with the modulus", hs256(&token, &raw)),
        row("HS256 with the JWK", hs256(&token, jwk.to_string().as_bytes())),
        row("HS256 with the Ed25519 x", hs256(&range.token_of(Algorithm::EdDSA), ed["x"].as_str().expect("x").as_bytes())),
        row("HS256 with nothing", hs256(&token, b"")),
        row("HS256 without a kid", hs256(&token.clone().without_head("kid"), pem.as_bytes())),
        row("HS256 with the kid", hs256(&token, b"rsa-1")),
    ];
    range.all_refused(rows).await;
}

#[tokio::test]
async fn a_key_signs_with_its_own_algorithm_only() {
    let range = Range::with(|config| config.set("identity.jwt.main.algorithms", r#"["RS256", "PS256", "ES256", "EdDSA"]"#));
    let rsa = || range.token_of(Algorithm::RS256);
    let ec = || range.token();
    let ed = || range.token_of(Algorithm::EdDSA);
    let mut rows = vec![
        row("RS256 in the header, PS256 in the signature", rsa().algorithm(Algorithm::PS256).head("alg", "RS256").build()),
        row("PS256 in the header, RS256 in the signature", rsa().head("alg", "PS256").build()),
        row("PS256 by a key for RS256", rsa().algorithm(Algorithm::PS256).build()),
        row("RS384", rsa().algorithm(Algorithm::RS384).build()),
        row("RS512", rsa().algorithm(Algorithm::RS512).build()),
        row("PS512", rsa().algorithm(Algorithm::PS512).build()),
        row("RS256 with an EC key", ec().head("alg", "RS256").build()),
        row("RS256 with the name of an EC key", rsa().head("kid", "ec-1").build()),
        row("ES256 with an RSA key", rsa().head("alg", "ES256").build()),
        row("EdDSA with an EC key", ec().head("alg", "EdDSA").build()),
        row("ES256 with an Ed25519 key", ed().head("alg", "ES256").build()),
        row("ES256 with the name of an Ed25519 key", ec().head("kid", "ed-1").build()),
    ];
    for name in ["ES256K", "ES384", "es256", "ES256 ", "Ed25519", "HS256", "HS512", "RSA-OAEP", "dir", "A128GCM"] {
        rows.push(row(&format!("alg {name:?}"), ec().head("alg", name).build()));
    }
    for name in [json!(null), json!(256), json!(["ES256"]), json!({"ES256": true}), json!(true)] {
        rows.push(row(&format!("alg {name}"), ec().head("alg", name.clone()).build()));
    }
    rows.push(row("no alg", ec().without_head("alg").build()));
    range.all_refused(rows).await;
}

#[tokio::test]
async fn an_algorithm_that_is_not_on_the_list_is_refused_even_with_a_published_key() {
    let listed = Key::new("listed", Algorithm::ES256);
    let unlisted = [
        Key::new("ec-384", Algorithm::ES384),
        Key::new("ec-521", Algorithm::ES512),
        Key::new("ed-1", Algorithm::EdDSA),
        Key::new("rsa-256", Algorithm::RS256),
        Key::new("rsa-512", Algorithm::RS512),
        Key::new("rsa-pss", Algorithm::PS256),
    ];
    let keys = unlisted.iter().chain([&listed]).cloned().collect();
    let world = World::from(Issuer::with_keys(keys), Upstream::start(), |config| {
        config.set("identity.jwt.main.algorithms", r#"["ES256"]"#)
    });
    let token = |key| Token::new(key, claims(&world.issuer.url(), "canary-user-mallory")).build();
    for key in &unlisted {
        let answer = world.service.mint(&token(key)).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_token"), "{}", key.kid());
    }
    assert_eq!(world.upstream.count(), 0);
    world.service.mint(&token(&listed)).await.expect_minted();
}

#[tokio::test]
async fn every_configured_algorithm_works() {
    let all = [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::ES512,
        Algorithm::EdDSA,
    ];
    let names: Vec<_> = all.iter().map(|it| it.name()).collect();
    let keys: Vec<_> = all.iter().map(|it| Key::new(&format!("key-{}", it.name()), *it)).collect();
    let issuer = Issuer::with_keys(keys);
    let world =
        World::from(issuer, Upstream::start(), |config| config.set("identity.jwt.main.algorithms", &format!("{names:?}")));
    for key in &world.issuer.keys {
        let token = Token::new(key, claims(&world.issuer.url(), "canary-user-alice"));
        let answer = world.service.mint(&token.build()).await;
        assert_eq!(answer.status, 200, "{}: {answer}", key.kid());
    }
}

#[tokio::test]
async fn extensions_and_types_of_other_uses_are_refused() {
    let range = Range::start();
    let token = || range.token();
    let mut rows = vec![
        row("an unknown critical extension", token().head("crit", json!(["exp2"])).head("exp2", 1).build()),
        row("crit names b64", token().head("crit", json!(["b64"])).head("b64", false).build()),
        row("crit names b64, which is true", token().head("crit", json!(["b64"])).head("b64", true).build()),
        row("crit is empty", token().head("crit", json!([])).build()),
        row("crit is a string", token().head("crit", "exp").build()),
        row("crit is null", token().head("crit", Value::Null).build()),
    ];
    for name in [
        "dpop+jwt",
        "logout+jwt",
        "secevent+jwt",
        "token-introspection+jwt",
        "oauth-authz-req+jwt",
        "JOSE",
        "application/dpop+jwt",
        "",
    ] {
        rows.push(row(&format!("typ {name:?}"), token().head("typ", name).build()));
    }
    for name in [json!(1), json!(null), json!(["JWT"])] {
        rows.push(row(&format!("typ {name}"), token().head("typ", name.clone()).build()));
    }
    range.all_refused(rows).await;
    let accepted = ["JWT", "jwt", "at+jwt", "application/at+jwt"];
    let mut rows: Vec<_> = accepted.iter().map(|name| row(name, token().head("typ", *name).build())).collect();
    rows.push(row("no typ", token().without_head("typ").build()));
    range.all_accepted(rows).await;
}
