//! Secret managers.

mod aws;
mod azure;
mod vault;

use std::time::Duration;

use url::Url;

use super::Check;
use crate::config::raw::RawSecrets;
use crate::config::secrets::{Gcp, Secrets, is_this_machine};
use crate::domain::secret_ref::SecretRef;

impl Check<'_> {
    pub(super) fn secrets(&mut self, raw: &RawSecrets) -> Option<Secrets> {
        let poll = Duration::from_secs(self.range("secrets.poll_seconds", raw.poll_seconds, 5, 86_400));
        let vault = self.vault(&raw.vault);
        let aws = self.aws(&raw.aws);
        let gcp = self.base("secrets.gcp.endpoint", &raw.gcp.endpoint).map(|endpoint| Gcp { endpoint });
        let azure = self.key_vault(&raw.azure);
        Some(Secrets { poll, vault: vault?, aws: aws?, azure: azure?, gcp: gcp? })
    }

    /// Where a manager is. Secrets come from there, so plain HTTP is for this machine alone: for an agent beside this process, in prod too.
    pub(super) fn base(&mut self, key: &str, text: &str) -> Option<Url> {
        let url = self.any_url(key, text)?;
        if url.scheme() == "http" && !is_this_machine(&url) {
            self.problem(key, "plain http would show the secrets on their way; use https");
            return None;
        }
        Some(url)
    }

    /// A reference that can be read before any manager is reached.
    pub(super) fn local(&mut self, key: &str, text: &str) -> Option<SecretRef> {
        let reference = SecretRef::parse(text).map_err(|cause| self.problem(key, cause)).ok()?;
        if reference.is_remote() {
            self.problem(
                key,
                "must be env:// or file://: a secret manager cannot be reached with what only a secret manager knows",
            );
            return None;
        }
        Some(reference)
    }
}
