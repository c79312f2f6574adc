//! Azure Key Vault, and Entra ID.

use super::Check;
use crate::config::raw::{EntraKind, RawAzure, RawEntra};
use crate::config::secrets::{Azure, Entra};

const KEY: &str = "secrets.azure";

impl Check<'_> {
    pub(super) fn key_vault(&mut self, raw: &RawAzure) -> Option<Azure> {
        let key = format!("{KEY}.vault_url");
        let url = self.base(&key, &raw.vault_url.replace("{vault}", "vault"));
        if !raw.vault_url.contains("{vault}") {
            self.problem(key, "must have {vault}, which stands for a vault's name; without it all names mean the same vault");
        }
        let credential = self.entra(&format!("{KEY}.credential"), &raw.credential);
        url?;
        Some(Azure { vault_url: raw.vault_url.trim_end_matches('/').to_owned(), credential: credential? })
    }

    /// Settings of Entra ID under `key`.
    pub(in crate::config::check) fn entra(&mut self, key: &str, raw: &RawEntra) -> Option<Entra> {
        self.of_one_kind(key, raw);
        self.identifiers(key, raw);
        let authority = raw.authority.as_ref().map(|text| self.base(&format!("{key}.authority"), text));
        let mut local = |name, text: &Option<String>| text.as_ref().map(|text| self.local(&format!("{key}.{name}"), text));
        let client_secret = local("client_secret", &raw.client_secret);
        let certificate = local("certificate", &raw.certificate);
        let certificate_password = local("certificate_password", &raw.certificate_password);
        let federated_token = local("federated_token", &raw.federated_token);
        Some(Entra {
            kind: raw.kind,
            tenant_id: raw.tenant_id.clone(),
            client_id: raw.client_id.clone(),
            object_id: raw.object_id.clone(),
            resource_id: raw.resource_id.clone(),
            client_secret: client_secret.map_or(Some(None), |it| it.map(Some))?,
            certificate: certificate.map_or(Some(None), |it| it.map(Some))?,
            certificate_password: certificate_password.map_or(Some(None), |it| it.map(Some))?,
            federated_token: federated_token.map_or(Some(None), |it| it.map(Some))?,
            authority: authority.map_or(Some(None), |it| it.map(Some))?,
        })
    }

    fn of_one_kind(&mut self, key: &str, raw: &RawEntra) {
        let given = [
            ("object_id", raw.object_id.is_some(), EntraKind::ManagedIdentity),
            ("resource_id", raw.resource_id.is_some(), EntraKind::ManagedIdentity),
            ("client_secret", raw.client_secret.is_some(), EntraKind::ClientSecret),
            ("certificate", raw.certificate.is_some(), EntraKind::ClientCertificate),
            ("certificate_password", raw.certificate_password.is_some(), EntraKind::ClientCertificate),
            ("federated_token", raw.federated_token.is_some(), EntraKind::WorkloadIdentity),
        ];
        for (name, _, _) in given.into_iter().filter(|(_, is_given, kind)| *is_given && *kind != raw.kind) {
            self.problem(format!("{key}.{name}"), "is for another kind; set kind, or leave it out");
        }
        for (name, is_given) in [("tenant_id", raw.tenant_id.is_some()), ("authority", raw.authority.is_some())] {
            if is_given && raw.kind == EntraKind::ManagedIdentity {
                self.problem(
                    format!("{key}.{name}"),
                    "is not for managed_identity, which is of the platform's own directory; set kind, or leave it out",
                );
            }
        }
        let names = [&raw.client_id, &raw.object_id, &raw.resource_id].into_iter().flatten().count();
        if raw.kind == EntraKind::ManagedIdentity && names > 1 {
            self.problem(key, "names a user-assigned identity more than once; keep one of client_id, object_id and resource_id");
        }
    }

    fn identifiers(&mut self, key: &str, raw: &RawEntra) {
        let is_made_of = |text: &str, others: &[u8]| text.bytes().all(|b| b.is_ascii_alphanumeric() || others.contains(&b));
        for (name, value) in [("tenant_id", &raw.tenant_id), ("client_id", &raw.client_id), ("object_id", &raw.object_id)] {
            if value.as_ref().is_some_and(|text| text.is_empty() || !is_made_of(text, b"-.")) {
                self.problem(format!("{key}.{name}"), "must be an id, as the portal shows it");
            }
        }
        let is_path = |text: &String| text.starts_with("/subscriptions/") && is_made_of(text, b"/-._()");
        if raw.resource_id.as_ref().is_some_and(|text| !is_path(text)) {
            let cause = "must be a resource id, as `az identity show --query id` prints it: /subscriptions/...";
            self.problem(format!("{key}.resource_id"), cause);
        }
    }
}
