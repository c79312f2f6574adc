//! Secret managers, checked. What is absent is looked for in the environment, under the names that their own tools use.

use std::time::Duration;

use url::{Host, Url};

use super::raw::EntraKind;
use crate::domain::secret_ref::SecretRef;

/// How secret managers are reached.
#[derive(Clone, Debug)]
pub(crate) struct Secrets {
    /// Between two looks for a new value.
    pub(crate) poll: Duration,
    pub(crate) vault: Vault,
    pub(crate) aws: Aws,
    pub(crate) azure: Azure,
    pub(crate) gcp: Gcp,
}

/// HashiCorp Vault or OpenBao.
#[derive(Clone, Debug)]
pub(crate) struct Vault {
    pub(crate) address: Option<Url>,
    pub(crate) namespace: Option<String>,
    pub(crate) kv_version: u64,
    pub(crate) auth: VaultAuth,
}

/// How to log in to Vault. References are of the environment or of files, and read anew for each login.
#[derive(Clone, Debug)]
pub(crate) enum VaultAuth {
    Token(SecretRef),
    AppRole { mount: String, role_id: SecretRef, secret_id: SecretRef },
    Kubernetes { mount: String, role: String, token: SecretRef },
}

/// AWS Secrets Manager.
#[derive(Clone, Debug)]
pub(crate) struct Aws {
    pub(crate) region: Option<String>,
    pub(crate) endpoint: Option<Url>,
}

/// Google Secret Manager.
#[derive(Clone, Debug)]
pub(crate) struct Gcp {
    pub(crate) endpoint: Url,
}

/// Azure Key Vault.
#[derive(Clone, Debug)]
pub(crate) struct Azure {
    /// `{vault}` stands for the vault's name.
    pub(crate) vault_url: String,
    pub(crate) credential: Entra,
}

/// A way to prove oneself to Entra ID.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entra {
    pub(crate) kind: EntraKind,
    pub(crate) tenant_id: Option<String>,
    /// At most one of this and the two after it, where the kind is `managed_identity`.
    pub(crate) client_id: Option<String>,
    pub(crate) object_id: Option<String>,
    pub(crate) resource_id: Option<String>,
    pub(crate) client_secret: Option<SecretRef>,
    pub(crate) certificate: Option<SecretRef>,
    pub(crate) certificate_password: Option<SecretRef>,
    pub(crate) federated_token: Option<SecretRef>,
    pub(crate) authority: Option<Url>,
}

/// Whether what is sent there never leaves this machine.
pub(crate) fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
