//! Proofs that are wrong in exactly one way.

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use crate::holder::{Holder, challenge, expect_challenge, hash, public, thumbprint};
use crate::range::{Row, row};
use crate::support::{Algorithm, Key, MINT, Token, World, assemble, base64url, now};

/// Every row must be refused, and a good proof must be taken before and after.
struct Range {
    world: World,
    holder: Holder,
}

impl Range {
    fn start() -> Self {
        let world = World::start();
        let holder = Holder::new(&world, "mallory");
        Self { world, holder }
    }

    fn proof(&self) -> Token {
        self.holder.proof(&self.world)
    }

    async fn all_refused(&self, rows: Vec<Row>) {
        let mut wrong = Vec::new();
        self.holder.mint(&self.world, &self.proof().build()).await.expect_minted();
        for (name, proof) in rows {
            let answer = self.holder.mint(&self.world, &proof).await;
            let found = (answer.status, answer.code(), answer.header("www-authenticate").map(str::to_owned));
            if found == (401, "invalid_token".into(), Some(challenge("invalid_dpop_proof"))) {
                answer.expect_problem(401, "invalid_token");
            } else {
                wrong.push(format!("{name}: {found:?}"));
            }
        }
        assert!(wrong.is_empty(), "proofs got through or were misjudged: {wrong:#?}");
        assert_eq!(self.world.upstream.count(), 1, "a refused proof reached the upstream");
        self.holder.mint(&self.world, &self.proof().build()).await.expect_minted();
    }
}

#[tokio::test]
async fn the_signature_is_asymmetric_and_made_with_the_key_of_the_token() {
    let range = Range::start();
    let (good, stranger) = (range.proof(), Key::stranger("other", Algorithm::ES256));
    let hs256 = |jwk: Value, secret: &[u8]| {
        let proof = range.proof().head("alg", "HS256").head("jwk", jwk);
        assemble(proof.header.to_string().as_bytes(), proof.claims.to_string().as_bytes(), |message| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
        })
    };
    let own = public(&range.holder.key);
    let der = assemble(good.header.to_string().as_bytes(), good.claims.to_string().as_bytes(), |message| {
        range.holder.key.sign_der(message)
    });
    let mut rows = vec![
        row("no signature", format!("{}.", good.message())),
        row("none, without a signature", format!("{}.", range.proof().head("alg", "none").message())),
        row("a shared key", hs256(json!({"kty": "oct", "k": base64url([7; 32])}), &[7; 32])),
        row("the public key as a shared one", hs256(own.clone(), own["x"].as_str().expect("x").as_bytes())),
        row("signed by another key", good.clone().signed_by(&stranger).build()),
        row("another key", good.clone().signed_by(&stranger).head("jwk", public(&stranger)).build()),
        row("the issuer's key", good.clone().signed_by(&range.world.issuer.keys[0]).build()),
        row("a DER signature", der),
        row("another payload", {
            let (text, other) = (good.build(), range.proof().message());
            format!("{other}.{}", text.rsplit_once('.').expect("a signature").1)
        }),
    ];
    for alg in [json!("none"), json!("NONE"), json!("es256"), json!("ES384"), json!("RS256"), json!(["ES256"]), json!(null)] {
        rows.push(row(&format!("alg {alg}"), range.proof().head("alg", alg.clone()).build()));
    }
    rows.push(row("no alg", range.proof().without_head("alg").build()));
    range.all_refused(rows).await;
}

