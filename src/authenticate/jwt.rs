//! JSON Web Tokens in compact form (RFC 7515, RFC 7519), checked as RFC 8725 asks.
//!
//! The signature is verified by the same library that speaks TLS; everything around it is written out here because what libraries
//! leave to their callers (missing claims, arrays where text belongs, `crit`, token types) is just what attacks use.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::Unauthenticated;
use super::claims::{Reading, names_audience};
use super::jwks::{KeyLease, KeySource, NoKey};
use super::jws::Jws;
use super::verified::{Validity, Verified};
use crate::config::{Algorithm, ClaimPath, Jwt};
use crate::domain::ids::Pseudonymizer;

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

impl SignedClaims {
    pub(super) fn all(&self) -> &Map<String, Value> {
        &self.claims
    }
}

/// Why a signature could not be found good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unverifiable {
    NoKey(NoKey),
    BadSignature,
}

impl<'t> Unverified<'t> {
    /// Takes a token apart. Every deviation from the one canonical form is refused.
    pub(super) fn parse(token: &'t str) -> Result<Self, Unauthenticated> {
        Self::parts(token).ok_or(Unauthenticated::Invalid)
    }

    fn parts(token: &'t str) -> Option<Self> {
        let Jws { algorithm, header, payload, signed, signature } = Jws::parse(token, MAX_TOKEN)?;
        Some(Self {
            algorithm,
            key_id: optional_text(&header, "kid", MAX_KEY_ID).ok()?,
            token_type: optional_text(&header, "typ", MAX_TYPE).ok()?,
            claims: payload,
            signed,
            signature,
        })
    }

    pub(super) fn unverified_issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
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
    fn accepts_header(&self, token: &Unverified<'_>) -> Result<(), Unauthenticated> {
        let algorithm = self.settings.algorithms.contains(&token.algorithm);
        let token_type = token.token_type.as_ref().is_none_or(|t| self.settings.token_types.contains(&t.to_ascii_lowercase()));
        if algorithm && token_type { Ok(()) } else { Err(Unauthenticated::Invalid) }
    }

    /// Verifies the signature. `Ok` ties the token to the keys it was verified with.
    fn verify(&self, token: &Unverified<'_>) -> Result<KeyLease, Unverifiable> {
        let keys = self.keys.current().map_err(Unverifiable::NoKey)?;
        let key = keys.find(token.key_id.as_deref(), token.algorithm).ok_or(Unverifiable::NoKey(NoKey::Unknown))?;
        let good = key.verifies(token.algorithm, token.signed.as_bytes(), &token.signature);
        if good { Ok(KeyLease::new(&self.keys, &keys)) } else { Err(Unverifiable::BadSignature) }
    }

    /// Verifies header and signature, if need be with keys that are fetched for it.
    pub(super) async fn signed(&self, token: Unverified<'_>) -> Result<SignedClaims, Unauthenticated> {
        self.accepts_header(&token)?;
        let verified = match self.verify(&token) {
            Err(Unverifiable::NoKey(NoKey::Unknown)) if self.keys.refreshed().await => self.verify(&token),
            Err(Unverifiable::NoKey(NoKey::NotFetchedYet)) => {
                self.keys.first_fetch().await;
                self.verify(&token)
            }
            outcome => outcome,
        };
        let keys = verified.map_err(|unverifiable| self.refusal(unverifiable))?;
        Ok(SignedClaims { claims: token.claims, keys })
    }

    fn refusal(&self, unverifiable: Unverifiable) -> Unauthenticated {
        match unverifiable {
            Unverifiable::BadSignature | Unverifiable::NoKey(NoKey::Unknown) => Unauthenticated::Invalid,
            Unverifiable::NoKey(NoKey::NotFetchedYet | NoKey::TooOld) => {
                Unauthenticated::Unavailable(self.identity.clone(), RETRY_IDENTITY)
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
        if self.settings.require_dpop && principal.bound_to.is_none() {
            return Err(Unauthenticated::Unbound);
        }
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
