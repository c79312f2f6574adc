//! `[secrets.vault]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawVault {
    /// Where it is, for example `https://vault.example.com:8200`. Default: the environment variable VAULT_ADDR.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
    /// Namespace (Vault Enterprise, OpenBao). Default: the environment variable VAULT_NAMESPACE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    /// Version of the key-value engine: 1 or 2.
    pub(crate) kv_version: u64,
    /// How Ephemint logs in.
    pub(crate) auth: RawVaultAuth,
}

impl Default for RawVault {
    fn default() -> Self {
        Self { address: None, namespace: None, kv_version: 2, auth: RawVaultAuth::default() }
    }
}

/// Ways to log in to Vault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VaultAuthKind {
    /// With a token. Default: the environment variable VAULT_TOKEN.
    #[default]
    Token,
    /// With a role id and a secret id.
    Approle,
    /// With the service account's token of a Kubernetes pod.
    Kubernetes,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawVaultAuth {
    /// token, approle or kubernetes.
    pub(crate) kind: VaultAuthKind,
    /// token: reference to it (env:// or file://). Default: env://VAULT_TOKEN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// approle: reference to the role id (env:// or file://).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role_id: Option<String>,
    /// approle: reference to the secret id (env:// or file://).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret_id: Option<String>,
    /// kubernetes: the role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    /// kubernetes: reference to the service account's token. Default: file:///var/run/secrets/kubernetes.io/serviceaccount/token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_account_token: Option<String>,
    /// Where the method is mounted. Default: its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mount: Option<String>,
}
