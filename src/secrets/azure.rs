//! Azure Key Vault: `GET /secrets/{name}`.

use std::sync::Arc;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;

use super::{Found, Unreadable, local, secret_in};
use crate::config::load::Environ;
use crate::config::secrets;
use crate::domain::clock::SystemClock;
use crate::domain::secret::Secret;
use crate::entra::{Tokens, Trouble, exchange, is_passing, place};

const API_VERSION: &str = "7.4";
/// Azure's clouds, by the end of their vaults' hosts. Any other host is taken for one of the first.
const CLOUDS: [&str; 3] = ["vault.azure.net", "vault.usgovcloudapi.net", "vault.azure.cn"];

/// A way to all vaults.
pub(super) struct KeyVault {
    /// `{vault}` stands for the vault's name.
    url: String,
    client: Client,
    tokens: Tokens,
}

impl From<Trouble> for Unreadable {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Wrong(cause) => Self::Wrong(cause),
            Trouble::Away(cause) => Self::Away(cause),
        }
    }
}

impl KeyVault {
    pub(super) fn new(settings: &secrets::Azure, environ: &Arc<Environ>, client: Client) -> Self {
        let read = |reference: &_, environ: &_| local::read(reference, environ).map(|found| found.secret);
        let scope = scope(&settings.vault_url);
        let tokens = Tokens::new(&settings.credential, scope, environ, client.clone(), read, SystemClock::shared());
        Self { url: settings.vault_url.clone(), client, tokens }
    }

    pub(super) async fn read(&self, vault: &str, name: &str) -> Result<Found, Unreadable> {
        let url = secret_url(&self.url, vault, name).ok_or_else(|| Unreadable::Wrong("vault_url is not a URL".into()))?;
        let key_vault = format!("Key Vault ({})", place(&url));
        let token = self.tokens.token().await?;
        let unfit = |_| Unreadable::Wrong("Entra ID gave an access token that does not fit into a header".into());
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.reveal())).map_err(unfit)?;
        bearer.set_sensitive(true);
        let (status, body) = exchange(self.client.get(url).header(AUTHORIZATION, bearer), &key_vault).await?;
        if status == StatusCode::OK {
            return found(&body, &key_vault);
        }
        if status == StatusCode::UNAUTHORIZED {
            self.tokens.forget();
        }
        Err(refusal(&key_vault, status, &body))
    }
}

/// What a token has to be for.
fn scope(vault_url: &str) -> String {
    let host = secret_url(vault_url, "vault", "name").and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let [public, ..] = CLOUDS;
    let cloud = CLOUDS.into_iter().find(|cloud| host.strip_suffix(cloud).is_some_and(|name| name.ends_with('.')));
    format!("https://{}/.default", cloud.unwrap_or(public))
}

fn secret_url(vault_url: &str, vault: &str, name: &str) -> Option<Url> {
    let mut url = Url::parse(&vault_url.replace("{vault}", vault)).ok()?;
    url.path_segments_mut().ok()?.pop_if_empty().extend(["secrets", name]);
    url.query_pairs_mut().append_pair("api-version", API_VERSION);
    Some(url)
}

/// `SecretBundle` of the REST API.
#[derive(Deserialize)]
struct Bundle {
    value: String,
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Default, Deserialize)]
struct Attributes {
    enabled: Option<bool>,
    /// Of this version, seconds since 1970.
    created: Option<u64>,
}

fn found(body: &[u8], key_vault: &str) -> Result<Found, Unreadable> {
    let malformed = |_| Unreadable::Wrong(format!("{key_vault} answers with something else than a secret; look at vault_url"));
    let Bundle { value, attributes } = serde_json::from_slice(body).map_err(malformed)?;
    let value = Secret::from(value);
    if attributes.enabled == Some(false) {
        return Err(Unreadable::Wrong(DISABLED.into()));
    }
    let secret = secret_in(value.reveal()).map_err(|cause| Unreadable::Wrong(cause.into()))?;
    Ok(Found { secret, made_at: attributes.created })
}

const DISABLED: &str = "is disabled at Key Vault; enable the newest version, or make a new one";

/// `{"error": {"code": .., "message": .., "innererror": {"code": ..}}}`
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    error: ProblemError,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ProblemError {
    code: String,
    /// Names callers and addresses; only searched for a number.
    message: String,
    #[serde(alias = "innerError")]
    innererror: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    code: String,
}

/// "Azure Key Vault REST API error codes".
fn refusal(key_vault: &str, status: StatusCode, body: &[u8]) -> Unreadable {
    let Problem { error } = serde_json::from_slice(body).unwrap_or_default();
    let inner = error.innererror.map(|inner| inner.code).unwrap_or_default();
    let cure = match (status.as_u16(), error.code.as_str(), inner.as_str()) {
        _ if is_passing(status) => return Unreadable::Away(format!("{key_vault} answers with status {}", status.as_u16())),
        (401, ..) if error.message.contains("AKV10032") => {
            "belongs to another directory than the identity (AKV10032); look at tenant_id"
        }
        (401, ..) => "refuses the access token; vault_url and authority have to be of the same cloud",
        (403, _, "SecretDisabled") => return Unreadable::Wrong(DISABLED.into()),
        (403, _, "ForbiddenByFirewall") => {
            "is closed to this address by its firewall; allow the address, or use a private endpoint"
        }
        (403, _, "ForbiddenByConnection") => "is closed to this connection; its name has to lead to its private endpoint",
        (403, _, "ForbiddenByRbac") => {
            "does not let the identity read secrets; give it the role \"Key Vault Secrets User\" on the vault, and a few minutes"
        }
        (403, _, "AccessDenied") => {
            "does not let the identity read secrets; give it the permission Get for secrets in the vault's access policies"
        }
        (403, ..) => {
            "does not let the identity read secrets; give it the role \"Key Vault Secrets User\", or Get in the vault's access policies"
        }
        (404, "SecretNotFound", _) => "has no secret of this name",
        _ => return Unreadable::Wrong(format!("{key_vault} answers with status {}; look at vault_url", status.as_u16())),
    };
    Unreadable::Wrong(format!("{key_vault} {cure}"))
}

#[cfg(test)]
mod tests {
    use super::{found, scope};

    /// The age of a key counts from then.
    #[test]
    fn a_secret_is_as_old_as_its_version() {
        let body = br#"{"value": "sk-proj-a\n", "attributes": {"enabled": true, "created": 1493938410, "updated": 1493938499}}"#;
        let found = found(body, "Key Vault").unwrap();
        assert_eq!((found.secret.reveal(), found.made_at), ("sk-proj-a", Some(1_493_938_410)));
        assert_eq!(super::found(br#"{"value": "a"}"#, "Key Vault").unwrap().made_at, None);
    }

    #[test]
    fn a_token_is_for_the_vault_s_cloud() {
        for (vault_url, resource) in [
            ("https://{vault}.vault.azure.net", "https://vault.azure.net"),
            ("https://{vault}.vault.usgovcloudapi.net", "https://vault.usgovcloudapi.net"),
            ("https://{vault}.vault.azure.cn", "https://vault.azure.cn"),
            ("https://{vault}.vault.azure.cn.example.com", "https://vault.azure.net"),
            ("https://evilvault.azure.cn/{vault}", "https://vault.azure.net"),
            ("http://127.0.0.1:8080/{vault}", "https://vault.azure.net"),
        ] {
            assert_eq!(scope(vault_url), format!("{resource}/.default"), "{vault_url}");
        }
    }
}
