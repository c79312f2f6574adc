//! From claims to a [`Principal`], whoever vouches for them: a signed token, an issuer that was asked, a sign-in.

use std::sync::{Arc, Once};

use serde_json::{Map, Value};

use super::jwk::Thumbprint;
use super::{Principal, Unauthenticated};
use crate::config::{ClaimMapping, ClaimPath};
use crate::domain::ids::{Pseudonymizer, is_name};

/// How claims are read, and which of them profiles ask for.
pub(super) struct Reading<'a> {
    pub(super) mapping: &'a ClaimMapping,
    /// As the audit trail names it.
    pub(super) identity: &'a Arc<str>,
    /// Who vouches for the claims: users of two issuers are never the same.
    pub(super) issuer: &'a str,
    /// Claims that profiles ask for; no others are kept.
    pub(super) asked: &'a [ClaimPath],
    pub(super) names: &'a Pseudonymizer,
}

impl Reading<'_> {
    /// Judges claims that are known to be genuine. Their validity in time is the caller's to check.
    pub(super) fn principal(&self, claims: &Map<String, Value>) -> Result<Principal, Unauthenticated> {
        let mapping = self.mapping;
        let required = mapping.required_claims.iter().all(|rule| rule.holds(rule.claim.find(claims)));
        let subject = mapping.user.find(claims).and_then(name).filter(|_| required).ok_or(Unauthenticated::Invalid)?;
        let tenant = match &mapping.tenant {
            Some(claim) => claim.find(claims).and_then(name).ok_or(Unauthenticated::Invalid)?,
            None => "",
        };
        if !has_scopes(claims, &mapping.required_scopes) {
            return Err(Unauthenticated::InsufficientScope);
        }
        let bound_to = binding(claims).map_err(|UnknownBinding| Unauthenticated::Invalid)?;
        let asked = self.asked.iter().filter_map(|claim| Some((claim.clone(), claim.find(claims)?.clone())));
        Ok(Principal {
            identity: self.identity.clone(),
            user: self.names.pseudonym(tenant, self.issuer, subject),
            user_name: self.names.kept_name(subject),
            tenant: tenant.into(),
            groups: self.groups(claims),
            claims: asked.collect(),
            profiles: None,
            bound_to,
            visit: None,
        })
    }

    /// Groups that the issuer keeps elsewhere are not the user's here, so they open no profile.
    fn groups(&self, claims: &Map<String, Value>) -> Vec<String> {
        static SAID: Once = Once::new();
        if self.mapping.groups.iter().any(|claim| is_elsewhere(claim, claims)) {
            SAID.call_once(|| {
                tracing::warn!(identity = &**self.identity, "a token leaves out its user's groups because there are too many, so they open no profile; let the issuer filter them or use roles");
            });
        }
        self.mapping.groups.iter().flat_map(|claim| texts(claim.find(claims))).collect()
    }
}

/// Whether the issuer says that it left out a claim: a distributed claim (OpenID Connect Core 1.0, section 5.6.2), as Entra ID does it
/// with more than 200 groups, or Entra ID's `hasgroups`.
fn is_elsewhere(claim: &ClaimPath, claims: &Map<String, Value>) -> bool {
    let distributed = || claims.get("_claim_names").and_then(Value::as_object).and_then(|names| claim.find(names)).is_some();
    claim.find(claims).is_none() && (distributed() || claims.get("hasgroups") == Some(&Value::Bool(true)))
}

/// A token is bound in a way that cannot be checked here.
struct UnknownBinding;

/// The key that `cnf` binds a token to (RFC 7800; RFC 9449, section 6). Any other confirmation, alone or beside it, is one that would
/// have to be checked and is not: a certificate (RFC 8705), say.
fn binding(claims: &Map<String, Value>) -> Result<Option<Thumbprint>, UnknownBinding> {
    let Some(confirmation) = claims.get("cnf") else { return Ok(None) };
    let members = confirmation.as_object().filter(|members| members.len() == 1).ok_or(UnknownBinding)?;
    let thumbprint = members.get("jkt").and_then(|jkt| Thumbprint::parse(jkt.as_str()?));
    thumbprint.map(Some).ok_or(UnknownBinding)
}

/// `scope` is a list separated by spaces (RFC 8693, section 4.2), `scp` the same or an array.
fn has_scopes(claims: &Map<String, Value>, required: &[String]) -> bool {
    let granted: Vec<String> = ["scope", "scp"]
        .into_iter()
        .flat_map(|claim| texts(claims.get(claim)))
        .flat_map(|text| text.split(' ').map(String::from).collect::<Vec<_>>())
        .collect();
    required.iter().all(|scope| granted.contains(scope))
}

fn name(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| is_name(text))
}

fn texts(claim: Option<&Value>) -> Vec<String> {
    match claim {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(String::from).collect(),
        _ => Vec::new(),
    }
}

/// Whether `aud` (RFC 7519, section 4.1.3), or the claim that stands in for it, names one of the accepted audiences. A list holds
/// text only.
pub(super) fn names_audience(audience: Option<&Value>, accepted: &[String]) -> bool {
    let ours = |value: &Value| value.as_str().is_some_and(|aud| accepted.iter().any(|ours| ours == aud));
    match audience {
        Some(Value::Array(several)) => several.iter().all(Value::is_string) && several.iter().any(ours),
        Some(single) => ours(single),
        None => false,
    }
}
