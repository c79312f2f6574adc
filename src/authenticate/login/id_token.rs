//! ID tokens (OpenID Connect Core 1.0, section 3.1.3.7), verified as every other token of an issuer is.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::provider::Provider;
use crate::authenticate::Unauthenticated;
use crate::authenticate::jwt::Unverified;
use crate::config::ClaimPath;
use crate::domain::clock::SharedClock;
use crate::domain::ids::Pseudonymizer;
use crate::domain::ids::is_name;
use crate::domain::secret::Credential;

/// Who an ID token says has signed in.
pub(super) struct Identified {
    pub(super) claims: Map<String, Value>,
    pub(super) name: Option<Box<str>>,
}

/// Verifies ID tokens and keeps of them what is needed.
pub(super) struct IdTokens {
    pub(super) provider: Arc<Provider>,
    pub(super) names: Pseudonymizer,
    pub(super) clock: SharedClock,
    /// The claims that the configuration reads.
    pub(super) kept: Vec<ClaimPath>,
}

/// What the `nonce` of an ID token has to say.
#[derive(Clone, Copy)]
pub(super) enum Nonce<'a> {
    /// Just this: the token answers this sign-in.
    Is(&'a str),
    /// This, or nothing: a refreshed token need not have one (section 12.2).
    IsNotOther(&'a str),
}

impl IdTokens {
    pub(super) async fn verify(&self, token: &Credential, nonce: Nonce<'_>) -> Result<Identified, Unauthenticated> {
        let issuer = &self.provider.issuer;
        let unverified = Unverified::parse(token.reveal())?;
        if unverified.unverified_issuer() != Some(&issuer.settings.issuer) {
            return Err(Unauthenticated::Invalid);
        }
        let signed = issuer.signed(unverified).await?;
        let claims = signed.all();
        if !(nonce.holds(claims) && is_for(claims, &self.provider.client_id) && claims.contains_key("iat")) {
            return Err(Unauthenticated::Invalid);
        }
        let identified = self.keep(claims).ok_or(Unauthenticated::Invalid)?;
        // Audience, times, required claims, and whether there is a user at all.
        let verified = issuer.principal(signed, &self.names).map_err(|_| Unauthenticated::Invalid)?;
        verified.validity.check(self.clock.unix()).map_err(|_| Unauthenticated::Invalid)?;
        Ok(identified)
    }

    fn keep(&self, claims: &Map<String, Value>) -> Option<Identified> {
        claims.get("sub").and_then(Value::as_str).filter(|subject| is_name(subject))?;
        let mut kept = Map::new();
        self.kept.iter().for_each(|path| path.copy(claims, &mut kept));
        let name = claims.get("name").and_then(Value::as_str).filter(|name| is_name(name));
        Some(Identified { claims: kept, name: name.map(Box::from) })
    }
}

impl Nonce<'_> {
    fn holds(self, claims: &Map<String, Value>) -> bool {
        match (self, claims.get("nonce")) {
            (Self::Is(wanted) | Self::IsNotOther(wanted), Some(nonce)) => nonce == wanted,
            (Self::Is(_), None) => false,
            (Self::IsNotOther(_), None) => true,
        }
    }
}

/// Where there are several audiences, the token says to which of them it was issued. (That the client is among them is checked with
/// the other claims.)
fn is_for(claims: &Map<String, Value>, client_id: &str) -> bool {
    let several = claims.get("aud").and_then(Value::as_array).is_some_and(|audiences| audiences.len() > 1);
    match claims.get("azp") {
        Some(party) => party == client_id,
        None => !several,
    }
}
