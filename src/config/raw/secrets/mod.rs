//! `[secrets]` as it is written: the secret managers that references name.

mod aws;
mod azure;
mod gcp;
mod vault;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use aws::RawAws;
pub(crate) use azure::{EntraKind, RawAzure, RawEntra};
use gcp::RawGcp;
pub(crate) use vault::{RawVault, RawVaultAuth, VaultAuthKind};

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawSecrets {
    /// Seconds between two looks at a secret manager for a new value; a tenth more or less at random. Files are looked at every second.
    /// 5..=86400.
    pub(crate) poll_seconds: u64,
    /// HashiCorp Vault or OpenBao: `vault://mount/path#field`.
    pub(crate) vault: RawVault,
    /// AWS Secrets Manager: `aws-sm://name-or-arn#json-field`.
    pub(crate) aws: RawAws,
    /// Azure Key Vault: `azure-kv://vault-name/secret-name`.
    pub(crate) azure: RawAzure,
    /// Google Secret Manager: `gcp-sm://project/secret[/version]`.
    pub(crate) gcp: RawGcp,
}

impl Default for RawSecrets {
    fn default() -> Self {
        Self {
            poll_seconds: 60,
            vault: RawVault::default(),
            aws: RawAws::default(),
            azure: RawAzure::default(),
            gcp: RawGcp::default(),
        }
    }
}
