//! Public keys of issuers, and of clients that prove to hold theirs (RFC 7517, RFC 7518 section 6, RFC 8037 section 2).

use std::sync::Arc;

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use crate::config::Algorithm;
use crate::domain::secret::Sha256;

/// Keys taken from one set; the rest is ignored.
const MAX_KEYS: usize = 100;
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// One public key, ready to verify.
pub(super) struct VerifyingKey {
    pub(super) id: Option<Box<str>>,
    /// One verifier for each accepted algorithm that fits the key's type and its own `alg`.
    verifiers: Vec<(Algorithm, ParsedPublicKey)>,
}

impl VerifyingKey {
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.verifier(algorithm).is_some()
    }

    /// Whether `signature` is this key's for `message`.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.verifier(algorithm).is_some_and(|key| key.verify_sig(message, signature).is_ok())
    }

    fn verifier(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        self.verifiers.iter().find(|(known, _)| *known == algorithm).map(|(_, key)| key)
    }
}

#[derive(Deserialize)]
struct RawSet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Members of private and of shared keys (RFC 7518, sections 6.2.2, 6.3.2, 6.4.1), which have no business where a public key belongs.
const SECRET: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Names a key by itself: the SHA-256 of its required members (RFC 7638), as `jkt` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thumbprint(pub(super) Sha256);

impl Thumbprint {
    /// From base64url. `None` for anything but a digest.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self(Sha256(bytes.try_into().ok()?)))
    }
}

/// Reads a key set. Keys of other kinds, for other uses, or too weak are left out; `None` when nothing usable is left.
pub(super) fn read_set(text: &[u8], accepted: &[Algorithm]) -> Option<Arc<[VerifyingKey]>> {
    let set: RawSet = serde_json::from_slice(text).ok()?;
    let keys: Vec<VerifyingKey> =
        set.keys.into_iter().take(MAX_KEYS).filter_map(|key| verifying_key(&public(key)?, accepted)).collect();
    (!keys.is_empty()).then(|| keys.into())
}

/// Reads a key that stands for itself. `None` unless it is a public key that may verify `algorithm`.
pub(super) fn read_key(jwk: Value, algorithm: Algorithm) -> Option<(VerifyingKey, Thumbprint)> {
    let raw = public(jwk)?;
    Some((verifying_key(&raw, &[algorithm])?, thumbprint(&raw)?))
}

fn public(jwk: Value) -> Option<RawKey> {
    if SECRET.iter().any(|member| jwk.get(member).is_some()) {
        return None;
    }
    serde_json::from_value(jwk).ok()
}

fn verifying_key(raw: &RawKey, accepted: &[Algorithm]) -> Option<VerifyingKey> {
    let for_signatures = raw.usage.as_deref().is_none_or(|usage| usage == "sig")
        && raw.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    if !for_signatures {
        return None;
    }
    let material = material(raw)?;
    let own = raw.alg.as_deref();
    let fits = |algorithm: &&Algorithm| own.is_none_or(|own| Algorithm::parse(own) == Some(**algorithm));
    let verifiers: Vec<_> = accepted
        .iter()
        .filter(fits)
        .filter_map(|&algorithm| Some((algorithm, parsed(algorithm, raw.kty.as_str(), raw.crv.as_deref(), &material)?)))
        .collect();
    (!verifiers.is_empty()).then(|| VerifyingKey { id: raw.kid.as_deref().map(Into::into), verifiers })
}

/// RFC 7638, section 3. The members are in the order of their names, and hold base64url or the name of a curve: nothing to escape.
fn thumbprint(raw: &RawKey) -> Option<Thumbprint> {
    let (crv, x) = (raw.crv.as_deref(), raw.x.as_deref());
    let text = match raw.kty.as_str() {
        "RSA" => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, raw.e.as_deref()?, raw.n.as_deref()?),
        "EC" => format!(r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#, crv?, x?, raw.y.as_deref()?),
        "OKP" => format!(r#"{{"crv":"{}","kty":"OKP","x":"{}"}}"#, crv?, x?),
        _ => return None,
    };
    Some(Thumbprint(Sha256::of(text.as_bytes())))
}

/// The key in the encoding that the crypto library reads.
fn material(raw: &RawKey) -> Option<Vec<u8>> {
    let field = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_ref()?).ok();
    match raw.kty.as_str() {
        "RSA" => rsa_public_key(&field(&raw.n)?, &field(&raw.e)?),
        "EC" => {
            let (x, y) = (field(&raw.x)?, field(&raw.y)?);
            // An uncompressed point (SEC 1, section 2.3.3); the library checks that it is on the curve.
            (x.len() == y.len()).then(|| [&[4], x.as_slice(), y.as_slice()].concat())
        }
        "OKP" => field(&raw.x),
        _ => None,
    }
}

