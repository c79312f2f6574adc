//! `[identity.introspection]` and `[identity.api_keys]` as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{RawClaims, RawMapping};

/// How a client proves itself to an authorization server (RFC 6749, section 2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientAuth {
    /// In the `Authorization` header.
    #[default]
    Basic,
    /// In the form.
    Post,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawIntrospection {
    /// Where tokens are asked about (RFC 7662).
    pub(crate) endpoint: String,
    /// Ephemint's own name at the endpoint.
    pub(crate) client_id: String,
    /// Reference to Ephemint's own secret at the endpoint.
    pub(crate) client_secret: String,
    /// basic or post.
    pub(crate) client_auth: ClientAuth,
    /// Who vouches for the users; an answer that names another `iss` is refused. Default: the endpoint's origin, and any `iss`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    /// Accepted audiences; an answer must name at least one. Empty: none is asked for, which needs required_scopes or required_claims.
    pub(crate) audience: Vec<String>,
    /// How this server's tokens begin. Needed to tell several servers' tokens apart.
    pub(crate) token_prefix: String,
    /// Seconds for which a good answer need not be asked for again; never beyond the token's `exp`. 0..=300.
    pub(crate) cache_seconds: u64,
    /// Seconds for which a refused token is refused without asking. 0..=60.
    pub(crate) negative_cache_seconds: u64,
    /// Deadline of one question. 1..=30.
    pub(crate) timeout_seconds: u64,
    /// The claim that names the user.
    pub(crate) user_claim: String,
    /// The claim that names the user's tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant_claim: Option<String>,
    /// The claim that lists the user's groups, or several such claims.
    pub(crate) groups_claim: RawClaims,
    /// Scopes that every token must carry.
    pub(crate) required_scopes: Vec<String>,
    /// Claims that every answer must carry, with the value or one of the values.
    pub(crate) required_claims: BTreeMap<String, Value>,
}

impl Default for RawIntrospection {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            client_id: String::new(),
            client_secret: String::new(),
            client_auth: ClientAuth::Basic,
            issuer: None,
            audience: Vec::new(),
            token_prefix: String::new(),
            cache_seconds: 30,
            negative_cache_seconds: 5,
            timeout_seconds: 5,
            user_claim: "sub".into(),
            tenant_claim: None,
            groups_claim: RawClaims::One("groups".into()),
            required_scopes: Vec::new(),
            required_claims: BTreeMap::new(),
        }
    }
}

impl RawIntrospection {
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

/// One server, or several that are one to Ephemint.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawApiKeys {
    /// The user that sessions belong to unless the server names one. Default: the entry's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
    /// The tenant of all these users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<String>,
    /// The groups of all these users.
    pub(crate) groups: Vec<String>,
    /// The only profiles that the keys may be used for. Default: whatever profiles themselves allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) profiles: Option<Vec<String>>,
    /// Whether the server may name its user in the `Ephemint-User` header.
    pub(crate) may_act_for_users: bool,
    /// The keys; several while one takes over from another.
    pub(crate) keys: Vec<RawApiKey>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawApiKey {
    /// Names the key in the audit trail.
    pub(crate) id: String,
    /// What `ephemint key hash` printed: 64 hexadecimal digits.
    pub(crate) sha256: String,
    /// When it ends: a TOML date-time with its offset, 2027-01-01T00:00:00Z, or the same as text. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<String>,
}
