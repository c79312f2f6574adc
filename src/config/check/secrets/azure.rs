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

    pub(in crate::config::check) fn entra(&mut self, key: &str, raw: &RawEntra) -> Option<Entra> {
        let given = [
            ("client_secret", raw.client_secret.is_some(), EntraKind::ClientSecret),
            ("federated_token", raw.federated_token.is_some(), EntraKind::WorkloadIdentity),
        ];
        for (name, _, _) in given.into_iter().filter(|(_, is_given, kind)| *is_given && *kind != raw.kind) {
            self.problem(format!("{key}.{name}"), "is for another kind; set kind, or leave it out");
        }
        for (name, value) in [("tenant_id", &raw.tenant_id), ("client_id", &raw.client_id)] {
            let fits = |text: &String| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
            if value.as_ref().is_some_and(|text| !fits(text)) {
                self.problem(format!("{key}.{name}"), "must be an id, as the portal shows it");
            }
        }
        let authority = raw.authority.as_ref().map(|text| self.base(&format!("{key}.authority"), text));
        let client_secret = raw.client_secret.as_ref().map(|text| self.local(&format!("{key}.client_secret"), text));
        let federated_token = raw.federated_token.as_ref().map(|text| self.local(&format!("{key}.federated_token"), text));
        Some(Entra {
            kind: raw.kind,
            tenant_id: raw.tenant_id.clone(),
            client_id: raw.client_id.clone(),
            client_secret: client_secret.map_or(Some(None), |it| it.map(Some))?,
            federated_token: federated_token.map_or(Some(None), |it| it.map(Some))?,
            authority: authority.map_or(Some(None), |it| it.map(Some))?,
        })
    }
}
