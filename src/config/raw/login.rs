//! `[identity.login]` as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ClientAuth, RawClaims, RawMapping};

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLogin {
    /// The issuer, exactly as ID tokens' `iss` has it; discovery tells its endpoints and keys.
    pub(crate) issuer: String,
    /// What this service is called at the issuer. Register `server.public_url` + `/auth/callback` there.
    pub(crate) client_id: String,
    /// Reference to the client's secret. Absent: a public client, protected by PKCE alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_secret: Option<String>,
    /// How the secret is sent: basic or post.
    pub(crate) client_auth: ClientAuth,
    /// Scopes that are asked for; `openid` always is.
    pub(crate) scopes: Vec<String>,
    /// References to the keys of cookies, at least 32 characters each: the first encrypts, all decrypt. At most 4.
    pub(crate) cookie_keys: Vec<String>,
    /// A session that is not used for this long ends. 60..=86400.
    pub(crate) idle_seconds: u64,
    /// A session ends this long after sign-in, however much it is used. 300..=604800, at least `idle_seconds`.
    pub(crate) absolute_seconds: u64,
    /// Accepted signature algorithms of ID tokens, of RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA.
    pub(crate) algorithms: Vec<String>,
    /// The claim that names the user. Here and wherever a claim is named: a name, or the JSON pointer of a nested claim.
    pub(crate) user_claim: String,
    /// The claim that names the user's tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant_claim: Option<String>,
    /// The claim that lists the user's groups, or several such claims.
    pub(crate) groups_claim: RawClaims,
    /// Claims that every ID token must carry, with the value or one of the values.
    pub(crate) required_claims: BTreeMap<String, Value>,
    /// Clock difference forgiven at `exp`, `nbf` and `iat`. 0..=60.
    pub(crate) leeway_seconds: u64,
}

impl Default for RawLogin {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            client_id: String::new(),
            client_secret: None,
            client_auth: ClientAuth::Basic,
            scopes: vec!["openid".into()],
            cookie_keys: Vec::new(),
            idle_seconds: 1800,
            absolute_seconds: 43_200,
            algorithms: ["RS256", "ES256", "EdDSA"].map(String::from).into(),
            user_claim: "sub".into(),
            tenant_claim: None,
            groups_claim: RawClaims::One("groups".into()),
            required_claims: BTreeMap::new(),
            leeway_seconds: 30,
        }
    }
}

impl RawLogin {
    pub(crate) fn mapping(&self) -> RawMapping<'_> {
        RawMapping {
            user_claim: &self.user_claim,
            tenant_claim: self.tenant_claim.as_deref(),
            groups_claim: &self.groups_claim,
            // An ID token carries no scopes: what was granted is between the issuer and the user.
            required_scopes: &[],
            required_claims: &self.required_claims,
        }
    }
}
