//! Upstreams, and how Ephemint proves itself to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use url::{Host, Url};

use super::Check;
use super::azure::malformed_azure_key;
use crate::config::raw::{CredentialKind, RawCredential, RawSubject, RawUpstream, RotateOn, SubjectKind, UpstreamKind};
use crate::config::secrets::is_this_machine;
use crate::config::{Credential, Environment, FirstKey, Keys, Subject, Upstream, Workload};

const BASE_URL: &str = "https://api.openai.com/v1";
const MOST_KEYS: usize = 8;
const A_DAY: u64 = 86_400;
const AUTH_URL: &str = "https://auth.openai.com/oauth/token";
const AUDIENCE: &str = "https://api.openai.com/v1";
const SERVICE_ACCOUNT: &str = "file:///var/run/secrets/openai.com/serviceaccount/token";
const AZURE_METADATA: &str = "http://169.254.169.254";
const GOOGLE_METADATA: &str = "http://metadata.google.internal";

impl Check<'_> {
    pub(super) fn upstreams(&mut self, raw: &BTreeMap<String, RawUpstream>) -> BTreeMap<String, Arc<Upstream>> {
        if raw.is_empty() {
            self.problem(
                "upstreams",
                "add one, for example [upstreams.openai] credential = { kind = \"api_key\", keys = [\"env://OPENAI_API_KEY\"] }",
            );
        }
        raw.iter().filter_map(|(name, entry)| Some((name.clone(), Arc::new(self.upstream(name, entry)?)))).collect()
    }

    fn upstream(&mut self, name: &str, raw: &RawUpstream) -> Option<Upstream> {
        let key = format!("upstreams.{name}");
        self.name(&key, name);
        let dialect = self.dialect(&key, raw);
        let base_key = format!("{key}.base_url");
        let base_url = match raw.kind {
            UpstreamKind::Openai => self.url(&base_key, raw.base_url.as_deref().unwrap_or(BASE_URL)),
            UpstreamKind::Azure => self.azure_base(&base_key, raw.base_url.as_deref(), dialect.as_ref()),
        };
        for (field, value) in [("organization", &raw.organization), ("project", &raw.project)] {
            if value.as_ref().is_some_and(|text| !is_visible(text)) {
                self.problem(
                    format!("{key}.{field}"),
                    "must be visible ASCII without spaces, as the provider's settings page shows it",
                );
            }
        }
        let credential = self.credential(&format!("{key}.credential"), raw.kind, &raw.credential);
        let timeout = self.range(&format!("{key}.timeout_seconds"), raw.timeout_seconds, 1, 60);
        let max_attempts = self.range(&format!("{key}.max_attempts"), raw.max_attempts, 1, 10);
        Some(Upstream {
            name: name.to_owned(),
            dialect: dialect?,
            base_url: base_url?.as_str().trim_end_matches('/').to_owned(),
            organization: raw.organization.clone(),
            project: raw.project.clone(),
            credential: credential?,
            timeout: Duration::from_secs(timeout),
            max_attempts: u32::try_from(max_attempts).ok()?,
        })
    }

    fn credential(&mut self, key: &str, upstream: UpstreamKind, raw: &RawCredential) -> Option<Credential> {
        self.fields_of_kind(key, upstream, raw);
        match (upstream, raw.kind, raw.kind.entra()) {
            (UpstreamKind::Azure, CredentialKind::OnBehalfOf, _) => {
                Some(Credential::OnBehalf(Box::new(self.on_behalf(key, raw)?)))
            }
            (UpstreamKind::Openai, CredentialKind::OnBehalfOf, _) => self.not_for_openai(key),
            (_, CredentialKind::ApiKey, _) | (_, _, None) => self.keys(key, upstream, raw).map(Credential::Keys),
            (UpstreamKind::Openai, CredentialKind::WorkloadIdentity, _) => {
                Some(Credential::Workload(Box::new(self.workload(key, raw)?)))
            }
            (UpstreamKind::Openai, ..) => self.not_for_openai(key),
            (UpstreamKind::Azure, _, Some(kind)) => Some(Credential::Entra(Box::new(self.entra_token(key, kind, raw)?))),
        }
    }

    fn not_for_openai(&mut self, key: &str) -> Option<Credential> {
        self.problem(format!("{key}.kind"), "is for upstreams of kind \"azure\"; set api_key or workload_identity");
        None
    }

    /// What is given has to be for this kind of credential at this kind of upstream; which way of Entra ID, is looked at there.
    fn fields_of_kind(&mut self, key: &str, upstream: UpstreamKind, raw: &RawCredential) {
        let (is_azure, kind) = (upstream == UpstreamKind::Azure, raw.kind);
        let is_key = kind == CredentialKind::ApiKey;
        let is_exchange = kind == CredentialKind::WorkloadIdentity && !is_azure;
        let is_entra = is_azure && !is_key;
        let given = [
            ("keys", !raw.keys.is_empty(), is_key),
            ("rotate_on", !raw.rotate_on.is_empty(), is_key),
            ("identity_provider_id", raw.identity_provider_id.is_some(), is_exchange),
            ("service_account_id", raw.service_account_id.is_some(), is_exchange),
            ("subject", raw.subject.is_some(), is_exchange),
            ("auth_url", raw.auth_url.is_some(), is_exchange),
            ("tenant_id", raw.tenant_id.is_some(), is_entra),
            ("client_id", raw.client_id.is_some(), is_entra),
            ("object_id", raw.object_id.is_some(), is_entra),
            ("resource_id", raw.resource_id.is_some(), is_entra),
            ("client_secret", raw.client_secret.is_some(), is_entra),
            ("certificate", raw.certificate.is_some(), is_entra),
            ("certificate_password", raw.certificate_password.is_some(), is_entra),
            ("federated_token", raw.federated_token.is_some(), is_entra),
            ("authority", raw.authority.is_some(), is_entra),
            ("scope", raw.scope.is_some(), is_entra),
        ];
        for (name, ..) in given.into_iter().filter(|(_, is_given, fits)| *is_given && !fits) {
            self.problem(format!("{key}.{name}"), "is for another kind of credential; set kind, or leave it out");
        }
    }

    fn keys(&mut self, key: &str, upstream: UpstreamKind, raw: &RawCredential) -> Option<Keys> {
        if raw.keys.is_empty() {
            self.problem(format!("{key}.keys"), "name at least one key, for example keys = [\"env://OPENAI_API_KEY\"]");
        }
        if raw.keys.len() > MOST_KEYS {
            self.problem(
                format!("{key}.keys"),
                format!("has more than {MOST_KEYS} keys; a primary and a fallback are enough to rotate"),
            );
        }
        let keys: Vec<_> = raw
            .keys
            .iter()
            .enumerate()
            .map(|(i, text)| self.permanent_key(&format!("{key}.keys[{i}]"), upstream, text))
            .collect();
        let days = self.range(&format!("{key}.warn_after_days"), raw.warn_after_days, 0, 3650);
        Some(Keys {
            keys: keys.into_iter().collect::<Option<_>>()?,
            rotate_on_rate_limit: raw.rotate_on.contains(&RotateOn::RateLimit),
            verify: raw.verify,
            warn_after: (days > 0).then(|| Duration::from_secs(days * A_DAY)),
        })
    }

    fn permanent_key(&mut self, key: &str, upstream: UpstreamKind, text: &str) -> Option<FirstKey> {
        let named = self.secret(key, text)?;
        match malformed_key(upstream == UpstreamKind::Azure, named.secret.reveal()) {
            None => Some(FirstKey::new(named)),
            Some(cause) => {
                self.problem(key, format!("{}: {cause}", named.reference));
                None
            }
        }
    }

    fn workload(&mut self, key: &str, raw: &RawCredential) -> Option<Workload> {
        let mut id = |name: &str, text: Option<&String>| {
            let good = text.filter(|text| is_visible(text)).cloned();
            if good.is_none() {
                self.problem(
                    format!("{key}.{name}"),
                    "copy it from the organization's settings, where the identity provider is set up",
                );
            }
            good
        };
        let identity_provider_id = id("identity_provider_id", raw.identity_provider_id.as_ref());
        let service_account_id = id("service_account_id", raw.service_account_id.as_ref());
        let auth_url_key = format!("{key}.auth_url");
        let auth_url = self.base(&auth_url_key, raw.auth_url.as_deref().unwrap_or(AUTH_URL));
        if self.environment == Environment::Prod && auth_url.as_ref().is_some_and(|url| url.scheme() == "http") {
            self.problem(auth_url_key, "plain http is refused in prod; use https");
        }
        let subject = self.subject(&format!("{key}.subject"), raw.subject.as_ref().unwrap_or(&RawSubject::default()));
        Some(Workload {
            auth_url: auth_url?,
            identity_provider_id: identity_provider_id?,
            service_account_id: service_account_id?,
            subject: subject?,
        })
    }

    fn subject(&mut self, key: &str, raw: &RawSubject) -> Option<Subject> {
        let is_metadata = matches!(raw.kind, SubjectKind::Azure | SubjectKind::Google);
        let misplaced = [
            ("token", raw.token.is_some() && is_metadata),
            ("audience", raw.audience.is_some() && !is_metadata),
            ("endpoint", raw.endpoint.is_some() && !is_metadata),
            ("client_id", raw.client_id.is_some() && raw.kind != SubjectKind::Azure),
        ];
        for (name, _) in misplaced.into_iter().filter(|(_, is_misplaced)| *is_misplaced) {
            self.problem(format!("{key}.{name}"), "is for another kind of subject; set kind, or leave it out");
        }
        let audience = raw.audience.clone().unwrap_or_else(|| AUDIENCE.to_owned());
        if !is_visible(&audience) || raw.client_id.as_ref().is_some_and(|id| !is_visible(id)) {
            self.problem(key, "audience and client_id are visible ASCII without spaces");
        }
        // Metadata services speak plain HTTP on a link that does not leave the machine.
        let mut endpoint = |default: &str| {
            let text = raw.endpoint.as_deref().unwrap_or(default);
            let url = self.any_url(&format!("{key}.endpoint"), text)?;
            if url.scheme() == "http" && !is_this_machine(&url) && !is_metadata_service(&url) {
                self.problem(
                    format!("{key}.endpoint"),
                    "plain http is for the platform's own metadata service (169.254.0.0/16, metadata.google.internal) and this machine",
                );
                return None;
            }
            Some(url)
        };
        match raw.kind {
            SubjectKind::Azure => {
                Some(Subject::Azure { endpoint: endpoint(AZURE_METADATA)?, audience, client_id: raw.client_id.clone() })
            }
            SubjectKind::Google => Some(Subject::Google { endpoint: endpoint(GOOGLE_METADATA)?, audience }),
            SubjectKind::Kubernetes => {
                self.local(&format!("{key}.token"), raw.token.as_deref().unwrap_or(SERVICE_ACCOUNT)).map(Subject::Token)
            }
            SubjectKind::File => {
                let Some(text) = &raw.token else {
                    self.problem(format!("{key}.token"), "name the file that holds the token, for example \"file:///run/token\"");
                    return None;
                };
                self.local(&format!("{key}.token"), text).map(Subject::Token)
            }
        }
    }
}

