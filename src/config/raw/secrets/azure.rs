//! `[secrets.azure]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawAzure {
    /// Where a vault is, {vault} standing for its name. In US Government clouds `https://{vault}.vault.usgovcloudapi.net`, in China
    /// `https://{vault}.vault.azure.cn`.
    pub(crate) vault_url: String,
    /// How Ephemint proves itself to Entra ID.
    pub(crate) credential: RawEntra,
}

impl Default for RawAzure {
    fn default() -> Self {
        Self { vault_url: "https://{vault}.vault.azure.net".into(), credential: RawEntra::default() }
    }
}

/// Ways to prove oneself to Entra ID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EntraKind {
    /// As the identity of the machine or container: no secret at all.
    #[default]
    ManagedIdentity,
    /// With the federated token of a Kubernetes pod: no secret at all.
    WorkloadIdentity,
    /// As an application with a client secret.
    ClientSecret,
    /// As an application with a certificate and its key.
    ClientCertificate,
}

impl EntraKind {
    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ManagedIdentity => "managed_identity",
            Self::WorkloadIdentity => "workload_identity",
            Self::ClientSecret => "client_secret",
            Self::ClientCertificate => "client_certificate",
        }
    }
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawEntra {
    /// managed_identity, workload_identity, client_secret or client_certificate.
    pub(crate) kind: EntraKind,
    /// Directory. Default: the environment variable AZURE_TENANT_ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant_id: Option<String>,
    /// Application, or the client id of a user-assigned identity. Default, but for managed_identity: the environment variable AZURE_CLIENT_ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<String>,
    /// managed_identity: a user-assigned identity, by its object id (principal id) in place of client_id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) object_id: Option<String>,
    /// managed_identity: a user-assigned identity, by its resource id (/subscriptions/...) in place of client_id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resource_id: Option<String>,
    /// client_secret: reference to it (env:// or file://). Default: env://AZURE_CLIENT_SECRET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_secret: Option<String>,
    /// client_certificate: reference to the certificate with its RSA key (env:// or file://): PEM, or PFX, which env:// holds as base64.
    /// Default: the file that AZURE_CLIENT_CERTIFICATE_PATH names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<String>,
    /// client_certificate: reference to the password of a PFX. Default: env://AZURE_CLIENT_CERTIFICATE_PASSWORD where that is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate_password: Option<String>,
    /// workload_identity: reference to the federated token. Default: the file that AZURE_FEDERATED_TOKEN_FILE names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) federated_token: Option<String>,
    /// Where Entra ID is. Default: the environment variable AZURE_AUTHORITY_HOST, then `https://login.microsoftonline.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) authority: Option<String>,
}
