//! Anonymous visitors.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use url::Url;

use crate::config::check::Check;
use crate::config::problem::Problem;
use crate::config::raw::{ProofKind, RawGuest, RawLimits, RawPerAddress, RawProfile, RawProof};
use crate::config::{Environment, Guest, PerAddress, Proof};
use crate::domain::live::Live;
use crate::domain::secret::Secret;

const KEY: &str = "identity.guest";
const LEAST_TOKEN_KEY: usize = 32;
const MOST_TOKEN_KEYS: usize = 8;
const DEFAULT_PROOFS: u64 = 30;

/// Secrets that the providers publish for tests: every proof, or none, passes. Turnstile's and reCAPTCHA's by their beginning.
const TEST_SECRETS: [&str; 4] =
    ["1x0000000000000000", "2x0000000000000000", "3x0000000000000000", "6LeIxAcTAAAAAGG-vFI1TnRWxMZNFuojJ4WifJWe"];
const HCAPTCHA_TEST_SECRET: &str = "0x0000000000000000000000000000000000000000";

impl Check<'_> {
    pub(super) fn guest(&mut self, raw: &RawGuest, profiles: &BTreeMap<String, RawProfile>) -> Option<Guest> {
        let proof = if let Some(proof) = &raw.proof {
            self.proof(&format!("{KEY}.proof"), proof)
        } else {
            self.problem(
                format!("{KEY}.proof"),
                "say what a visitor has to show, for example proof = { kind = \"turnstile\", secret = \"env://TURNSTILE_SECRET\", hostnames = [\"app.example.com\"] }",
            );
            None
        };
        let token_keys = self.token_keys(&format!("{KEY}.token_keys"), &raw.token_keys);
        let token_lifetime = self.range(&format!("{KEY}.token_seconds"), raw.token_seconds, 300, 86_400);
        self.guest_profiles(&format!("{KEY}.profiles"), &raw.profiles, profiles);
        let per_address = self.per_address(&format!("{KEY}.per_address"), &raw.per_address);
        let mut unlimited = missing_limits(raw, profiles);
        if self.environment == Environment::Prod {
            self.problems.append(&mut unlimited);
        }
        Some(Guest {
            proof: proof?,
            token_keys,
            token_lifetime: Duration::from_secs(token_lifetime),
            profiles: raw.profiles.as_slice().into(),
            per_address,
            unlimited,
        })
    }

    fn proof(&mut self, key: &str, raw: &RawProof) -> Option<Proof> {
        let verify_url = match &raw.verify_url {
            Some(text) => self.url(&format!("{key}.verify_url"), text),
            None => Url::parse(siteverify(raw.kind)).ok(),
        };
        let secret = self.proof_secret(&format!("{key}.secret"), &raw.secret);
        if raw.hostnames.is_empty() && self.environment == Environment::Prod {
            self.problem(
                format!("{key}.hostnames"),
                "name the hosts whose pages show the widget, for example [\"app.example.com\"]; otherwise proofs from other people's pages count",
            );
        }
        for (i, host) in raw.hostnames.iter().enumerate() {
            let url = Url::parse(&format!("https://{host}/")).ok();
            if url.is_none_or(|url| url.host_str() != Some(host.to_ascii_lowercase().as_str()) || url.port().is_some()) {
                self.problem(format!("{key}.hostnames[{i}]"), "must be a host's exact name, for example \"app.example.com\"");
            }
        }
        self.judgements(key, raw);
        Some(Proof {
            secret: secret?,
            verify_url: verify_url?,
            hostnames: raw.hostnames.iter().map(|host| host.to_ascii_lowercase()).collect(),
            action: raw.action.clone(),
            min_score: raw.min_score,
            max_score: raw.max_score,
            send_address: raw.send_address,
        })
    }

    fn proof_secret(&mut self, key: &str, text: &str) -> Option<Live<Secret>> {
        let is_prod = self.environment == Environment::Prod;
        self.live(key, text, move |secret| {
            let revealed = secret.reveal();
            let is_test = revealed == HCAPTCHA_TEST_SECRET || TEST_SECRETS.iter().any(|test| revealed.starts_with(test));
            if is_test && is_prod {
                return Err("is a secret that the provider publishes for tests, with which everybody passes".into());
            }
            Ok(secret.clone())
        })
    }

    /// What a provider's word is held against; each provider says something else.
    fn judgements(&mut self, key: &str, raw: &RawProof) {
        let is_action = |text: &String| (1..=100).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if raw.action.as_ref().is_some_and(|action| !is_action(action)) {
            self.problem(format!("{key}.action"), "must be visible ASCII, as the widget names it");
        }
        if raw.action.is_some() && raw.kind == ProofKind::Hcaptcha {
            self.problem(format!("{key}.action"), "hCaptcha names no action; leave it out");
        }
        if raw.min_score.is_some() && raw.kind != ProofKind::Recaptcha {
            self.problem(
                format!("{key}.min_score"),
                "only reCAPTCHA v3 has a score that must be high; hCaptcha's is a risk: use max_score",
            );
        }
        if raw.max_score.is_some() && raw.kind != ProofKind::Hcaptcha {
            self.problem(
                format!("{key}.max_score"),
                "only hCaptcha Enterprise has a score that must be low; for reCAPTCHA v3 use min_score",
            );
        }
        for (name, score) in [("min_score", raw.min_score), ("max_score", raw.max_score)] {
            if score.is_some_and(|score| !(0.0..=1.0).contains(&score)) {
                self.problem(format!("{key}.{name}"), "must be from 0.0 to 1.0");
            }
        }
    }

    fn token_keys(&mut self, key: &str, raw: &[String]) -> Vec<Secret> {
        if raw.is_empty() || raw.len() > MOST_TOKEN_KEYS {
            self.problem(
                key,
                format!("name 1 to {MOST_TOKEN_KEYS} keys, for example token_keys = [\"env://EPHEMINT_GUEST_KEY\"]"),
            );
        }
        let (mut keys, mut seen) = (Vec::new(), BTreeSet::new());
        for (i, text) in raw.iter().enumerate() {
            let key = format!("{key}[{i}]");
            if seen.insert(text) {
                keys.extend(self.secret_of(LEAST_TOKEN_KEY, &key, text));
            } else {
                self.problem(key, "is named twice");
            }
        }
        keys
    }

    fn guest_profiles(&mut self, key: &str, named: &[String], profiles: &BTreeMap<String, RawProfile>) {
        if named.is_empty() {
            self.problem(key, "name the profiles that guests may use, for example profiles = [\"guest\"]");
        }
        for (i, name) in named.iter().enumerate() {
            let key = format!("{key}[{i}]");
            match profiles.get(name) {
                None => self.problem(key, format!("there is no profile \"{name}\"")),
                Some(profile) if profile.allow.is_some() => {
                    self.problem(key, format!("profiles.{name}.allow asks for groups or claims, and a guest has neither"));
                }
                Some(_) => {}
            }
        }
    }

    fn per_address(&mut self, key: &str, raw: &RawPerAddress) -> PerAddress {
        let mints = RawLimits {
            mints_per_minute: raw.mints_per_minute,
            concurrent_calls: raw.concurrent_calls,
            monthly_mints: raw.monthly_mints,
        };
        let proofs = raw.proofs_per_minute.unwrap_or(DEFAULT_PROOFS);
        PerAddress {
            mints: self.limits(key, &mints),
            proofs_per_minute: self.range(&format!("{key}.proofs_per_minute"), proofs, 1, 1_000_000),
        }
    }
}

