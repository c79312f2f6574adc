//! One request to Vault, and whether what comes back is an answer.

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde_json::{Map, Value};

use crate::config::load::Environ;
use crate::config::secrets::{self, is_this_machine};
use crate::domain::json::parse_strict;
use crate::domain::secret::Secret;
use crate::outbound::{self, BodyError, causes};
use crate::secrets::Unreadable;

const MAX_BODY: usize = 1024 * 1024;
/// Vault's own, beside those of HTTP: a secondary for disaster recovery, a performance standby.
const STANDBY: [u16; 2] = [472, 473];

/// Where Vault is, and the namespace in it.
pub(super) struct Api {
    client: Client,
    address: Url,
    namespace: Option<HeaderValue>,
}

/// What Vault says. Holds secrets, so it does not print.
pub(super) struct Answer {
    /// 2xx or 4xx.
    pub(super) status: StatusCode,
    /// Empty when a refusal has none that can be read.
    pub(super) body: Map<String, Value>,
}

impl Api {
    /// What the settings leave open is taken from the environment, as Vault's own tools do. The error is for the operator.
    pub(super) fn new(settings: &secrets::Vault, environ: &Environ, client: Client) -> Result<Self, String> {
        let variable = |name: &str| environ.get(name).map(String::as_str).filter(|text| !text.is_empty());
        let address = match (&settings.address, variable("VAULT_ADDR")) {
            (Some(address), _) => address.clone(),
            (None, Some(text)) => address(text).ok_or(
                "VAULT_ADDR has to be an https URL, for example https://vault.example.com:8200; http is for this machine alone",
            )?,
            (None, None) => return Err("nothing says where Vault is; set secrets.vault.address or VAULT_ADDR".into()),
        };
        let namespace = settings.namespace.as_deref().or_else(|| variable("VAULT_NAMESPACE")).map(HeaderValue::try_from);
        let namespace = namespace.transpose().map_err(|_| "VAULT_NAMESPACE has characters that no namespace has")?;
        Ok(Self { client, address, namespace })
    }

    /// `path` is what comes after `/v1/`.
    pub(super) async fn get(&self, path: &str, token: &Secret) -> Result<Answer, Unreadable> {
        self.exchange(self.client.get(self.url(path)), Some(token)).await
    }

    /// The same with a body. Without a token it is a login.
    pub(super) async fn post(&self, path: &str, body: &Value, token: Option<&Secret>) -> Result<Answer, Unreadable> {
        let request = self.client.post(self.url(path)).header(CONTENT_TYPE, "application/json").body(body.to_string());
        self.exchange(request, token).await
    }

    /// Each step is percent-encoded.
    fn url(&self, path: &str) -> Url {
        let mut url = self.address.clone();
        if let Ok(mut steps) = url.path_segments_mut() {
            steps.pop_if_empty().push("v1").extend(path.split('/'));
        }
        url
    }

    /// As the operator writes it.
    fn name(&self) -> &str {
        self.address.as_str().trim_end_matches('/')
    }

    async fn exchange(&self, mut request: RequestBuilder, token: Option<&Secret>) -> Result<Answer, Unreadable> {
        // An agent or proxy of Vault's may refuse requests without it: they could be forged through another service.
        request = request.header("X-Vault-Request", "true").header(ACCEPT, "application/json");
        if let Some(namespace) = &self.namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        if let Some(token) = token {
            request = request.header("X-Vault-Token", header(token)?);
        }
        let response = send(request).await.map_err(|error| self.unreached(error))?;
        let status = response.status();
        if let Some(cause) = unavailable(status) {
            return Err(Unreadable::Away(format!("{} {cause} (status {})", self.name(), status.as_u16())));
        }
        match parse_strict(&self.body(response).await?) {
            Ok(Value::Object(body)) => Ok(Answer { status, body }),
            _ if status.is_client_error() => Ok(Answer { status, body: Map::new() }),
            _ => Err(Unreadable::Away(format!("{} does not answer as Vault does; check secrets.vault.address", self.name()))),
        }
    }

    fn unreached(&self, error: reqwest::Error) -> Unreadable {
        let error = error.without_url();
        Unreadable::Away(format!(
            "{} cannot be reached: {}; check secrets.vault.address, the network and, with an authority of your own, SSL_CERT_FILE",
            self.name(),
            causes(&error)
        ))
    }

    async fn body(&self, response: Response) -> Result<Bytes, Unreadable> {
        outbound::body(reqwest::Body::from(response), MAX_BODY).await.map_err(|error| {
            Unreadable::Away(match error {
                BodyError::TooLarge(_) => format!("{} answers with more than 1 MiB; check secrets.vault.address", self.name()),
                BodyError::Broken(_) => format!("the answer of {} broke off", self.name()),
            })
        })
    }
}

async fn send(request: RequestBuilder) -> Result<Response, reqwest::Error> {
    let again = request.try_clone();
    match (request.send().await, again) {
        // Most often the server has just closed a connection that was idle, and to ask again does no harm.
        (Err(error), Some(again)) if error.is_request() && !error.is_timeout() && !error.is_connect() => again.send().await,
        (outcome, _) => outcome,
    }
}

fn address(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_safe = url.scheme() == "https" || url.scheme() == "http" && is_this_machine(&url);
    let is_bare = url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    (is_safe && is_bare).then_some(url)
}

fn header(token: &Secret) -> Result<HeaderValue, Unreadable> {
    let mut value = HeaderValue::try_from(token.reveal()).map_err(|_| {
        Unreadable::Wrong("the token for Vault has characters that no token has; it was cut or pasted wrongly".into())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Why Vault cannot answer now (api-docs, "HTTP status codes"), and what to do if it stays so.
fn unavailable(status: StatusCode) -> Option<&'static str> {
    match status {
        StatusCode::SERVICE_UNAVAILABLE => Some("is sealed or being maintained; unseal it"),
        StatusCode::TOO_MANY_REQUESTS => Some("has had too many requests; raise its rate limit quota, or secrets.poll_seconds"),
        StatusCode::PRECONDITION_FAILED | StatusCode::REQUEST_TIMEOUT => Some("is not ready for this yet"),
        other if STANDBY.contains(&other.as_u16()) => Some("is a standby; name the active node or its load balancer"),
        other if other.is_redirection() => Some("sends elsewhere; name the active node or its load balancer"),
        other if other.is_server_error() => Some("fails; its own log says why"),
        other if other.is_informational() => Some("does not answer as Vault does; check secrets.vault.address"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn the_variable_names_a_vault_that_no_one_can_listen_to() {
        for good in
            ["https://vault.example.com:8200", "https://vault.example.com/proxy/", "http://127.0.0.1:8200", "http://[::1]:1"]
        {
            assert!(address(good).is_some(), "{good}");
        }
        for bad in [
            "vault.example.com",
            "http://vault.example.com",
            "ftp://127.0.0.1",
            "https://a:b@vault.example.com",
            "https://v/?a",
            "",
        ] {
            assert!(address(bad).is_none(), "{bad}");
        }
    }
}
