//! Servers that are asked about opaque tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::check::Check;
use crate::config::raw::RawIntrospection;
use crate::config::{Environment, Introspection};

impl Check<'_> {
    pub(super) fn introspections(&mut self, raw: &BTreeMap<String, RawIntrospection>) -> Vec<Introspection> {
        for (name, entry) in raw {
            let clashes = |(other, their): (&String, &RawIntrospection)| {
                other != name && entry.token_prefix.starts_with(&their.token_prefix)
            };
            if raw.iter().any(clashes) {
                self.problem(
                    format!("identity.introspection.{name}.token_prefix"),
                    "several servers are told apart by how their tokens begin: give each a token_prefix, none the beginning of another",
                );
            }
        }
        let entries: Vec<_> = raw.iter().filter_map(|(name, entry)| self.introspection(name, entry)).collect();
        for (i, entry) in entries.iter().enumerate() {
            // That two servers' users are the same is said by naming one issuer in both, never by a default.
            let guessed = |other: &&Introspection| !(entry.is_issuer_strict && other.is_issuer_strict);
            if entries.iter().take(i).filter(guessed).any(|other| other.issuer == entry.issuer) {
                self.problem(
                    format!("identity.introspection.{}.issuer", entry.name),
                    "another server has the same origin, and users of the two would be taken for each other: set issuer in both",
                );
            }
        }
        entries
    }

    fn introspection(&mut self, name: &str, raw: &RawIntrospection) -> Option<Introspection> {
        let key = &format!("identity.introspection.{name}");
        self.name(key, name);
        let endpoint = self.url(&format!("{key}.endpoint"), &raw.endpoint);
        if raw.client_id.is_empty() {
            self.problem(format!("{key}.client_id"), "write the client id that the server knows Ephemint by");
        }
        let client_secret = if raw.client_secret.is_empty() {
            self.problem(
                format!("{key}.client_secret"),
                "name Ephemint's own secret at the server, for example client_secret = \"env://INTROSPECTION_SECRET\"",
            );
            None
        } else {
            self.live(&format!("{key}.client_secret"), &raw.client_secret, |secret| Ok(secret.clone()))
        };
        let of_a_token = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b);
        if raw.token_prefix.len() > 64 || !raw.token_prefix.bytes().all(of_a_token) {
            self.problem(format!("{key}.token_prefix"), "has at most 64 letters, digits and - . _ ~ + /, as tokens have them");
        }
        let open = raw.audience.is_empty() && raw.required_scopes.is_empty() && raw.required_claims.is_empty();
        if open && self.environment == Environment::Prod {
            self.problem(
                format!("{key}.audience"),
                "prod asks for audience, required_scopes or required_claims; without any, a token made for another service would be accepted",
            );
        }
        if raw.audience.iter().any(String::is_empty) {
            self.problem(format!("{key}.audience"), "an audience must not be empty");
        }
        let issuer = raw.issuer.as_ref().map(|issuer| self.url(&format!("{key}.issuer"), issuer));
        let mapping = self.mapping(key, raw.mapping());
        let mut seconds =
            |field: &str, value, least, most| Duration::from_secs(self.range(&format!("{key}.{field}"), value, least, most));
        let remember_good = seconds("cache_seconds", raw.cache_seconds, 0, 300);
        let remember_bad = seconds("negative_cache_seconds", raw.negative_cache_seconds, 0, 60);
        let timeout = seconds("timeout_seconds", raw.timeout_seconds, 1, 30);
        let endpoint = endpoint?;
        if issuer == Some(None) {
            return None;
        }
        Some(Introspection {
            name: name.to_owned(),
            client_id: raw.client_id.clone(),
            client_secret: client_secret?,
            client_auth: raw.client_auth,
            issuer: raw.issuer.clone().unwrap_or_else(|| endpoint.origin().ascii_serialization()),
            is_issuer_strict: raw.issuer.is_some(),
            audience: raw.audience.clone(),
            token_prefix: raw.token_prefix.clone(),
            remember_good,
            remember_bad,
            timeout,
            mapping: mapping?,
            endpoint,
        })
    }
}
