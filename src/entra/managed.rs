//! Managed identities: of App Service, Functions and Container Apps and of Azure Arc, which name their endpoint in the environment, and of
//! virtual machines by the instance metadata service (IMDS).

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{StatusCode, Url};
use tokio::time::sleep;

use super::exchange::{exchange, exchange_whole, is_passing, place};
use super::{Granted, Identity, Trouble};
use crate::config::secrets::is_this_machine;

/// Where every machine at Azure finds IMDS. The variable moves it, as in Azure's SDKs.
const IMDS: &str = "http://169.254.169.254";
const IMDS_VARIABLE: &str = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
const IMDS_VERSION: &str = "2018-02-01";
const APP_SERVICE_VERSION: &str = "2019-08-01";
const ARC_VERSION: &str = "2020-06-01";
/// Keeps requests out that somebody was made to forward.
const METADATA: &str = "Metadata";
/// Between attempts while an endpoint is updating or busy: together less than half of what the reading of a secret may take.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// No other attempt after so long: an endpoint that is slow as well.
const LATEST: Duration = Duration::from_secs(4);

const ELSEWHERE: &str = "where there is no managed identity, as beyond Azure, set another kind of credential";

/// Who gives tokens on this machine.
struct Endpoint {
    name: String,
    url: Url,
    host: Host,
}

enum Host {
    /// With the proof that the question comes from the container.
    Container(HeaderValue),
    Machine,
    /// Asks for a proof each time.
    Arc,
}

/// A key of the configuration that names a user-assigned identity, and its names at IMDS and at App Service.
struct Assigned {
    key: &'static str,
    machine: &'static str,
    container: &'static str,
}

const CLIENT_ID: Assigned = Assigned { key: "client_id", machine: "client_id", container: "client_id" };
const OBJECT_ID: Assigned = Assigned { key: "object_id", machine: "object_id", container: "principal_id" };
const RESOURCE_ID: Assigned = Assigned { key: "resource_id", machine: "msi_res_id", container: "mi_res_id" };

impl Identity {
    pub(super) async fn managed(&self, scope: &str) -> Result<Granted, Trouble> {
        let endpoint = self.endpoint()?;
        let latest = self.clock.steady() + LATEST;
        let mut answer = self.question(&endpoint, scope).await?;
        for pause in PAUSES {
            if !is_updating(answer.0) || self.clock.steady() > latest {
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
            (Some(text), None) if self.variable("IMDS_ENDPOINT").is_some() => self.endpoint_of_arc(text),
            _ if self.variable("MSI_ENDPOINT").is_some() => unsupported("Cloud Shell and Azure Machine Learning"),
            _ => Endpoint::of_machine(self.variable(IMDS_VARIABLE).unwrap_or(IMDS)),
        }
    }

    fn endpoint_of_arc(&self, text: &str) -> Result<Endpoint, Trouble> {
        if let Some((Assigned { key, .. }, _)) = self.assigned() {
            return Err(Trouble::Wrong(format!("Azure Arc has the system-assigned identity alone; leave out {key}")));
        }
        Endpoint::of_arc(text)
    }

    fn assigned(&self) -> Option<(Assigned, &str)> {
        let settings = &self.settings;
        let all = [(CLIENT_ID, &settings.client_id), (OBJECT_ID, &settings.object_id), (RESOURCE_ID, &settings.resource_id)];
        all.into_iter().find_map(|(assigned, value)| Some((assigned, value.as_deref()?)))
    }

    async fn question(&self, endpoint: &Endpoint, scope: &str) -> Result<(StatusCode, Bytes), Trouble> {
        let url = self.question_url(endpoint, scope);
        let request = match &endpoint.host {
            Host::Container(proof) => self.client.get(url).header("X-IDENTITY-HEADER", proof),
            Host::Machine => self.client.get(url).header(METADATA, "true"),
            Host::Arc => return self.question_of_arc(url, &endpoint.name).await,
        };
        let answer = exchange(request, &endpoint.name).await;
        answer.map_err(|trouble| match trouble {
            Trouble::Away(cause) => Trouble::Away(format!("{cause}; {ELSEWHERE}")),
            wrong @ Trouble::Wrong(_) => wrong,
        })
    }

    fn question_url(&self, endpoint: &Endpoint, scope: &str) -> Url {
        let mut url = endpoint.url.clone();
        let version = match endpoint.host {
            Host::Container(_) => APP_SERVICE_VERSION,
            Host::Machine => IMDS_VERSION,
            Host::Arc => ARC_VERSION,
        };
        let resource = scope.strip_suffix("/.default").unwrap_or(scope);
        url.query_pairs_mut().append_pair("api-version", version).append_pair("resource", resource);
        if let Some((assigned, value)) = self.assigned() {
            let is_container = matches!(endpoint.host, Host::Container(_));
            url.query_pairs_mut().append_pair(if is_container { assigned.container } else { assigned.machine }, value);
        }
        url
    }

    /// The first answer is a challenge.
    async fn question_of_arc(&self, url: Url, name: &str) -> Result<(StatusCode, Bytes), Trouble> {
        let request = || self.client.get(url.clone()).header(METADATA, "true");
        let (status, headers, body) = exchange_whole(request(), name).await?;
        match status {
            StatusCode::UNAUTHORIZED => {
                let proof = self.arc.answer(&headers, name).await?;
                exchange(request().header(AUTHORIZATION, proof), name).await
            }
            StatusCode::OK => {
                Err(Trouble::Wrong(format!("{name} gives tokens to whoever asks; it is not the agent of Azure Arc")))
            }
            _ => Ok((status, body)),
        }
    }

    fn refusal(&self, name: &str, status: StatusCode) -> Trouble {
        let code = status.as_u16();
        match (code, self.assigned()) {
            (400, Some((Assigned { key, .. }, value))) => Trouble::Wrong(format!(
                "{name} has no identity with {key} {value}; assign it to this machine or container, or correct {key}"
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
        Ok(Self { name: format!("the endpoint for managed identities ({})", place(&url)), url, host: Host::Container(proof) })
    }

    fn of_machine(host: &str) -> Result<Self, Trouble> {
        let url = url(IMDS_VARIABLE, &format!("{}/metadata/identity/oauth2/token", host.trim_end_matches('/')))?;
        Ok(Self { name: format!("the instance metadata service ({})", place(&url)), url, host: Host::Machine })
    }

    /// The agent is on this machine, and the text of its file goes nowhere else.
    fn of_arc(text: &str) -> Result<Self, Trouble> {
        let url = url("IDENTITY_ENDPOINT", text)?;
        if url.scheme() != "http" || !is_this_machine(&url) {
            let cause = "the environment variable IDENTITY_ENDPOINT is not an http URL of this machine, as that of Azure Arc is";
            return Err(Trouble::Wrong(cause.into()));
        }
        Ok(Self { name: format!("the agent of Azure Arc ({})", place(&url)), url, host: Host::Arc })
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
