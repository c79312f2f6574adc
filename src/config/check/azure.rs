//! Azure OpenAI: the forms of its addresses and keys.

use url::Url;

use super::Check;
use crate::config::Dialect;
use crate::config::raw::{EntraKind, RawCredential, RawUpstream, UpstreamKind};
use crate::config::upstream::EntraToken;

/// What a token is for unless it is said: accepted by all of Azure's AI endpoints.
const SCOPE: &str = "https://cognitiveservices.azure.com/.default";
/// What resources' hosts end with.
const CLOUDS: [&str; 6] = [
    ".openai.azure.com",
    ".services.ai.azure.com",
    ".cognitiveservices.azure.com",
    ".openai.azure.us",
    ".cognitiveservices.azure.us",
    ".openai.azure.cn",
];
const RESOURCE: &str = "https://RESOURCE.openai.azure.com";

impl Check<'_> {
    pub(super) fn dialect(&mut self, key: &str, raw: &RawUpstream) -> Option<Dialect> {
        let is_azure = raw.kind == UpstreamKind::Azure;
        for (name, is_given) in [("api_version", raw.api_version.is_some()), ("region", raw.region.is_some())] {
            if is_given && !is_azure {
                self.problem(format!("{key}.{name}"), "is for kind = \"azure\"; leave it out");
            }
        }
        for (name, is_given) in [("organization", raw.organization.is_some()), ("project", raw.project.is_some())] {
            if is_given && is_azure {
                self.problem(format!("{key}.{name}"), "is for kind = \"openai\"; leave it out");
            }
        }
        match (&raw.api_version, &raw.region) {
            _ if !is_azure => Some(Dialect::OpenAi),
            (None, None) => Some(Dialect::Azure),
            (None, Some(_)) => {
                self.problem(format!("{key}.region"), "is for api_version; without that, browsers connect at base_url");
                None
            }
            (Some(_), None) => {
                self.problem(
                    format!("{key}.region"),
                    "name the resource's region, for example \"swedencentral\": with api_version, browsers connect there",
                );
                None
            }
            (Some(version), Some(region)) => self.preview(key, version, region),
        }
    }

    fn preview(&mut self, key: &str, version: &str, region: &str) -> Option<Dialect> {
        let is_version = version.len() <= 32 && version.starts_with("20") && is_word(version, b"-");
        if !is_version {
            self.problem(format!("{key}.api_version"), "must be a version, for example \"2025-04-01-preview\"; v1 needs none");
        }
        let is_region = region.len() <= 32 && is_word(region, b"");
        if !is_region {
            self.problem(
                format!("{key}.region"),
                "must be a region as Azure writes it, for example \"swedencentral\" or \"eastus2\"",
            );
        }
        let preview = Dialect::AzurePreview { session_query: format!("?api-version={version}"), region: region.to_owned() };
        (is_version && is_region).then_some(preview)
    }

    /// The base of the API. Its resource's endpoint, as the portal shows it, is enough.
    pub(super) fn azure_base(&mut self, key: &str, text: Option<&str>, dialect: Option<&Dialect>) -> Option<Url> {
        let Some(text) = text else {
            self.problem(key, format!("name the resource's endpoint, for example \"{RESOURCE}/openai/v1\""));
            return None;
        };
        let mut url = self.url(key, text)?;
        let path = url.path().trim_end_matches('/').to_owned();
        let is_preview = dialect.is_some_and(Dialect::is_preview);
        let whole = match (path.as_str(), is_preview) {
            ("" | "/openai", false) => "/openai/v1",
            ("" | "/openai/v1", true) => "/openai",
            (path, _) => path,
        };
        url.set_path(whole);
        let is_resource = url.host_str().is_some_and(|host| CLOUDS.iter().any(|cloud| host.ends_with(cloud)));
        if is_resource && whole != if is_preview { "/openai" } else { "/openai/v1" } {
            self.problem(
                key,
                format!("is not the resource's endpoint; cut it behind the host, or write \"{RESOURCE}/openai/v1\""),
            );
            return None;
        }
        Some(url)
    }

    /// The application proves itself with what is given; a secret where nothing is.
    pub(super) fn on_behalf(&mut self, key: &str, raw: &RawCredential) -> Option<EntraToken> {
        let given = [&raw.client_secret, &raw.certificate, &raw.federated_token].into_iter().flatten().count();
        if given > 1 {
            self.problem(
                key,
                "proves the application in more than one way; give one of client_secret, certificate and federated_token",
            );
            return None;
        }
        let kind = match (&raw.certificate, &raw.federated_token) {
            (Some(_), _) => EntraKind::ClientCertificate,
            (None, Some(_)) => EntraKind::WorkloadIdentity,
            (None, None) => EntraKind::ClientSecret,
        };
        self.entra_token(key, kind, raw)
    }

    pub(super) fn entra_token(&mut self, key: &str, kind: EntraKind, raw: &RawCredential) -> Option<EntraToken> {
        let scope = raw.scope.as_deref().unwrap_or(SCOPE);
        let is_scope =
            scope.strip_suffix("/.default").and_then(|it| Url::parse(it).ok()).is_some_and(|it| it.scheme() == "https");
        if !is_scope {
            self.problem(format!("{key}.scope"), format!("must be a resource and /.default, for example \"{SCOPE}\""));
        }
        let identity = self.entra(key, &raw.entra(kind))?;
        is_scope.then(|| EntraToken { identity, scope: scope.to_owned() })
    }
}

fn is_word(text: &str, also: &[u8]) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || also.contains(&b))
}

/// Why a text cannot be a key of an Azure resource: 32 hexadecimal digits, or the 84 letters and digits of newer ones.
pub(super) fn malformed_azure_key(key: &str) -> Option<&'static str> {
    if key.starts_with("sk-") {
        return Some("is a key of OpenAI's own (sk-); copy key 1 or key 2 of the Azure resource");
    }
    let fits = (16..=256).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    (!fits).then_some("is not a key of an Azure resource; copy key 1 or key 2 from its page, whole and without line breaks")
}
