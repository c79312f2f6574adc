//! Who may call.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::Check;
use crate::config::raw::{RawIdentity, RawJwt};
use crate::config::{Algorithm, ClaimRule, Identity, Jwt};

impl Check<'_> {
    pub(super) fn identity(&mut self, raw: &RawIdentity) -> Identity {
        if raw.jwt.is_empty() {
            self.problem(
                "identity",
                "nobody could sign in; add an issuer, for example [identity.jwt.main] issuer = \"https://login.example.com/\" audience = [\"voice\"], or try everything on this machine with `ephemint dev`",
            );
        }
        let mut issuers = BTreeSet::new();
        let mut jwt = Vec::new();
        for (name, entry) in &raw.jwt {
            let key = format!("identity.jwt.{name}");
            if !issuers.insert(&entry.issuer) && !entry.issuer.is_empty() {
                self.problem(format!("{key}.issuer"), "another entry has the same issuer; list all audiences in one entry");
            }
            jwt.extend(self.jwt(&key, name, entry));
        }
        Identity {
            jwt,
            verified_token_lifetime: Duration::from_secs(self.range(
                "identity.verified_token_seconds",
                raw.verified_token_seconds,
                0,
                300,
            )),
            verified_tokens: self.range("identity.verified_tokens", raw.verified_tokens, 0, 1_000_000),
        }
    }

    fn jwt(&mut self, key: &str, name: &str, raw: &RawJwt) -> Option<Jwt> {
        let issuer = if raw.issuer.is_empty() {
            self.problem(format!("{key}.issuer"), "write the issuer exactly as the tokens' iss claim has it");
            None
        } else {
            self.url(&format!("{key}.issuer"), &raw.issuer)
        };
        let jwks_url = raw.jwks_url.as_ref().map(|text| self.url(&format!("{key}.jwks_url"), text));
        if raw.audience.is_empty() || raw.audience.iter().any(String::is_empty) {
            self.problem(
                format!("{key}.audience"),
                "list at least one audience; without it a token made for another service would be accepted",
            );
        }
        if raw.user_claim.is_empty() {
            self.problem(format!("{key}.user_claim"), "name the claim that identifies the user; the default is sub");
        }
        let algorithms = self.algorithms(&format!("{key}.algorithms"), &raw.algorithms);
        let required_claims = self.claim_rules(&format!("{key}.required_claims"), &raw.required_claims);
        let leeway_seconds = self.range(&format!("{key}.leeway_seconds"), raw.leeway_seconds, 0, 60);
        let cooldown =
            Duration::from_secs(self.range(&format!("{key}.jwks_cooldown_seconds"), raw.jwks_cooldown_seconds, 1, 3600));
        let max_stale =
            Duration::from_secs(self.range(&format!("{key}.jwks_max_stale_seconds"), raw.jwks_max_stale_seconds, 0, 86_400));
        issuer?;
        Some(Jwt {
            name: name.to_owned(),
            issuer: raw.issuer.clone(),
            audience: raw.audience.clone(),
            jwks_url: match jwks_url {
                Some(checked) => Some(checked?),
                None => None,
            },
            algorithms,
            token_types: raw.token_types.iter().map(|t| t.to_ascii_lowercase()).collect(),
            user_claim: raw.user_claim.clone(),
            tenant_claim: raw.tenant_claim.clone(),
            groups_claim: raw.groups_claim.clone(),
            required_scopes: raw.required_scopes.clone(),
            required_claims,
            leeway_seconds,
            cooldown,
            max_stale,
        })
    }

    fn algorithms(&mut self, key: &str, names: &[String]) -> Vec<Algorithm> {
        if names.is_empty() {
            self.problem(key, "list at least one algorithm, for example [\"RS256\"]");
        }
        let mut known = Vec::new();
        for (i, name) in names.iter().enumerate() {
            let unsafe_name = name.to_ascii_lowercase();
            match Algorithm::parse(name) {
                Some(algorithm) => known.push(algorithm),
                None if unsafe_name.starts_with("hs") || unsafe_name == "none" => {
                    self.problem(format!("{key}[{i}]"), "shared-secret (HS*) and unsigned (none) tokens are never accepted; use one of RS256 PS256 ES256 EdDSA and their larger kin");
                }
                None => self.problem(
                    format!("{key}[{i}]"),
                    "not a known algorithm; known are RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA",
                ),
            }
        }
        known
    }

    pub(super) fn claim_rules(&mut self, key: &str, raw: &BTreeMap<String, Value>) -> Vec<ClaimRule> {
        let mut rules = Vec::new();
        for (claim, value) in raw {
            let one_of = match value {
                Value::Array(values) => values.clone(),
                value => vec![value.clone()],
            };
            if one_of.is_empty() || one_of.iter().any(|v| v.is_object() || v.is_array() || v.is_null()) {
                self.problem(
                    format!("{key}.{claim}"),
                    "write the wanted value (text, number or boolean) or a list of such values",
                );
            }
            rules.push(ClaimRule { claim: claim.clone(), one_of });
        }
        rules
    }
}
