//! Applications, which prove themselves to Entra ID with a client secret, with what the key of a certificate has signed or with a token of
//! somebody whom it trusts: OAuth 2.0 client credentials (RFC 6749, section 4.4; RFC 7523, section 2.2).

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{StatusCode, Url};
use url::form_urlencoded;

use super::assertion::assertion;
use super::certificate::{self, Certificate};
use super::exchange::{exchange, place};
use super::refusal::refusal;
use super::{Granted, Identity, Trouble, on_a_thread};
use crate::config::raw::EntraKind;
use crate::domain::secret::Secret;
use crate::domain::secret_ref::SecretRef;

const AUTHORITY: &str = "https://login.microsoftonline.com";
const NO_FEDERATED_TOKEN: &str = "federated_token is not set, and neither is the environment variable AZURE_FEDERATED_TOKEN_FILE; AKS sets it in pods with the label azure.workload.identity/use: \"true\"";
const NO_CERTIFICATE: &str = "certificate is not set, and neither is the environment variable AZURE_CLIENT_CERTIFICATE_PATH";
const PASSWORD: &str = "AZURE_CLIENT_CERTIFICATE_PASSWORD";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What an application shows.
pub(super) enum Proof {
    Secret(Secret),
    Assertion(Secret),
}

impl Identity {
    pub(super) async fn application(&self, scope: &str) -> Result<Granted, Trouble> {
        let url = self.endpoint_of_tenant(None)?;
        let name = format!("Entra ID ({})", place(&url));
        let (status, body) = self.prove(url, &name, &[("grant_type", "client_credentials"), ("scope", scope)]).await?;
        if status == StatusCode::OK { granted(&name, &body) } else { Err(refusal(&name, status, &body)) }
    }

    /// Asks the token endpoint, as the application.
    pub(super) async fn prove(&self, url: Url, name: &str, what: &[(&str, &str)]) -> Result<(StatusCode, Bytes), Trouble> {
        let client_id = self.id(self.settings.client_id.as_deref(), "client_id", "AZURE_CLIENT_ID")?;
        let form = form(client_id, &self.proof(&url, client_id).await?, what);
        let request = self.client.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        exchange(request.header(ACCEPT, "application/json").body(form), name).await
    }

    pub(super) fn endpoint_of_tenant(&self, tenant: Option<&str>) -> Result<Url, Trouble> {
        let tenant = self.id(tenant.or(self.settings.tenant_id.as_deref()), "tenant_id", "AZURE_TENANT_ID")?;
        let mut url = match &self.settings.authority {
            Some(authority) => authority.clone(),
            None => authority(self.variable("AZURE_AUTHORITY_HOST").unwrap_or(AUTHORITY))?,
        };
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend([tenant, "oauth2", "v2.0", "token"]);
        }
        Ok(url)
    }

    fn id<'a>(&'a self, configured: Option<&'a str>, key: &str, variable: &str) -> Result<&'a str, Trouble> {
        let missing = || Trouble::Wrong(format!("{key} is not set, and neither is the environment variable {variable}"));
        configured.or_else(|| self.variable(variable)).ok_or_else(missing)
    }

    /// Read each time: the kubelet renews a federated token, and somebody a certificate.
    async fn proof(&self, url: &Url, client_id: &str) -> Result<Proof, Trouble> {
        match self.settings.kind {
            EntraKind::WorkloadIdentity => {
                let configured = self.settings.federated_token.clone();
                let reference = configured.or_else(|| self.file("AZURE_FEDERATED_TOKEN_FILE"));
                let reference = reference.ok_or_else(|| Trouble::Wrong(NO_FEDERATED_TOKEN.into()))?;
                self.read(reference).await.map(Proof::Assertion)
            }
            EntraKind::ClientCertificate => self.signed(url, client_id).await.map(Proof::Assertion),
            EntraKind::ClientSecret | EntraKind::ManagedIdentity => {
                let configured = self.settings.client_secret.clone();
                self.read(configured.unwrap_or_else(|| SecretRef::Env("AZURE_CLIENT_SECRET".into()))).await.map(Proof::Secret)
            }
        }
    }

    /// An assertion that the certificate's key has signed.
    async fn signed(&self, url: &Url, client_id: &str) -> Result<Secret, Trouble> {
        let configured = self.settings.certificate.clone();
        let reference = configured.or_else(|| self.file("AZURE_CLIENT_CERTIFICATE_PATH"));
        let reference = reference.ok_or_else(|| Trouble::Wrong(NO_CERTIFICATE.into()))?;
        let password = self.settings.certificate_password.clone();
        let password = password.or_else(|| self.variable(PASSWORD).map(|_| SecretRef::Env(PASSWORD.into())));
        let password = match password {
            Some(reference) => Some(self.read(reference).await?),
            None => None,
        };
        let (environ, now) = (self.environ.clone(), self.clock.wall());
        let (url, client_id) = (url.clone(), client_id.to_owned());
        on_a_thread(move || {
            let of_it = |cause: String| format!("{reference}: {cause}");
            let bytes = certificate::load(&reference, &environ).map_err(of_it)?;
            let certificate = Certificate::read(&bytes, password.as_ref(), now).map_err(of_it)?;
            assertion(&certificate, &url, &client_id, now.as_secs()).ok_or_else(|| of_it("its key does not sign".into()))
        })
        .await
    }

    /// The file that a variable names.
    fn file(&self, variable: &str) -> Option<SecretRef> {
        Some(SecretRef::File(self.variable(variable)?.into()))
    }
}

fn form(client_id: &str, proof: &Proof, what: &[(&str, &str)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(what).append_pair("client_id", client_id);
    match proof {
        Proof::Secret(secret) => form.append_pair("client_secret", secret.reveal()),
        Proof::Assertion(jwt) => {
            form.append_pair("client_assertion_type", JWT_BEARER).append_pair("client_assertion", jwt.reveal())
        }
    };
    form.finish()
}

pub(super) fn granted(name: &str, body: &[u8]) -> Result<Granted, Trouble> {
    let malformed = || Trouble::Wrong(format!("{name} answers with something else than a token; look at authority"));
    Granted::parse(body).ok_or_else(malformed)
}

/// Of the environment, where it may be a bare host. Secrets go there, so plain HTTP is for this machine alone.
fn authority(text: &str) -> Result<Url, Trouble> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let is_safe = |url: &Url| match url.scheme() {
        "https" => url.has_host(),
        "http" => matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")),
        _ => false,
    };
    let url = Url::parse(&whole).ok().filter(is_safe);
    url.ok_or_else(|| Trouble::Wrong("the environment variable AZURE_AUTHORITY_HOST is not an https URL".into()))
}

#[cfg(test)]
mod tests {
    use super::authority;

    #[test]
    fn secrets_go_to_https_or_to_this_machine() {
        for good in ["login.microsoftonline.us", "https://login.microsoftonline.com/", "http://127.0.0.1:8080", "http://[::1]:1/"]
        {
            assert!(authority(good).is_ok(), "{good}");
        }
        for bad in ["", "http://login.microsoftonline.com", "http://127.0.0.1.evil.example", "ftp://localhost", "https://", "a b"]
        {
            assert!(authority(bad).is_err(), "{bad}");
        }
    }
}
