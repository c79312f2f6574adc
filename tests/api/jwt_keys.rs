//! Which key may verify a token: the issuer's own, by its name, and none that the token brings along.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::range::{Range, Row, row};
use crate::support::{Algorithm, Key, Reply, Responder, Token, base64url, claims};

/// A JWK of 1024 bits, and a token that its private key signed. The claims name `https://weak.example/` and are good until 2100.
const WEAK_MODULUS: &str = "vGz-kA6EiwssqAPFz8m_uMuKYEgHEcQYtYXCX57snLf27pEXflDNTSR_S_cQXJujPDra45UwdLmbQas9caZ9KNyFwRanFWCfsg2BGarkvxm0ZODsUxU1PHxU863bQRghXtxV85orpN3jLGgGHF4rWts5kL6OY0cYf-g12UhaW-s";
const WEAK_TOKEN: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6IndlYWstMSJ9.eyJpc3MiOiJodHRwczovL3dlYWsuZXhhbXBsZS8iLCJzdWIiOiJjYW5hcnktdXNlci13ZWFrIiwiYXVkIjoidm9pY2UiLCJpYXQiOjE3MDAwMDAwMDAsImV4cCI6NDEwMjQ0NDgwMH0.fVyRq0cqC4f1mGQg4rAq5glc2lXnoHUmmMSaCZNYOL-Pr8RTUsrILfp3QjmpDpmy7f3e3GCsTLP35sjbs0wDJvOYNGLrwDC-hktuHNObfKgTvMce7SlEulH6BXg-yK38dUyDc9z7zQzncq4_UPPG7RuZ8UJpdcdxMTBOUdBopBY";

#[tokio::test]
async fn a_token_is_signed_by_the_key_that_it_names() {
    let range = Range::start();
    let token = || range.token();
    let stranger = Key::stranger("ec-1", Algorithm::ES256);
    let theirs = Token::new(&range.other.keys[0], claims(&range.world.issuer.url(), "canary-user-mallory"));
    let shared_name = Token::new(&range.other.keys[1], claims(&range.world.issuer.url(), "canary-user-mallory"));
    let ours_for_them = token().claim("iss", range.other.url());
    let mut rows: Vec<Row> = vec![
        row("a stranger's key under a known name", token().signed_by(&stranger).build()),
        row(
            "a stranger's RSA key",
            range.token_of(Algorithm::RS256).signed_by(&Key::stranger("rsa-1", Algorithm::RS256)).build(),
        ),
        row("another key of the same issuer", token().head("kid", "ec-2").build()),
        row("no kid where two keys fit", token().without_head("kid").build()),
        row("the other issuer's key with our iss", theirs.build()),
        row("the other issuer's key with a name that both use", shared_name.build()),
        row("our key with the other issuer's iss", ours_for_them.build()),
        row("our key with the other issuer's iss and kid", ours_for_them.head("kid", "other-1").build()),
    ];
    for kid in
        ["", "nope", "EC-1", "ec-1 ", "ec-1\0", "../../../dev/null", "/dev/null", "' OR 1=1 --", "http://127.0.0.1/k", "%65c-1"]
    {
        rows.push(row(&format!("kid {kid:?}"), token().head("kid", kid).build()));
    }
    for kid in [json!(null), json!(1), json!(["ec-1"]), json!({"ec-1": 1})] {
        rows.push(row(&format!("kid {kid}"), token().head("kid", kid.clone()).build()));
    }
    rows.push(row("a very long kid", token().head("kid", "k".repeat(5000)).build()));
    range.all_refused(rows).await;
}

