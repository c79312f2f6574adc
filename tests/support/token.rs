//! Building user tokens: good ones, and ones that are wrong in exactly one way.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::keys::{Algorithm, Key};

/// Unix seconds.
pub(crate) fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    i64::try_from(elapsed.as_secs()).expect("a time before the year 292 billion")
}

pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Good claims of `user`, valid for five minutes.
pub(crate) fn claims(issuer: &str, user: &str) -> Value {
    json!({
        "iss": issuer,
        "sub": user,
        "aud": "voice",
        "iat": now(),
        "exp": now() + 300,
    })
}

/// A token in the making.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) header: Value,
    pub(crate) claims: Value,
    key: Arc<Key>,
    algorithm: Algorithm,
}

impl Token {
    pub(crate) fn new(key: &Arc<Key>, claims: Value) -> Self {
        Self {
            header: json!({"alg": key.algorithm().name(), "typ": "JWT", "kid": key.kid()}),
            claims,
            key: Arc::clone(key),
            algorithm: key.algorithm(),
        }
    }

    pub(crate) fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims[name] = value.into();
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.claims.as_object_mut().expect("claims are an object").remove(name);
        self
    }

    pub(crate) fn head(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header[name] = value.into();
        self
    }

    pub(crate) fn without_head(mut self, name: &str) -> Self {
        self.header.as_object_mut().expect("the header is an object").remove(name);
        self
    }

    /// Signs with another algorithm of the same key, and says so in the header.
    pub(crate) fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self.head("alg", algorithm.name())
    }

    /// Signs with another key; the header stays.
    pub(crate) fn signed_by(mut self, key: &Arc<Key>) -> Self {
        self.algorithm = key.algorithm();
        self.key = Arc::clone(key);
        self
    }

    pub(crate) fn build(&self) -> String {
        self.build_from(self.header.to_string().as_bytes(), self.claims.to_string().as_bytes())
    }

    /// Correctly signed, over these exact bytes.
    pub(crate) fn build_from(&self, header: &[u8], claims: &[u8]) -> String {
        assemble(header, claims, |message| self.key.sign_as(self.algorithm, message))
    }

    /// The first two parts, as they are signed.
    pub(crate) fn message(&self) -> String {
        format!("{}.{}", base64url(self.header.to_string()), base64url(self.claims.to_string()))
    }
}

/// A token from arbitrary header bytes, payload bytes and signing function.
pub(crate) fn assemble(header: &[u8], claims: &[u8], sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", base64url(header), base64url(claims));
    let signature = base64url(sign(message.as_bytes()));
    format!("{message}.{signature}")
}
