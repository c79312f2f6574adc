//! Signing keys of a fake issuer, and their JWKs.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair};
use serde_json::{Value, json};

use super::token::base64url;

/// JWS algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
}

impl Algorithm {
    pub(crate) fn name(self) -> String {
        format!("{self:?}")
    }
}

enum Material {
    Rsa(&'static RsaKeyPair),
    Ec { pair: EcdsaKeyPair, pkcs8: Vec<u8> },
    Ed(Ed25519KeyPair),
}

/// A signing key with its name.
pub(crate) struct Key {
    kid: String,
    algorithm: Algorithm,
    material: Material,
}

impl Key {
    /// A new key for `algorithm`; the RSA key is one per process, because they are slow to make.
    pub(crate) fn new(kid: &str, algorithm: Algorithm) -> Arc<Self> {
        static RSA: OnceLock<RsaKeyPair> = OnceLock::new();
        Self::build(kid, algorithm, &RSA)
    }

    /// Like [`Key::new`], but another RSA key.
    pub(crate) fn stranger(kid: &str, algorithm: Algorithm) -> Arc<Self> {
        static RSA: OnceLock<RsaKeyPair> = OnceLock::new();
        Self::build(kid, algorithm, &RSA)
    }

    fn build(kid: &str, algorithm: Algorithm, rsa: &'static OnceLock<RsaKeyPair>) -> Arc<Self> {
        let material = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 | Algorithm::ES512 => {
                let fixed = fixed_signing(algorithm);
                let pkcs8 = EcdsaKeyPair::generate_pkcs8(fixed, &SystemRandom::new()).expect("a key pair").as_ref().to_vec();
                let pair = EcdsaKeyPair::from_pkcs8(fixed, &pkcs8).expect("the same key pair");
                Material::Ec { pair, pkcs8 }
            }
            Algorithm::EdDSA => Material::Ed(Ed25519KeyPair::generate().expect("a key pair")),
            _ => Material::Rsa(rsa.get_or_init(|| RsaKeyPair::generate(KeySize::Rsa2048).expect("a key pair"))),
        };
        Arc::new(Self { kid: kid.to_owned(), algorithm, material })
    }

    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// A JWS signature, with this key's own algorithm.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.sign_as(self.algorithm, message)
    }

    /// A JWS signature with another algorithm of the same kind of key.
    pub(crate) fn sign_as(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.material {
            Material::Rsa(pair) => {
                let encoding: &'static dyn signature::RsaEncoding = match algorithm {
                    Algorithm::RS384 => &signature::RSA_PKCS1_SHA384,
                    Algorithm::RS512 => &signature::RSA_PKCS1_SHA512,
                    Algorithm::PS256 => &signature::RSA_PSS_SHA256,
                    Algorithm::PS384 => &signature::RSA_PSS_SHA384,
                    Algorithm::PS512 => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signed = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signed).expect("a signature");
                signed
            }
            Material::Ec { pair, .. } => pair.sign(&random, message).expect("a signature").as_ref().to_vec(),
            Material::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// An ECDSA signature in DER, which is not what JWS wants.
    pub(crate) fn sign_der(&self, message: &[u8]) -> Vec<u8> {
        let Material::Ec { pkcs8, .. } = &self.material else {
            panic!("only ECDSA signatures have two encodings");
        };
        EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8)
            .expect("the same key pair")
            .sign(&SystemRandom::new(), message)
            .expect("a signature")
            .as_ref()
            .to_vec()
    }

    /// The public key as a JWK with `kid`, `use` and `alg`.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.material {
            Material::Rsa(pair) => {
                let modulus = pair.public_key().modulus();
                let exponent = pair.public_key().exponent();
                json!({
                    "kty": "RSA",
                    "n": base64url(modulus.big_endian_without_leading_zero()),
                    "e": base64url(exponent.big_endian_without_leading_zero()),
                })
            }
            Material::Ec { pair, .. } => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = match self.algorithm {
                    Algorithm::ES384 => "P-384",
                    Algorithm::ES512 => "P-521",
                    _ => "P-256",
                };
                json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)})
            }
            Material::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref())})
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.algorithm.name());
        jwk
    }

    /// The public RSA key as `SubjectPublicKeyInfo`.
    pub(crate) fn spki(&self) -> Vec<u8> {
        let Material::Rsa(pair) = &self.material else {
            panic!("only asked of RSA keys");
        };
        let der: aws_lc_rs::encoding::PublicKeyX509Der<'_> = pair.public_key().as_der().expect("DER");
        der.as_ref().to_vec()
    }

    /// The public RSA key as PKCS #1 `RSAPublicKey`.
    pub(crate) fn pkcs1(&self) -> Vec<u8> {
        let Material::Rsa(pair) = &self.material else {
            panic!("only asked of RSA keys");
        };
        pair.public_key().as_ref().to_vec()
    }
}

fn fixed_signing(algorithm: Algorithm) -> &'static EcdsaSigningAlgorithm {
    match algorithm {
        Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        Algorithm::ES512 => &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
        _ => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
    }
}
