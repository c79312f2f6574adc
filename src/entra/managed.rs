//! Managed identities: of App Service, Functions and Container Apps, which name their endpoint in the environment, and of virtual machines
//! by the instance metadata service (IMDS).

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderValue;
use reqwest::{StatusCode, Url};
use tokio::time::sleep;

use super::exchange::{exchange, is_passing, place};
use super::{Granted, Identity, Trouble};

/// Where every machine at Azure finds IMDS. The variable moves it, as in Azure's SDKs.
const IMDS: &str = "http://169.254.169.254";
const IMDS_VARIABLE: &str = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
const IMDS_VERSION: &str = "2018-02-01";
const APP_SERVICE_VERSION: &str = "2019-08-01";
/// Between attempts while an endpoint is updating or busy: together less than half of what the reading of a secret may take.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

const ELSEWHERE: &str = "where there is no managed identity, as beyond Azure, set another kind of credential";

/// Who gives tokens on this machine.
struct Endpoint {
    name: String,
    url: Url,
    /// That the question comes from the container. IMDS asks for none.
    proof: Option<HeaderValue>,
}

impl Identity {
    pub(super) async fn managed(&self, scope: &str) -> Result<Granted, Trouble> {
        let endpoint = self.endpoint()?;
        let mut answer = self.question(&endpoint, scope).await?;
        for pause in PAUSES {
            if !is_updating(answer.0) {
                break;
            }
            sleep(pause).await;
            answer = self.question(&endpoint, scope).await?;
        }
        let (status, body) = answer;
        if status == StatusCode::OK {
            let malformed = || Trouble::Wrong(format!("{} answers with something else than a token", endpoint.name));
            return Granted::parse(&body).ok_or_else(malformed);
        }
        Err(self.refusal(&endpoint.name, status))
    }

    /// In the order in which Azure's SDKs look.
    fn endpoint(&self) -> Result<Endpoint, Trouble> {
        let unsupported =
            |what| Err(Trouble::Wrong(format!("managed identities of {what} are not supported; set another kind of credential")));
        match (self.variable("IDENTITY_ENDPOINT"), self.variable("IDENTITY_HEADER")) {
            (Some(_), Some(_)) if self.variable("IDENTITY_SERVER_THUMBPRINT").is_some() => unsupported("Service Fabric"),
            (Some(text), Some(proof)) => Endpoint::of_container(text, proof),
            (Some(_), None) if self.variable("IMDS_ENDPOINT").is_some() => unsupported("Azure Arc"),
            _ if self.variable("MSI_ENDPOINT").is_some() => unsupported("Cloud Shell and Azure Machine Learning"),
            _ => Endpoint::of_machine(self.variable(IMDS_VARIABLE).unwrap_or(IMDS)),
        }
    }

    async fn question(&self, endpoint: &Endpoint, scope: &str) -> Result<(StatusCode, Bytes), Trouble> {
        let mut url = endpoint.url.clone();
        let version = if endpoint.proof.is_some() { APP_SERVICE_VERSION } else { IMDS_VERSION };
        let resource = scope.strip_suffix("/.default").unwrap_or(scope);
        url.query_pairs_mut().append_pair("api-version", version).append_pair("resource", resource);
        if let Some(client_id) = &self.settings.client_id {
            url.query_pairs_mut().append_pair("client_id", client_id);
        }
        let request = match &endpoint.proof {
            Some(proof) => self.client.get(url).header("X-IDENTITY-HEADER", proof),
            None => self.client.get(url).header("Metadata", "true"),
        };
        let answer = exchange(request, &endpoint.name).await;
        answer.map_err(|trouble| match trouble {
            Trouble::Away(cause) => Trouble::Away(format!("{cause}; {ELSEWHERE}")),
            wrong @ Trouble::Wrong(_) => wrong,
        })
    }

    fn refusal(&self, name: &str, status: StatusCode) -> Trouble {
        let code = status.as_u16();
        match (code, &self.settings.client_id) {
            (400, Some(client_id)) => Trouble::Wrong(format!(
                "{name} has no identity with client_id {client_id}; assign it to this machine or container, or correct client_id"
            )),
            (400, None) => Trouble::Wrong(format!(
                "{name} has no identity to give; assign one to this machine or container and, if it is user-assigned, set client_id"
            )),
            (403, _) => Trouble::Wrong(format!("{name} refuses (status 403); {ELSEWHERE}")),
            _ if is_updating(status) => Trouble::Away(format!("{name} answers with status {code}")),
            _ => Trouble::Wrong(format!("{name} answers with status {code}")),
        }
    }
}

impl Endpoint {
    fn of_container(text: &str, proof: &str) -> Result<Self, Trouble> {
        let url = url("IDENTITY_ENDPOINT", text)?;
        let unfit = |_| Trouble::Wrong("the environment variable IDENTITY_HEADER does not fit into a header".into());
        let mut proof = HeaderValue::from_str(proof).map_err(unfit)?;
        proof.set_sensitive(true);
        Ok(Self { name: format!("the endpoint for managed identities ({})", place(&url)), url, proof: Some(proof) })
    }

    fn of_machine(host: &str) -> Result<Self, Trouble> {
        let url = url(IMDS_VARIABLE, &format!("{}/metadata/identity/oauth2/token", host.trim_end_matches('/')))?;
        Ok(Self { name: format!("the instance metadata service ({})", place(&url)), url, proof: None })
    }
}

fn url(variable: &str, text: &str) -> Result<Url, Trouble> {
    let url = Url::parse(text).ok().filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| Trouble::Wrong(format!("the environment variable {variable} is not a URL")))
}

/// "How to use managed identities on a VM", error handling: 404 and 410 while it is updating.
fn is_updating(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) || is_passing(status)
}
