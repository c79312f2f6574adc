//! `[upstreams.NAME]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{EntraKind, RawEntra};

/// Which API an upstream speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UpstreamKind {
    #[default]
    Openai,
    /// Azure OpenAI, Microsoft Foundry.
    Azure,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawUpstream {
    /// The API it speaks.
    pub(crate) kind: UpstreamKind,
    /// Base URL, with `/v1`; for azure the resource's endpoint. Default for openai: `https://api.openai.com/v1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) base_url: Option<String>,
    /// azure: the version of the preview API, such as 2025-04-01-preview. Absent: v1, which has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) api_version: Option<String>,
    /// azure with api_version: the resource's region, where browsers connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
    /// What sessions are here unless their profile says otherwise: most often the name of a deployment as `model`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) session: Map<String, Value>,
    /// `OpenAI-Organization`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) organization: Option<String>,
    /// `OpenAI-Project`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<String>,
    /// How Ephemint proves itself to the upstream.
    pub(crate) credential: RawCredential,
    /// Deadline of one mint, all attempts together. 1..=60.
    pub(crate) timeout_seconds: u64,
    /// Attempts of one mint at most. 1..=10.
    pub(crate) max_attempts: u64,
}

impl Default for RawUpstream {
    fn default() -> Self {
        Self {
            kind: UpstreamKind::Openai,
            base_url: None,
            api_version: None,
            region: None,
            session: Map::new(),
            organization: None,
            project: None,
            credential: RawCredential::default(),
            timeout_seconds: 8,
            max_attempts: 3,
        }
    }
}

/// Kinds of upstream credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CredentialKind {
    /// Permanent keys.
    #[default]
    ApiKey,
    /// No stored key: an identity of the platform is traded for one that lives minutes to hours. For azure: the federated token of a
    /// Kubernetes pod.
    WorkloadIdentity,
    /// azure: as the identity of the machine or container, without any secret.
    ManagedIdentity,
    /// azure: as an application with a client secret.
    ClientSecret,
    /// azure: as an application with a certificate and its key.
    ClientCertificate,
    /// azure: on behalf of each user, whose own access token of Entra ID is traded: Azure sees the user, whose role counts.
    OnBehalfOf,
}

impl CredentialKind {
    /// The way to prove oneself to Entra ID that it is for Azure.
    pub(crate) fn entra(self) -> Option<EntraKind> {
        match self {
            Self::ApiKey | Self::OnBehalfOf => None,
            Self::WorkloadIdentity => Some(EntraKind::WorkloadIdentity),
            Self::ManagedIdentity => Some(EntraKind::ManagedIdentity),
            Self::ClientSecret => Some(EntraKind::ClientSecret),
            Self::ClientCertificate => Some(EntraKind::ClientCertificate),
        }
    }
}

/// What, beside a refusal of the key itself, makes a request go on to the next key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RotateOn {
    /// A rate limit (429), where keys belong to projects with limits of their own.
    RateLimit,
}

/// How a new value of a key is tried before it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verify {
    /// `GET /v1/models`, which costs nothing.
    #[default]
    Models,
    /// A client secret of 60 s for the first profile of the upstream, which nobody gets: where listing models proves nothing.
    Mint,
    /// Not at all but for its form.
    None,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawCredential {
    /// openai: api_key or workload_identity. azure: api_key, managed_identity, workload_identity,
    /// client_certificate, client_secret or
    /// on_behalf_of.
    pub(crate) kind: CredentialKind,
    /// api_key: references to the permanent keys: the primary, then fallbacks. At most 8.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) keys: Vec<String>,
    /// api_key: what else makes a request go on to the next key: rate_limit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rotate_on: Vec<RotateOn>,
    /// api_key: how a new value is tried before it is used: models, mint or none.
    pub(crate) verify: Verify,
    /// api_key: a key that is older is warned about. 0: never.
    pub(crate) warn_after_days: u64,
    /// workload_identity: the provider's id, as the organization's settings show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) identity_provider_id: Option<String>,
    /// workload_identity: the service account to act as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_account_id: Option<String>,
    /// workload_identity: what is traded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<RawSubject>,
    /// workload_identity: where it is traded. Default: `https://auth.openai.com/oauth/token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auth_url: Option<String>,
    /// azure, all but api_key: directory. Default: the environment variable AZURE_TENANT_ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant_id: Option<String>,
    /// azure, all but api_key: application, or the client id of a user-assigned identity. Default, but for managed_identity: the
    /// environment variable AZURE_CLIENT_ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<String>,
    /// azure, managed_identity: a user-assigned identity, by its object id (principal id) in place of client_id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) object_id: Option<String>,
    /// azure, managed_identity: a user-assigned identity, by its resource id (/subscriptions/...) in place of client_id.
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
    /// azure, workload_identity: reference to the federated token. Default: the file that AZURE_FEDERATED_TOKEN_FILE names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) federated_token: Option<String>,
    /// azure, all but api_key: where Entra ID is. Default: the environment variable AZURE_AUTHORITY_HOST, then
    /// `https://login.microsoftonline.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) authority: Option<String>,
    /// azure, all but api_key: what the token is for. Default: `https://cognitiveservices.azure.com/.default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
}

impl RawCredential {
    /// As whoever proves themselves to Entra ID so.
    pub(crate) fn entra(&self, kind: EntraKind) -> RawEntra {
        RawEntra {
            kind,
            tenant_id: self.tenant_id.clone(),
            client_id: self.client_id.clone(),
            object_id: self.object_id.clone(),
            resource_id: self.resource_id.clone(),
            client_secret: self.client_secret.clone(),
            certificate: self.certificate.clone(),
            certificate_password: self.certificate_password.clone(),
            federated_token: self.federated_token.clone(),
            authority: self.authority.clone(),
        }
    }
}

impl Default for RawCredential {
    fn default() -> Self {
        Self {
            kind: CredentialKind::ApiKey,
            keys: Vec::new(),
            rotate_on: Vec::new(),
            verify: Verify::Models,
            warn_after_days: 90,
            identity_provider_id: None,
            service_account_id: None,
            subject: None,
            auth_url: None,
            tenant_id: None,
            client_id: None,
            object_id: None,
            resource_id: None,
            client_secret: None,
            certificate: None,
            certificate_password: None,
            federated_token: None,
            authority: None,
            scope: None,
        }
    }
}

/// Who vouches for this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SubjectKind {
    /// Kubernetes: a projected service-account token.
    #[default]
    Kubernetes,
    /// Any issuer that keeps a token in a file fresh.
    File,
    /// Azure's metadata service: the machine's managed identity.
    Azure,
    /// Google's metadata service: the machine's service account.
    Google,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawSubject {
    /// kubernetes, file, azure or google.
    pub(crate) kind: SubjectKind,
    /// kubernetes, file: reference to the token. Default for kubernetes: file:///var/run/secrets/openai.com/serviceaccount/token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// azure, google: whom the token is for. Default: `https://api.openai.com/v1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audience: Option<String>,
    /// azure: client id of a user-assigned identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<String>,
    /// azure, google: where the metadata service is. Default: the one of the platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
}