#[tokio::test]
async fn an_algorithm_that_is_not_accepted_is_refused_even_with_the_key_of_the_token() {
    let world = World::start();
    for algorithm in [Algorithm::ES384, Algorithm::ES512, Algorithm::RS384, Algorithm::PS512] {
        let holder = Holder::with(&world, "mallory", &Key::new("proof", algorithm));
        let answer = holder.mint(&world, &holder.proof(&world).build()).await;
        expect_challenge(&answer, "invalid_token", &challenge("invalid_dpop_proof"));
    }
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn the_header_says_what_it_is_and_holds_the_public_key_alone() {
    let range = Range::start();
    let own = public(&range.holder.key);
    let with = |name: &str, value: Value| {
        let mut jwk = own.clone();
        jwk[name] = value;
        range.proof().head("jwk", jwk).build()
    };
    let without = |name: &str| {
        let mut jwk = own.clone();
        jwk.as_object_mut().expect("an object").remove(name);
        range.proof().head("jwk", jwk).build()
    };
    let mut rows = vec![
        row("no typ", range.proof().without_head("typ").build()),
        row("no jwk", range.proof().without_head("jwk").build()),
        row("kid in place of jwk", range.proof().without_head("jwk").head("kid", thumbprint(&own)).build()),
        row("x5c in place of jwk", range.proof().without_head("jwk").head("x5c", json!(["MIIB"])).build()),
        row("a critical extension", range.proof().head("crit", json!(["exp2"])).head("exp2", 1).build()),
        row("crit is empty", range.proof().head("crit", json!([])).build()),
        row("an unencoded payload", range.proof().head("b64", false).build()),
        row("jwk is text", range.proof().head("jwk", own.to_string()).build()),
        row("jwk is a set", range.proof().head("jwk", json!({"keys": [own]})).build()),
        row("jwk is a list", range.proof().head("jwk", json!([own])).build()),
        row("jwk is null", range.proof().head("jwk", Value::Null).build()),
        row("a private exponent", with("d", json!(base64url([1; 32])))),
        row("a private exponent that is null", with("d", Value::Null)),
        row("a prime", with("p", json!("AQ"))),
        row("a shared key beside", with("k", json!("AQ"))),
        row("a key for encryption", with("use", json!("enc"))),
        row("a key for deriving", with("key_ops", json!(["deriveBits"]))),
        row("a key for another algorithm", with("alg", json!("ES384"))),
        row("another curve", with("crv", json!("P-384"))),
        row("a point beside the curve", with("x", json!(base64url([2; 32])))),
        row("a number as coordinate", with("y", json!(7))),
        row("without crv", without("crv")),
        row("without y", without("y")),
        row("without kty", without("kty")),
    ];
    for typ in ["JWT", "at+jwt", "DPoP+JWT", "application/dpop+jwt", "dpop+jwt ", "dpop", ""] {
        rows.push(row(&format!("typ {typ:?}"), range.proof().head("typ", typ).build()));
    }
    rows.push(row("typ is a list", range.proof().head("typ", json!(["dpop+jwt"])).build()));
    for name in ["x5c", "x5u", "jku", "x5t", "x5t#S256"] {
        rows.push(row(&format!("{name} beside jwk"), range.proof().head(name, "https://keys.example.com/").build()));
    }
    range.all_refused(rows).await;
}

#[tokio::test]
async fn every_claim_is_there_and_says_what_it_must() {
    let range = Range::start();
    let mut rows = Vec::new();
    for name in ["jti", "htm", "htu", "iat", "ath"] {
        rows.push(row(&format!("no {name}"), range.proof().without(name).build()));
        for value in [json!(null), json!(7.5), json!([range.proof().claims[name].clone()]), json!({}), json!(true), json!("")] {
            rows.push(row(&format!("{name} {value}"), range.proof().claim(name, value.clone()).build()));
        }
    }
    let token = range.holder.token.as_str();
    let ath = hash(token);
    for (name, value) in [
        ("jti", json!("x".repeat(257))),
        ("jti", json!(7)),
        ("htm", json!("GET")),
        ("htm", json!("post")),
        ("htm", json!("POST ")),
        ("iat", json!(now() - 63)),
        ("iat", json!(now() - 86_400)),
        ("iat", json!(now() + 60)),
        ("iat", json!(now() + 86_400)),
        ("iat", json!(-1)),
        ("iat", json!(now().to_string())),
        ("iat", json!(f64::from(u32::try_from(now()).expect("a time before 2106")) + 0.5)),
        ("iat", json!(u64::MAX)),
        ("ath", json!(hash(&range.world.bearer("mallory")))),
        ("ath", json!(hash(&format!("DPoP {token}")))),
        ("ath", json!(hash(&format!("{token} ")))),
        ("ath", json!(hash(""))),
        ("ath", json!(format!("{ath}="))),
        ("ath", json!(ath.to_lowercase())),
        ("ath", json!(token)),
        ("nonce", json!(7)),
        ("nonce", json!(null)),
    ] {
        rows.push(row(&format!("{name} {value}"), range.proof().claim(name, value.clone()).build()));
    }
    range.all_refused(rows).await;
}

#[tokio::test]
async fn the_form_is_one_compact_jwt() {
    let range = Range::start();
    let good = range.proof();
    let text = good.build();
    let parts: Vec<_> = text.split('.').collect();
    let (h, p, s) = (parts[0], parts[1], parts[2]);
    let twice = |claims: String| good.build_from(good.header.to_string().as_bytes(), claims.as_bytes());
    let claims = good.claims.to_string();
    let rows = vec![
        row("nothing", ""),
        row("words", "proof"),
        row("two segments", format!("{h}.{p}")),
        row("four segments", format!("{text}.{s}")),
        row("padding", format!("{text}=")),
        row("JSON serialisation", json!({"protected": h, "payload": p, "signature": s}).to_string()),
        row("two in one header", format!("{}, {}", range.proof().build(), range.proof().build())),
        row("a scheme in front", format!("DPoP {}", range.proof().build())),
        row("the token", range.holder.token.clone()),
        row("htm twice", twice(claims.replacen('{', r#"{"htm":"GET","#, 1))),
        row("iat twice", twice(claims.replacen('{', &format!(r#"{{"iat":{},"#, now()), 1))),
        row("a list of claims", twice(format!("[{claims}]"))),
        row("too long", range.proof().claim("pad", "x".repeat(4000)).build()),
        row("letters beyond ASCII", format!("{text}\u{e9}")),
    ];
    range.all_refused(rows).await;
}

#[tokio::test]
async fn a_proof_made_for_another_token_is_refused() {
    let world = World::start();
    let (alice, mallory) = (Holder::new(&world, "alice"), Holder::new(&world, "mallory"));
    // Mallory has got hold of alice's token and of a proof of hers, but not of her key.
    let hers = alice.proof(&world).build();
    let his = mallory.proof(&world).claim("ath", hash(&alice.token)).build();
    let same_key = Holder { key: alice.key.clone(), token: Holder::with(&world, "alice2", &alice.key).token };
    for (holder, proof) in [(&alice, &his), (&mallory, &hers), (&same_key, &hers)] {
        let answer = holder.mint(&world, proof).await;
        expect_challenge(&answer, "invalid_token", &challenge("invalid_dpop_proof"));
    }
    assert_eq!(world.upstream.count(), 0);
    alice.mint(&world, &hers).await.expect_minted();
}

#[tokio::test]
async fn a_proof_is_for_one_method_and_one_url() {
    let world = World::start();
    let holder = Holder::new(&world, "mallory");
    let here = world.service.public().to_string();
    let mut wrong = Vec::new();
    for htu in [
        format!("http://{here}/v1/realtime/translations/client_secrets"),
        format!("http://{here}/v1/sessions"),
        format!("http://{here}{MINT}/"),
        format!("http://{here}/{MINT}"),
        format!("http://{here}/V1/realtime/client_secrets"),
        format!("http://{here}/v1/realtime%2Fclient_secrets"),
        format!("http://{here}"),
        format!("http://evil@{here}{MINT}"),
        format!("http://{here}@evil.example{MINT}"),
        format!("http://evil.example{MINT}"),
        format!("http://localhost:{}{MINT}", world.service.public().port()),
        format!("http://127.0.0.1{MINT}"),
        format!("http:{here}{MINT}"),
        format!("http:\\\\{here}{MINT}"),
        format!("ftp://{here}{MINT}"),
        format!(" http://{here}{MINT}"),
        format!("http://{here}\t{MINT}"),
        format!("//{here}{MINT}"),
        format!("{here}{MINT}"),
        MINT.to_owned(),
    ] {
        let answer = holder.mint(&world, &holder.proof(&world).claim("htu", htu.as_str()).build()).await;
        if answer.header("www-authenticate") != Some(&challenge("invalid_dpop_proof")) {
            wrong.push(format!("{htu}: {}", answer.status));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(world.upstream.count(), 0);
}
