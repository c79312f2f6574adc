//! Who may call: `[identity]`, checked.

mod servers;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use url::Url;

pub(crate) use servers::{ApiKey, ApiKeys, Introspection};

use super::Limits;
use super::Login;
use super::problem::Problem;
use crate::domain::json::{pointer_tokens, same};
use crate::domain::live::Live;
use crate::domain::secret::Secret;

pub(crate) struct Identity {
    pub(crate) jwt: Vec<Jwt>,
    pub(crate) introspection: Vec<Introspection>,
    pub(crate) api_keys: Vec<ApiKeys>,
    pub(crate) dpop: Dpop,
    pub(crate) login: Option<Login>,
    pub(crate) verified_token_lifetime: Duration,
    pub(crate) verified_tokens: u64,
    pub(crate) guest: Option<Guest>,
}

impl Identity {
    /// Whoever names users, as far as they are named by something that an operator can know.
    pub(crate) fn issuers(&self) -> Vec<String> {
        let jwt = self.jwt.iter().map(|jwt| jwt.issuer.clone());
        let introspection = self.introspection.iter().map(|server| server.issuer.clone());
        let login = self.login.iter().map(|login| login.provider.issuer.clone());
        let servers = self.api_keys.iter().map(|keys| format!("api_keys.{}", keys.name));
        let mut issuers: Vec<String> = jwt.chain(introspection).chain(login).chain(servers).collect();
        issuers.sort_unstable();
        issuers.dedup();
        issuers
    }
}

pub(crate) struct Jwt {
    pub(crate) name: String,
    pub(crate) issuer: String,
    pub(crate) audience: Vec<String>,
    pub(crate) audience_claim: ClaimPath,
    /// Absent: discovery.
    pub(crate) jwks_url: Option<Url>,
    pub(crate) algorithms: Vec<Algorithm>,
    /// Lower case.
    pub(crate) token_types: Vec<String>,
    pub(crate) mapping: ClaimMapping,
    /// Whether tokens must be bound to a key.
    pub(crate) require_dpop: bool,
    pub(crate) leeway_seconds: u64,
    pub(crate) cooldown: Duration,
    pub(crate) max_stale: Duration,
}

/// How callers prove that they hold the key their token is bound to (RFC 9449).
#[derive(Clone)]
pub(crate) struct Dpop {
    /// Whether clients are told of it. Bound tokens need their proof either way.
    pub(crate) offered: bool,
    /// Where callers reach the service. Absent: wherever they say they do.
    pub(crate) public_url: Option<Url>,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) window_seconds: u64,
    pub(crate) require_nonce: bool,
    /// Proofs that are remembered at most.
    pub(crate) replay_entries: usize,
}

/// Anonymous visitors.
pub(crate) struct Guest {
    pub(crate) proof: Proof,
    /// The first signs, all verify; at least one.
    pub(crate) token_keys: Vec<Secret>,
    pub(crate) token_lifetime: Duration,
    /// The only profiles that a guest may use; at least one.
    pub(crate) profiles: Arc<[String]>,
    pub(crate) per_address: PerAddress,
    /// Limits that are missing, each with its key: refused in prod, told at the start elsewhere.
    pub(crate) unlimited: Vec<Problem>,
}

/// Who vouches that a visitor is no machine, and what its word must say.
#[derive(Clone)]
pub(crate) struct Proof {
    pub(crate) secret: Live<Secret>,
    pub(crate) verify_url: Url,
    /// Lower case. Empty: any.
    pub(crate) hostnames: Vec<String>,
    pub(crate) action: Option<String>,
    /// The least score, where a high one is a good one.
    pub(crate) min_score: Option<f64>,
    /// The greatest score, where a high one is a bad one.
    pub(crate) max_score: Option<f64>,
    pub(crate) send_address: bool,
}

/// Limits of one client address, whoever is behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PerAddress {
    /// Of all guests together, in all profiles.
    pub(crate) mints: Limits,
    pub(crate) proofs_per_minute: u64,
}

/// A signature algorithm of RFC 7518, RFC 8037 and RFC 9864, with an asymmetric key. HMAC and `none` have no name here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
    /// The newer name of `EdDSA` with this curve.
    Ed25519,
}

impl Algorithm {
    pub(crate) const NAMES: [(&'static str, Self); 11] = [
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("ES512", Self::Es512),
        ("EdDSA", Self::EdDsa),
        ("Ed25519", Self::Ed25519),
    ];

    /// Exact spelling only.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}

/// What the claims about a user say of them, and what they must say.
#[derive(Clone, Debug)]
pub(crate) struct ClaimMapping {
    pub(crate) user: ClaimPath,
    /// Present: every user must have a tenant.
    pub(crate) tenant: Option<ClaimPath>,
    /// The groups of all of them together are the user's.
    pub(crate) groups: Vec<ClaimPath>,
    pub(crate) required_scopes: Vec<String>,
    pub(crate) required_claims: Vec<ClaimRule>,
}

/// Where a claim is: its name, or, written as a JSON pointer, the names on the way to a nested one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClaimPath(Vec<String>);

impl ClaimPath {
    /// A claim at the top.
    pub(crate) fn named(name: &str) -> Self {
        Self(vec![name.into()])
    }

    /// `None` for an empty name and for what is no pointer though it begins with a slash.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.starts_with('/') { pointer_tokens(text).map(Self) } else { (!text.is_empty()).then(|| Self::named(text)) }
    }

    /// The claim, if it is there. Only objects are gone through: a place in a list has no name of its own.
    pub(crate) fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let (last, way) = self.0.split_last()?;
        way.iter().try_fold(claims, |at, name| at.get(name)?.as_object())?.get(last)
    }

    /// Copies the claim, if it is there, to the same place in `to`.
    pub(crate) fn copy(&self, from: &Map<String, Value>, to: &mut Map<String, Value>) {
        let (Some(claim), Some((last, way))) = (self.find(from), self.0.split_last()) else { return };
        let place = way.iter().try_fold(to, |at, name| at.entry(name).or_insert_with(|| Map::new().into()).as_object_mut());
        if let Some(place) = place {
            place.insert(last.clone(), claim.clone());
        }
    }
}

/// A claim and the values it may have.
#[derive(Clone, Debug)]
pub(crate) struct ClaimRule {
    pub(crate) claim: ClaimPath,
    pub(crate) one_of: Vec<Value>,
}

impl ClaimRule {
    /// Whether `claim` has, or as an array holds, one of the values.
    pub(crate) fn holds(&self, claim: Option<&Value>) -> bool {
        let matches = |value: &Value| self.one_of.iter().any(|wanted| same(wanted, value));
        match claim {
            Some(Value::Array(values)) => values.iter().any(matches),
            Some(value) => matches(value),
            None => false,
        }
    }
}
