//! Issuers of JSON Web Tokens.

use std::time::Duration;

use crate::config::check::Check;
use crate::config::raw::RawJwt;
use crate::config::{Algorithm, Jwt};

impl Check<'_> {
    pub(super) fn jwt(&mut self, key: &str, name: &str, raw: &RawJwt) -> Option<Jwt> {
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
        let audience_claim = self.claim_path(&format!("{key}.audience_claim"), &raw.audience_claim);
        let algorithms = self.algorithms(&format!("{key}.algorithms"), &raw.algorithms);
        let mapping = self.mapping(key, raw.mapping());
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
            audience_claim: audience_claim?,
            jwks_url: match jwks_url {
                Some(checked) => Some(checked?),
                None => None,
            },
            algorithms,
            token_types: raw.token_types.iter().map(|t| t.to_ascii_lowercase()).collect(),
            mapping: mapping?,
            require_dpop: raw.require_dpop,
            leeway_seconds,
            cooldown,
            max_stale,
        })
    }

    pub(super) fn algorithms(&mut self, key: &str, names: &[String]) -> Vec<Algorithm> {
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
                    "not a known algorithm; known are RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519",
                ),
            }
        }
        known
    }
}
