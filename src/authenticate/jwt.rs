//! JSON Web Tokens in compact form (RFC 7515, RFC 7519), checked as RFC 8725 asks.
//!
//! The signature is verified by the same library that speaks TLS; everything around it is written out here because what libraries
//! leave to their callers (missing claims, arrays where text belongs, `crit`, token types) is just what attacks use.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::Unauthenticated;
use super::claims::{Reading, names_audience};
use super::jwks::{KeyLease, KeySource, NoKey};
use super::verified::{Validity, Verified};
use crate::config::{Algorithm, ClaimPath, Jwt};
use crate::domain::ids::Pseudonymizer;
use crate::domain::json::parse_strict;

const MAX_TOKEN: usize = 8 * 1024;
const MAX_KEY_ID: usize = 256;
const MAX_TYPE: usize = 64;
const RETRY_IDENTITY: Duration = Duration::from_secs(5);

/// A token whose signature has not been looked at. Nothing of it may be believed.
pub(super) struct Unverified<'t> {
    algorithm: Algorithm,
    key_id: Option<String>,
    token_type: Option<String>,
    claims: Map<String, Value>,
    signed: &'t str,
    signature: Vec<u8>,
}

/// Claims that the issuer signed, and the key set they were verified with.
pub(super) struct SignedClaims {
    claims: Map<String, Value>,
    keys: KeyLease,
}

/// Why a signature could not be found good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unverifiable {
    NoKey(NoKey),
    BadSignature,
}

impl<'t> Unverified<'t> {
    /// Takes a token apart. Every deviation from the one canonical form is refused.
    pub(super) fn parse(token: &'t str) -> Result<Self, Unauthenticated> {
        Self::parts(token).ok_or(Unauthenticated::Invalid)
    }

    fn parts(token: &'t str) -> Option<Self> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let decode = |segment: &str| URL_SAFE_NO_PAD.decode(segment).ok().filter(|bytes| !bytes.is_empty());
        let header = object(&decode(header)?)?;
        // Extensions that must be understood (`crit`) are not, and an unencoded payload (RFC 7797) is none of ours.
        if header.contains_key("crit") || header.contains_key("b64") {
            return None;
        }
        Some(Self {
            algorithm: Algorithm::parse(header.get("alg")?.as_str()?)?,
            key_id: optional_text(&header, "kid", MAX_KEY_ID).ok()?,
            token_type: optional_text(&header, "typ", MAX_TYPE).ok()?,
            claims: object(&decode(payload)?)?,
            signed,
            signature: decode(signature)?,
        })
    }

    /// The lease shows that the signature was found good.
    pub(super) fn signed_with(self, keys: KeyLease) -> SignedClaims {
        SignedClaims { claims: self.claims, keys }
    }

    pub(super) fn unverified_issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }
}

fn object(text: &[u8]) -> Option<Map<String, Value>> {
    match parse_strict(text).ok()? {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

/// A header parameter that may be absent. `Err` when it is there and not text of a sane length.
fn optional_text(header: &Map<String, Value>, name: &str, most: usize) -> Result<Option<String>, ()> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= most => Ok(Some(text.clone())),
        Some(_) => Err(()),
    }
}

/// One configured issuer.
pub(super) struct Issuer {
    /// As the audit trail names it.
    pub(super) identity: Arc<str>,
    pub(super) settings: Jwt,
    pub(super) keys: Arc<KeySource>,
    /// Claims that profiles ask for.
    pub(super) asked_claims: Arc<[ClaimPath]>,
}

impl Issuer {
    pub(super) fn accepts_header(&self, token: &Unverified<'_>) -> Result<(), Unauthenticated> {
        let algorithm = self.settings.algorithms.contains(&token.algorithm);
        let token_type = token.token_type.as_ref().is_none_or(|t| self.settings.token_types.contains(&t.to_ascii_lowercase()));
        if algorithm && token_type { Ok(()) } else { Err(Unauthenticated::Invalid) }
    }

    /// Verifies the signature. `Ok` ties the token to the keys it was verified with.
    pub(super) fn verify(&self, token: &Unverified<'_>) -> Result<KeyLease, Unverifiable> {
        let keys = self.keys.current().map_err(Unverifiable::NoKey)?;
        let key = keys.find(token.key_id.as_deref(), token.algorithm).ok_or(Unverifiable::NoKey(NoKey::Unknown))?;
        let good = key.verifies(token.algorithm, token.signed.as_bytes(), &token.signature);
        if good { Ok(KeyLease::new(&self.keys, &keys)) } else { Err(Unverifiable::BadSignature) }
    }

    pub(super) fn refusal(&self, unverifiable: Unverifiable) -> Unauthenticated {
        match unverifiable {
            Unverifiable::BadSignature | Unverifiable::NoKey(NoKey::Unknown) => Unauthenticated::Invalid,
            Unverifiable::NoKey(NoKey::NotFetchedYet | NoKey::TooOld) => {
                Unauthenticated::Unavailable(self.settings.name.as_str().into(), RETRY_IDENTITY)
            }
        }
    }

    /// Judges the claims. The validity in time is left to the caller, who checks it on every use.
    pub(super) fn principal(&self, signed: SignedClaims, names: &Pseudonymizer) -> Result<Verified, Unauthenticated> {
        let claims = &signed.claims;
        let validity = self.validity(claims).ok_or(Unauthenticated::Invalid)?;
        if !names_audience(self.settings.audience_claim.find(claims), &self.settings.audience) {
            return Err(Unauthenticated::Invalid);
        }
        let (mapping, issuer, identity) = (&self.settings.mapping, self.settings.issuer.as_str(), &self.identity);
        let principal = Reading { mapping, identity, issuer, asked: &self.asked_claims, names }.principal(claims)?;
        Ok(Verified { principal: Arc::new(principal), validity, keys: signed.keys })
    }

    /// `exp` is required; all three are whole seconds.
    fn validity(&self, claims: &Map<String, Value>) -> Option<Validity> {
        let seconds = |name: &str| claims.get(name).map(Value::as_u64);
        let leeway = self.settings.leeway_seconds;
        let until = seconds("exp")??.saturating_add(leeway);
        let not_before = seconds("nbf").unwrap_or(Some(0))?;
        let issued_at = seconds("iat").unwrap_or(Some(0))?;
        Some(Validity { from: not_before.max(issued_at).saturating_sub(leeway), until })
    }
}
