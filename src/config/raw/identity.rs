//! `[identity]` as it is written.

mod servers;
mod guest;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use servers::{ClientAuth, RawApiKey, RawApiKeys, RawIntrospection};

use super::RawLogin;
pub(crate) use guest::{ProofKind, RawGuest, RawPerAddress, RawProof};

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawIdentity {
    /// JWT issuers, by name.
    pub(crate) jwt: BTreeMap<String, RawJwt>,
    /// Servers that are asked about opaque tokens (RFC 7662), by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) introspection: BTreeMap<String, RawIntrospection>,
    /// Keys of servers, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) api_keys: BTreeMap<String, RawApiKeys>,
    /// Proofs of possession (DPoP) that go with tokens bound to a key. Bound tokens need theirs with and without this section; with it,
    /// browsers may send proofs and clients are told which are accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dpop: Option<RawDpop>,
    /// Sign-in of browsers at one OpenID provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) login: Option<RawLogin>,
    /// Seconds for which a verified token need not be verified again. 0 verifies every time. 0..=300.
    pub(crate) verified_token_seconds: u64,
    /// Verified tokens remembered at most; as many for each introspection entry.
    pub(crate) verified_tokens: u64,
    /// Anonymous visitors. Absent: there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) guest: Option<RawGuest>,
}

impl Default for RawIdentity {
    fn default() -> Self {
        Self {
            jwt: BTreeMap::new(),
            introspection: BTreeMap::new(),
            api_keys: BTreeMap::new(),
            login: None,
            dpop: None,
            verified_token_seconds: 60,
            verified_tokens: 20_000,
            guest: None,
        }
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawJwt {
    /// The issuer, exactly as the tokens' `iss` has it.
    pub(crate) issuer: String,
    /// Accepted audiences; a token must name at least one.
    pub(crate) audience: Vec<String>,
    /// The claim that names whom the token is for. Access tokens of Cognito have client_id in place of aud.
    pub(crate) audience_claim: String,
    /// The issuer's key set. Default: what discovery says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jwks_url: Option<String>,
    /// Accepted signature algorithms, of RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519.
    pub(crate) algorithms: Vec<String>,
    /// Accepted `typ` headers, without regard to case; a token without one is accepted too.
    pub(crate) token_types: Vec<String>,
    /// The claim that names the user. Here and wherever a claim is named: a name, or the JSON pointer of a nested claim.
    pub(crate) user_claim: String,
    /// The claim that names the user's tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant_claim: Option<String>,
    /// The claim that lists the user's groups, or several such claims, whose groups are taken together.
    pub(crate) groups_claim: RawClaims,
    /// Scopes that every token must carry (`scope` or `scp`).
    pub(crate) required_scopes: Vec<String>,
    /// Claims that every token must carry, with the value or one of the values.
    pub(crate) required_claims: BTreeMap<String, Value>,
    /// Refuses tokens that are not bound to a key (`cnf.jkt`).
    pub(crate) require_dpop: bool,
    /// Clock difference forgiven at `exp`, `nbf` and `iat`. 0..=60.
    pub(crate) leeway_seconds: u64,
    /// Least time between two fetches caused by unknown key ids.
    pub(crate) jwks_cooldown_seconds: u64,
    /// How long known keys stay in use when the issuer cannot be reached, counted from when their next fetch was due. 0..=86400.
    pub(crate) jwks_max_stale_seconds: u64,
}

impl Default for RawJwt {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: Vec::new(),
            audience_claim: "aud".into(),
            jwks_url: None,
            algorithms: ["RS256", "ES256", "EdDSA"].map(String::from).into(),
            token_types: ["JWT", "at+jwt", "application/at+jwt"].map(String::from).into(),
            user_claim: "sub".into(),
            tenant_claim: None,
            groups_claim: RawClaims::One("groups".into()),
            required_scopes: Vec::new(),
            required_claims: BTreeMap::new(),
            require_dpop: false,
            leeway_seconds: 30,
            jwks_cooldown_seconds: 30,
            jwks_max_stale_seconds: 3600,
        }
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawDpop {
    /// Accepted signature algorithms of proofs, of the same names as for tokens.
    pub(crate) algorithms: Vec<String>,
    /// Seconds for which a proof is good from its `iat` on. 5..=300.
    pub(crate) iat_window_seconds: u64,
    /// Proofs must carry a nonce of ours, which an answer's DPoP-Nonce header hands out.
    pub(crate) require_nonce: bool,
    /// Proofs remembered at most, so that none is used twice. 1000..=10000000.
    pub(crate) replay_entries: u64,
}

impl Default for RawDpop {
    fn default() -> Self {
        Self {
            algorithms: ["ES256", "EdDSA", "Ed25519", "PS256", "RS256"].map(String::from).into(),
            iat_window_seconds: 60,
            require_nonce: false,
            replay_entries: 200_000,
        }
    }
}

/// One claim, or several.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "write a claim's name, or a list of names such as [\"groups\", \"/realm_access/roles\"]")]
pub(crate) enum RawClaims {
    /// Its name.
    One(String),
    /// Their names.
    Several(Vec<String>),
}

/// How claims are read, which every kind of identity that has claims asks in the same words.
#[derive(Clone, Copy)]
pub(crate) struct RawMapping<'a> {
    pub(crate) user_claim: &'a str,
    pub(crate) tenant_claim: Option<&'a str>,
    pub(crate) groups_claim: &'a RawClaims,
    pub(crate) required_scopes: &'a [String],
    pub(crate) required_claims: &'a BTreeMap<String, Value>,
}

impl RawJwt {
    pub(crate) fn mapping(&self) -> RawMapping<'_> {
        RawMapping {
            user_claim: &self.user_claim,
            tenant_claim: self.tenant_claim.as_deref(),
            groups_claim: &self.groups_claim,
            required_scopes: &self.required_scopes,
            required_claims: &self.required_claims,
        }
    }
}
