//! Who may call.

mod api_keys;
mod introspection;
mod dpop;
mod guest;
mod jwt;
mod login;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::Check;
use crate::config::raw::{RawClaims, RawIdentity, RawMapping, RawProfile};
use crate::config::{ClaimMapping, ClaimPath, ClaimRule, Identity, Server};

impl Check<'_> {
    pub(in crate::config::check) fn identity(
        &mut self,
        raw: &RawIdentity,
        profiles: &BTreeMap<String, RawProfile>,
        server: Option<&Server>,
    ) -> Identity {
        if raw.jwt.is_empty()
            && raw.introspection.is_empty()
            && raw.api_keys.is_empty()
            && raw.login.is_none()
            && raw.guest.is_none()
        {
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
        let login = raw.login.as_ref().and_then(|raw| self.login(raw, server));
        Identity {
            jwt,
            introspection: self.introspections(&raw.introspection),
            api_keys: self.api_keys(&raw.api_keys, profiles),
            dpop: self.dpop(raw, server),
            login,
            verified_token_lifetime: Duration::from_secs(self.range(
                "identity.verified_token_seconds",
                raw.verified_token_seconds,
                0,
                300,
            )),
            verified_tokens: self.range("identity.verified_tokens", raw.verified_tokens, 0, 1_000_000),
            guest: raw.guest.as_ref().and_then(|guest| self.guest(guest, profiles)),
        }
    }

    pub(in crate::config::check) fn claim_rules(&mut self, key: &str, raw: &BTreeMap<String, Value>) -> Vec<ClaimRule> {
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
            rules.extend(self.claim_path(&format!("{key}.{claim}"), claim).map(|claim| ClaimRule { claim, one_of }));
        }
        rules
    }

    fn mapping(&mut self, key: &str, raw: RawMapping<'_>) -> Option<ClaimMapping> {
        let user = if raw.user_claim.is_empty() {
            self.problem(format!("{key}.user_claim"), "name the claim that identifies the user; the default is sub");
            None
        } else {
            self.claim_path(&format!("{key}.user_claim"), raw.user_claim)
        };
        let tenant = raw.tenant_claim.map(|claim| self.claim_path(&format!("{key}.tenant_claim"), claim));
        let groups = self.claim_paths(&format!("{key}.groups_claim"), raw.groups_claim);
        let required_claims = self.claim_rules(&format!("{key}.required_claims"), raw.required_claims);
        Some(ClaimMapping {
            user: user?,
            tenant: tenant.map_or(Some(None), |checked| checked.map(Some))?,
            groups: groups?,
            required_scopes: raw.required_scopes.to_vec(),
            required_claims,
        })
    }

    fn claim_paths(&mut self, key: &str, raw: &RawClaims) -> Option<Vec<ClaimPath>> {
        match raw {
            RawClaims::One(name) => self.claim_path(key, name).map(|path| vec![path]),
            RawClaims::Several(names) => {
                let paths: Vec<_> = (0..).zip(names).map(|(i, name)| self.claim_path(&format!("{key}[{i}]"), name)).collect();
                paths.into_iter().collect()
            }
        }
    }

    fn claim_path(&mut self, key: &str, text: &str) -> Option<ClaimPath> {
        let path = ClaimPath::parse(text);
        if path.is_none() {
            self.problem(key, "write a claim's name, or the JSON pointer of a nested one, for example \"/realm_access/roles\"");
        }
        path
    }
}
