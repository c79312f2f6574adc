//! HashiCorp Vault and OpenBao.

use super::Check;
use crate::config::raw::{RawVault, RawVaultAuth, VaultAuthKind};
use crate::config::secrets::{Vault, VaultAuth};
use crate::domain::secret_ref::SecretRef;

const KEY: &str = "secrets.vault";
const SERVICE_ACCOUNT: &str = "file:///var/run/secrets/kubernetes.io/serviceaccount/token";

impl Check<'_> {
    pub(super) fn vault(&mut self, raw: &RawVault) -> Option<Vault> {
        let address = raw.address.as_ref().map(|text| self.base(&format!("{KEY}.address"), text));
        let kv_version = self.range(&format!("{KEY}.kv_version"), raw.kv_version, 1, 2);
        let namespace = raw.namespace.as_ref().filter(|text| self.vault_path("namespace", text)).cloned();
        let auth = self.vault_auth(&raw.auth);
        Some(Vault { address: address.map_or(Some(None), |address| address.map(Some))?, namespace, kv_version, auth: auth? })
    }

    fn vault_auth(&mut self, raw: &RawVaultAuth) -> Option<VaultAuth> {
        use VaultAuthKind::{Approle, Kubernetes, Token};
        let given = [
            ("token", raw.token.is_some(), Token),
            ("role_id", raw.role_id.is_some(), Approle),
            ("secret_id", raw.secret_id.is_some(), Approle),
            ("role", raw.role.is_some(), Kubernetes),
            ("service_account_token", raw.service_account_token.is_some(), Kubernetes),
        ];
        for (name, _, _) in given.into_iter().filter(|(_, is_given, kind)| *is_given && *kind != raw.kind) {
            self.problem(format!("{KEY}.auth.{name}"), "is for another kind; set auth.kind, or leave it out");
        }
        let mount = |default: &str| raw.mount.clone().unwrap_or_else(|| default.to_owned());
        if raw.mount.as_ref().is_some_and(|mount| !self.vault_path("auth.mount", mount)) {
            return None;
        }
        match raw.kind {
            Token => {
                Some(VaultAuth::Token(self.vault_reference("token", Some(raw.token.as_deref().unwrap_or("env://VAULT_TOKEN")))?))
            }
            Approle => {
                let role_id = self.vault_reference("role_id", raw.role_id.as_deref());
                let secret_id = self.vault_reference("secret_id", raw.secret_id.as_deref());
                Some(VaultAuth::AppRole { mount: mount("approle"), role_id: role_id?, secret_id: secret_id? })
            }
            Kubernetes => {
                let token = self.vault_reference(
                    "service_account_token",
                    Some(raw.service_account_token.as_deref().unwrap_or(SERVICE_ACCOUNT)),
                );
                let role = raw.role.clone().filter(|role| !role.is_empty());
                if role.is_none() {
                    self.problem(format!("{KEY}.auth.role"), "name the role that is bound to the pod's service account");
                }
                Some(VaultAuth::Kubernetes { mount: mount("kubernetes"), role: role?, token: token? })
            }
        }
    }

    fn vault_reference(&mut self, name: &str, text: Option<&str>) -> Option<SecretRef> {
        let key = format!("{KEY}.auth.{name}");
        let Some(text) = text else {
            self.problem(key, "name where it is, for example \"file:///run/secrets/vault-secret-id\"");
            return None;
        };
        self.local(&key, text)
    }

    /// Mounts and namespaces are parts of a path, or of a header.
    fn vault_path(&mut self, name: &str, text: &str) -> bool {
        let is_step = |step: &str| {
            !step.is_empty()
                && step != "."
                && step != ".."
                && step.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let fits = text.split('/').all(is_step);
        if !fits {
            self.problem(format!("{KEY}.{name}"), "has letters, digits, '.', '_' and '-', with '/' between its parts");
        }
        fits
    }
}
