//! Applications, which prove themselves to Entra ID with a client secret or with a token of somebody whom it trusts: OAuth 2.0 client
//! credentials (RFC 6749, section 4.4; RFC 7523, section 2.2).

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{StatusCode, Url};
use url::form_urlencoded;

use super::exchange::{exchange, place};
use super::refusal::refusal;
use super::{Granted, Identity, Trouble};
use crate::config::raw::EntraKind;
use crate::domain::secret::Secret;
use crate::domain::secret_ref::SecretRef;

const AUTHORITY: &str = "https://login.microsoftonline.com";
const NO_FEDERATED_TOKEN: &str = "federated_token is not set, and neither is the environment variable AZURE_FEDERATED_TOKEN_FILE; AKS sets it in pods with the label azure.workload.identity/use: \"true\"";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

impl Identity {
    pub(super) async fn application(&self, scope: &str) -> Result<Granted, Trouble> {
        let url = self.endpoint_of_tenant()?;
        let client_id = self.id(self.settings.client_id.as_deref(), "client_id", "AZURE_CLIENT_ID")?;
        // Read each time: the kubelet renews a federated token.
        let proof = self.read(self.proof()?).await?;
        let name = format!("Entra ID ({})", place(&url));
        let request = self.client.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request.header(ACCEPT, "application/json").body(self.form(client_id, &proof, scope));
        let (status, body) = exchange(request, &name).await?;
        if status == StatusCode::OK {
            let malformed = || Trouble::Wrong(format!("{name} answers with something else than a token; look at authority"));
            return Granted::parse(&body).ok_or_else(malformed);
        }
        Err(refusal(&name, status, &body))
    }

    fn form(&self, client_id: &str, proof: &Secret, scope: &str) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials").append_pair("client_id", client_id).append_pair("scope", scope);
        if self.settings.kind == EntraKind::WorkloadIdentity {
            form.append_pair("client_assertion_type", JWT_BEARER).append_pair("client_assertion", proof.reveal());
        } else {
            form.append_pair("client_secret", proof.reveal());
        }
        form.finish()
    }

    fn endpoint_of_tenant(&self) -> Result<Url, Trouble> {
        let tenant = self.id(self.settings.tenant_id.as_deref(), "tenant_id", "AZURE_TENANT_ID")?;
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

    /// Where that is which the application proves itself with.
    fn proof(&self) -> Result<SecretRef, Trouble> {
        if self.settings.kind != EntraKind::WorkloadIdentity {
            let configured = self.settings.client_secret.clone();
            return Ok(configured.unwrap_or_else(|| SecretRef::Env("AZURE_CLIENT_SECRET".into())));
        }
        let configured = self.settings.federated_token.clone();
        let reference = configured.or_else(|| Some(SecretRef::File(self.variable("AZURE_FEDERATED_TOKEN_FILE")?.into())));
        reference.ok_or_else(|| Trouble::Wrong(NO_FEDERATED_TOKEN.into()))
    }
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
