//! A user whose token is bound to a key, and the proofs they make with it.

use std::sync::Arc;

use aws_lc_rs::digest;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Algorithm, Answer, Key, MINT, Token, World, base64url, now};

/// The algorithms that are accepted when nothing is configured, as challenges list them.
pub(crate) const ALGORITHMS: &str = "ES256 EdDSA Ed25519 PS256 RS256";

/// Holds the key that their token is bound to.
pub(crate) struct Holder {
    pub(crate) key: Arc<Key>,
    pub(crate) token: String,
}

impl Holder {
    pub(crate) fn new(world: &World, name: &str) -> Self {
        Self::with(world, name, &Key::new("proof", Algorithm::ES256))
    }

    pub(crate) fn with(world: &World, name: &str, key: &Arc<Key>) -> Self {
        let token = world.issuer.token(&format!("canary-user-{name}")).claim("cnf", json!({"jkt": thumbprint(&public(key))}));
        Self { key: Arc::clone(key), token: token.build() }
    }

    /// A good proof for a mint, to be spoiled.
    pub(crate) fn proof(&self, world: &World) -> Token {
        self.proof_for(world, "POST", MINT)
    }

    /// A good proof for another request.
    pub(crate) fn proof_for(&self, world: &World, method: &str, path: &str) -> Token {
        let claims = json!({
            "jti": Uuid::now_v7().to_string(),
            "htm": method,
            "htu": format!("http://{}{path}", world.service.public()),
            "iat": now(),
            "ath": hash(&self.token),
        });
        Token::new(&self.key, claims).without_head("kid").head("typ", "dpop+jwt").head("jwk", public(&self.key))
    }

    /// Mints with this proof.
    pub(crate) async fn mint(&self, world: &World, proof: &str) -> Answer {
        world.service.call(Method::POST, MINT).proven(&self.token, proof).send().await
    }
}

/// A key as proofs hold it: what belongs to the key, nothing else.
pub(crate) fn public(key: &Key) -> Value {
    let mut jwk = key.jwk();
    for name in ["kid", "use", "alg"] {
        jwk.as_object_mut().expect("a JWK is an object").remove(name);
    }
    jwk
}

/// RFC 7638, of a key that has its required members only: `serde_json` writes them in the order of their names.
pub(crate) fn thumbprint(jwk: &Value) -> String {
    hash(&jwk.to_string())
}

/// The base64url of the SHA-256.
pub(crate) fn hash(text: &str) -> String {
    base64url(digest::digest(&digest::SHA256, text.as_bytes()))
}

/// `WWW-Authenticate` of the `DPoP` scheme.
pub(crate) fn challenge(error: &str) -> String {
    format!(r#"DPoP error="{error}", algs="{ALGORITHMS}""#)
}

/// A refusal with exactly this challenge.
#[track_caller]
pub(crate) fn expect_challenge(answer: &Answer, code: &str, challenge: &str) {
    answer.expect_problem(401, code);
    assert_eq!(answer.header("www-authenticate"), Some(challenge), "{answer}");
}