fn is_metadata_service(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "metadata.google.internal",
        Some(Host::Ipv4(ip)) => ip.is_link_local(),
        _ => false,
    }
}

fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Why a text cannot be a permanent key of an Azure resource, or of `OpenAI`. Prefixes: platform.openai.com shows `sk-proj-`, `sk-svcacct-`,
/// `sk-admin-`, older `sk-`.
pub(crate) fn malformed_key(is_azure: bool, key: &str) -> Option<&'static str> {
    if is_azure {
        return malformed_azure_key(key);
    }
    if key.starts_with("sk-admin-") {
        return Some(
            "is an admin key (sk-admin-), which cannot mint and could do far more harm if lost; create a project key (sk-proj-) or a service-account key (sk-svcacct-)",
        );
    }
    if key.starts_with("ek_") {
        return Some("is an ephemeral client secret (ek_), which expires within hours; a permanent key begins with sk-");
    }
    if !key.starts_with("sk-") || key.len() < 7 {
        return Some("is not an OpenAI key; a permanent key begins with sk-");
    }
    (!key.bytes().all(|b| b.is_ascii_graphic()))
        .then_some("holds spaces, line breaks or other characters that no key has; it was probably cut or pasted wrongly")
}

/// Whether a key is of a user and not of a project: `OpenAI` makes no such keys any more, and they end with their user's membership.
pub(crate) fn is_legacy_key(key: &str) -> bool {
    !["sk-proj-", "sk-svcacct-"].iter().any(|prefix| key.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::{is_legacy_key, malformed_key};

    #[test]
    fn keys_that_cannot_mint_are_told_apart() {
        for (good, is_legacy) in [("sk-proj-abc", false), ("sk-svcacct-abc", false), ("sk-abcdef", true), ("sk-None-abc", true)] {
            assert_eq!(malformed_key(false, good), None, "{good}");
            assert_eq!(is_legacy_key(good), is_legacy, "{good}");
        }
        for (bad, word) in [
            ("sk-admin-abc", "admin"),
            ("ek_abc", "ephemeral"),
            ("sk-", "begins"),
            ("AIza", "begins"),
            ("sk-proj-a b", "spaces"),
            ("sk-proj-a\nb", "spaces"),
        ] {
            assert!(malformed_key(false, bad).is_some_and(|cause| cause.contains(word)), "{bad}");
        }
    }
}