fn parsed(algorithm: Algorithm, kty: &str, crv: Option<&str>, material: &[u8]) -> Option<ParsedPublicKey> {
    let (verification, wanted): (&'static dyn VerificationAlgorithm, _) = match algorithm {
        Algorithm::Rs256 => (&signature::RSA_PKCS1_2048_8192_SHA256, ("RSA", None)),
        Algorithm::Rs384 => (&signature::RSA_PKCS1_2048_8192_SHA384, ("RSA", None)),
        Algorithm::Rs512 => (&signature::RSA_PKCS1_2048_8192_SHA512, ("RSA", None)),
        Algorithm::Ps256 => (&signature::RSA_PSS_2048_8192_SHA256, ("RSA", None)),
        Algorithm::Ps384 => (&signature::RSA_PSS_2048_8192_SHA384, ("RSA", None)),
        Algorithm::Ps512 => (&signature::RSA_PSS_2048_8192_SHA512, ("RSA", None)),
        Algorithm::Es256 => (&signature::ECDSA_P256_SHA256_FIXED, ("EC", Some("P-256"))),
        Algorithm::Es384 => (&signature::ECDSA_P384_SHA384_FIXED, ("EC", Some("P-384"))),
        Algorithm::Es512 => (&signature::ECDSA_P521_SHA512_FIXED, ("EC", Some("P-521"))),
        Algorithm::EdDsa | Algorithm::Ed25519 => (&signature::ED25519, ("OKP", Some("Ed25519"))),
    };
    let fits = kty == wanted.0 && wanted.1.is_none_or(|curve| crv == Some(curve));
    if !fits {
        return None;
    }
    ParsedPublicKey::new(verification, material).ok()
}

/// `RSAPublicKey` (RFC 8017, appendix A.1.1) in DER. `None` for a modulus outside 2048..=8192 bits.
fn rsa_public_key(n: &[u8], e: &[u8]) -> Option<Vec<u8>> {
    let n = significant(n)?;
    let bits = n.len() * 8 - usize::try_from(n.first()?.leading_zeros()).ok()?;
    if !RSA_BITS.contains(&bits) {
        return None;
    }
    let integers = [der(0x02, &positive(n)), der(0x02, &positive(significant(e)?))].concat();
    Some(der(0x30, &integers))
}

fn significant(integer: &[u8]) -> Option<&[u8]> {
    let start = integer.iter().position(|&byte| byte != 0)?;
    integer.get(start..)
}

/// A leading zero keeps a DER integer from being read as negative.
fn positive(integer: &[u8]) -> Vec<u8> {
    let pad: &[u8] = if integer.first().is_some_and(|first| first & 0x80 != 0) { &[0] } else { &[] };
    [pad, integer].concat()
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let digits: Vec<u8> = length.into_iter().skip_while(|&byte| byte == 0).collect();
    let mut out = vec![tag];
    match digits.as_slice() {
        [short] if *short < 0x80 => out.push(*short),
        // At most eight digits, so their count fits.
        digits => {
            out.push(0x80 | u8::try_from(digits.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(digits);
        }
    }
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::{KeyPair, KeySize, PublicKeyComponents};
    use aws_lc_rs::signature::KeyPair as _;
    use base64::Engine;
    use serde_json::json;

    use super::{Algorithm, Thumbprint, URL_SAFE_NO_PAD, read_key, read_set, rsa_public_key};

    #[test]
    fn the_der_of_an_rsa_key_is_what_the_library_itself_writes() {
        for size in [KeySize::Rsa2048, KeySize::Rsa4096] {
            let pair = KeyPair::generate(size).unwrap();
            let public = pair.public_key();
            let parts: PublicKeyComponents<Vec<u8>> = public.into();
            assert_eq!(rsa_public_key(&parts.n, &parts.e).unwrap(), public.as_ref());
            let _: aws_lc_rs::encoding::PublicKeyX509Der<'_> = public.as_der().unwrap();
        }
    }

    /// RFC 7638, section 3.1; RFC 8037, appendix A.3; RFC 9449, section 6.1.
    #[test]
    fn thumbprints_are_those_of_the_standards() {
        let rsa = json!({"kty": "RSA", "alg": "RS256", "kid": "2011-04-29", "e": "AQAB", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"});
        let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        let ec = json!({"kty": "EC", "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs", "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA", "crv": "P-256"});
        for (jwk, algorithm, known) in [
            (rsa, Algorithm::Rs256, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
            (ed.clone(), Algorithm::EdDsa, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
            (ed, Algorithm::Ed25519, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
            (ec, Algorithm::Es256, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"),
        ] {
            assert_eq!(read_key(jwk, algorithm).unwrap().1, Thumbprint::parse(known).unwrap());
        }
        for bad in [
            "",
            "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4",
            "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I=",
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4l",
        ] {
            assert_eq!(Thumbprint::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn keys_for_other_uses_and_weak_keys_are_left_out() {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let weak = json!({"kty": "RSA", "n": b64(&[0xff; 128]), "e": "AQAB"});
        let secret = json!({"kty": "oct", "k": "AAAA"});
        let off_curve = json!({"kty": "EC", "crv": "P-256", "x": b64(&[1; 32]), "y": b64(&[2; 32])});
        for key in [weak, secret, off_curve] {
            assert!(
                read_set(json!({"keys": [key]}).to_string().as_bytes(), &Algorithm::NAMES.map(|(_, a)| a)).is_none(),
                "{key}"
            );
        }
        assert!(read_set(b"{\"keys\":[]}", &[Algorithm::Rs256]).is_none());
        assert!(read_set(b"<html>", &[Algorithm::Rs256]).is_none());
    }
}
