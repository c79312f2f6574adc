//! Session cookies, opened and sealed again with the key of the tests: how a session is made to be older than a test takes.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::canary::secrets;
use super::sign_in::CLIENT_ID;
use super::token::base64url;

const VERSION: u8 = 1;
const NONCE: usize = 12;

/// The cookie with its content as changed by the test.
pub(crate) fn resealed(cookie: &str, issuer: &str, change: impl FnOnce(&mut Value)) -> String {
    let key = key();
    let bound_to = || Aad::from(format!("{VERSION}\nsession\n{issuer}\n{CLIENT_ID}").into_bytes());
    let bytes = URL_SAFE_NO_PAD.decode(cookie).expect("base64url");
    assert_eq!(bytes[0], VERSION);
    let nonce = Nonce::try_assume_unique_for_key(&bytes[1..=NONCE]).expect("a nonce");
    let mut text = bytes[1 + NONCE..].to_vec();
    let plain = key.open_in_place(nonce, bound_to(), &mut text).expect("a cookie of the service");
    let mut session: Value = serde_json::from_slice(plain).expect("a session");
    change(&mut session);
    let mut text = session.to_string().into_bytes();
    let nonce = key.seal_in_place_append_tag(bound_to(), &mut text).expect("sealed");
    base64url([&[VERSION][..], nonce.as_ref(), &text].concat())
}

fn key() -> RandomizedNonceKey {
    let mut key = [0; 32];
    let extracted = Salt::new(HKDF_SHA256, b"ephemint").extract(secrets::COOKIE_KEY.as_bytes());
    extracted.expand(&[b"cookies"], &AES_256_GCM).and_then(|expanded| expanded.fill(&mut key)).expect("a key");
    RandomizedNonceKey::new(&AES_256_GCM, &key).expect("a key")
}