#[tokio::test]
async fn keys_are_never_taken_from_the_token() {
    let range = Range::start();
    let stranger = Key::stranger("mallory-1", Algorithm::ES256);
    let jwk = stranger.jwk();
    let bait = jwk.clone();
    let trap = Responder::start(move |_| Reply::json(200, &json!({"keys": [bait]})));
    let url = format!("http://{}/jwks.json", trap.address());
    let forged = || range.token().signed_by(&stranger);
    let mut rows = vec![
        row("jwk", forged().head("jwk", jwk.clone()).build()),
        row("jwk without a kid", forged().head("jwk", jwk.clone()).without_head("kid").build()),
        row("jwk with its kid", forged().head("jwk", jwk).head("kid", "mallory-1").build()),
        row("x5c", forged().head("x5c", json!([STANDARD.encode(b"certificate")])).build()),
        row("kid is a URL", forged().head("kid", url.as_str()).build()),
    ];
    for name in ["jku", "x5u"] {
        rows.push(row(name, forged().head(name, url.as_str()).build()));
        rows.push(row(&format!("{name} with its kid"), forged().head(name, url.as_str()).head("kid", "mallory-1").build()));
    }
    rows.push(row("iss points at the trap", forged().claim("iss", format!("http://{}/", trap.address())).build()));
    range.all_refused(rows).await;
    assert_eq!(trap.connections(), 0, "the service fetched what the token pointed at");
}

#[tokio::test]
async fn keys_that_are_not_for_verifying_signatures_are_not_used() {
    let change = |name: &str, change: &dyn Fn(&mut Value)| {
        let key = Key::new(name, Algorithm::ES256);
        let mut jwk = key.jwk();
        change(&mut jwk);
        (key, jwk)
    };
    let bad = [
        change("use-enc", &|jwk| jwk["use"] = json!("enc")),
        change("ops-sign", &|jwk| jwk["key_ops"] = json!(["sign"])),
        change("ops-encrypt", &|jwk| {
            jwk["key_ops"] = json!(["encrypt", "wrapKey"]);
        }),
        change("alg-differs", &|jwk| jwk["alg"] = json!("ES384")),
        change("alg-of-another-kind", &|jwk| jwk["alg"] = json!("RS256")),
        change("crv-differs", &|jwk| jwk["crv"] = json!("P-384")),
        change("kty-differs", &|jwk| jwk["kty"] = json!("RSA")),
        change("kty-oct", &|jwk| {
            *jwk = json!({"kty": "oct", "kid": "kty-oct", "k": jwk["x"]});
        }),
        change("not-on-the-curve", &|jwk| {
            jwk["y"] = json!(base64url([7_u8; 32]));
        }),
    ];
    let good = [
        change("bare", &|jwk| {
            let fields = jwk.as_object_mut().expect("a JWK");
            fields.remove("alg");
            fields.remove("use");
        }),
        change("ops-verify", &|jwk| jwk["key_ops"] = json!(["verify"])),
    ];
    let rsa = Key::new("rsa-1", Algorithm::RS256);
    let mut jwks =
        vec![json!({"kty": "RSA", "kid": "weak-1", "use": "sig", "alg": "RS256", "n": WEAK_MODULUS, "e": "AQAB"}), rsa.jwk()];
    jwks.extend(bad.iter().chain(&good).map(|(_, jwk)| jwk.clone()));
    let range = Range::start();
    let keys = crate::support::Issuer::down();
    keys.publish_jwks(&jwks);
    keys.up();
    let upstream = crate::support::Upstream::start();
    let config = crate::support::Config::new(&keys, &upstream)
        .issuer("main", "https://weak.example/")
        .set("identity.jwt.main.jwks_url", &format!("{:?}", keys.jwks_url()));
    let service = crate::support::Service::start(&config);
    let world = crate::support::World { service, issuer: keys, upstream };
    let spoiled = Range { world, ..range };

    let token = |key: &std::sync::Arc<Key>| Token::new(key, claims("https://weak.example/", "canary-user-weak")).build();
    let mut wrong = Vec::new();
    let refused = bad.iter().map(|(key, _)| row(key.kid(), token(key)));
    for (name, token) in refused.chain([row("1024 bits", WEAK_TOKEN)]) {
        let answer = spoiled.world.service.mint(&token).await;
        if (answer.status, answer.code().as_str()) != (401, "invalid_token") {
            wrong.push(format!("{name}: {} {}", answer.status, answer.code()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(spoiled.world.upstream.count(), 0);
    let accepted = good.iter().map(|(key, _)| row(key.kid(), token(key)));
    spoiled.all_accepted(accepted.chain([row("2048 bits", token(&rsa))]).collect()).await;
}