fn siteverify(kind: ProofKind) -> &'static str {
    match kind {
        ProofKind::Turnstile => "https://challenges.cloudflare.com/turnstile/v0/siteverify",
        ProofKind::Hcaptcha => "https://api.hcaptcha.com/siteverify",
        ProofKind::Recaptcha => "https://www.google.com/recaptcha/api/siteverify",
    }
}

/// Without limits of their own and of their addresses, visitors whom nobody knows spend what somebody pays for.
fn missing_limits(raw: &RawGuest, profiles: &BTreeMap<String, RawProfile>) -> Vec<Problem> {
    let address = &raw.per_address;
    let mut limits = vec![
        (format!("{KEY}.per_address.proofs_per_minute"), address.proofs_per_minute),
        (format!("{KEY}.per_address.mints_per_minute"), address.mints_per_minute),
        (format!("{KEY}.per_address.concurrent_calls"), address.concurrent_calls),
    ];
    let named: BTreeSet<_> = raw.profiles.iter().collect();
    for (name, profile) in named.into_iter().filter_map(|name| Some((name, &profiles.get(name)?.limits))) {
        limits.push((format!("profiles.{name}.limits.mints_per_minute"), profile.mints_per_minute));
        limits.push((format!("profiles.{name}.limits.concurrent_calls"), profile.concurrent_calls));
        limits.push((format!("profiles.{name}.limits.monthly_mints"), profile.monthly_mints));
    }
    let missing = limits.into_iter().filter(|(_, limit)| limit.is_none());
    missing.map(|(key, _)| Problem::new(key, "set it: guests are not let in without limits in prod")).collect()
}
