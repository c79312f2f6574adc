//! Google Secret Manager: `GET /v1/projects/{project}/secrets/{name}/versions/{version}:access`.
//!
//! Source: cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions.

mod adc;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use reqwest::Client;
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::{Found, Unreadable, secret_in};
use crate::config::load::Environ;
use crate::config::secrets;
use crate::outbound::{body, causes};
use adc::Adc;

/// A secret has at most 64 KiB; base64 makes it a third more.
const MAX_ANSWER: usize = 1024 * 1024;
/// How long the secret's age may keep the secret waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// A way to Secret Manager.
pub(super) struct SecretManager {
    endpoint: String,
    /// Of a regional endpoint, which wants its region in each path.
    location: Option<String>,
    credentials: Adc,
    client: Client,
}

/// The answer to `:access`.
#[derive(Deserialize)]
struct Accessed {
    /// `projects/{number}/secrets/{name}/versions/{number}`, whatever alias was asked for.
    name: String,
    payload: Payload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    #[serde(default)]
    data: String,
    /// An int64, which JSON of Google's writes as a string.
    data_crc32c: Option<String>,
}

/// A version without its payload.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    create_time: String,
}

impl SecretManager {
    pub(super) fn new(settings: &secrets::Gcp, environ: &Arc<Environ>, client: Client) -> Self {
        let location = settings.endpoint.host_str().and_then(region).map(Into::into);
        let endpoint = settings.endpoint.as_str().trim_end_matches('/').to_owned();
        Self { endpoint, location, credentials: Adc::new(environ), client }
    }

    pub(super) async fn read(&self, project: &str, name: &str, version: &str) -> Result<Found, Unreadable> {
        let proof = self.credentials.proof().await?;
        let versions = self.versions(project, name);
        let accessed: Accessed = self.get(&format!("{versions}/{version}:access"), &proof).await?;
        let wrong = |cause: &str| Unreadable::Wrong(cause.into());
        // Another version may be the latest by now: the age is asked of the one that was read.
        let number = accessed.number().map(ToOwned::to_owned);
        let bytes = accessed.payload.bytes()?;
        let text = str::from_utf8(&bytes).map_err(|_| wrong("is not UTF-8 text"))?;
        let secret = secret_in(text).map_err(wrong)?;
        let made_at = match number {
            Some(number) => self.made_at(&format!("{versions}/{number}"), &proof).await,
            None => None,
        };
        Ok(Found { secret, made_at })
    }

    fn versions(&self, project: &str, name: &str) -> String {
        let location = self.location.as_ref().map(|location| format!("/locations/{location}")).unwrap_or_default();
        format!("{}/v1/projects/{project}{location}/secrets/{name}/versions", self.endpoint)
    }

    /// Needs `secretmanager.versions.get`, which who may read the secret often lacks: then nobody knows its age.
    async fn made_at(&self, version: &str, proof: &HeaderMap) -> Option<u64> {
        let version: Version = timeout(PATIENCE, self.get(version, proof)).await.ok()?.ok()?;
        version.create_time.parse::<Timestamp>().ok()?.as_second().try_into().ok()
    }

    async fn get<T: DeserializeOwned>(&self, url: &str, proof: &HeaderMap) -> Result<T, Unreadable> {
        let away =
            |cause: &dyn std::error::Error| Unreadable::Away(format!("Secret Manager cannot be reached: {}", causes(cause)));
        let sent = self.client.get(url).headers(proof.clone()).send().await;
        let response = http::Response::from(sent.map_err(|error| away(&error))?);
        let status = response.status();
        let bytes = body(response.into_body(), MAX_ANSWER).await;
        if status != StatusCode::OK {
            return Err(refused(status, &bytes.unwrap_or_default()));
        }
        let bytes = bytes.map_err(|error| Unreadable::Away(format!("Secret Manager's answer cannot be used: {error}")))?;
        let garbled =
            "Secret Manager's answer cannot be used: it is not what secrets are sent in; is secrets.gcp.endpoint right?";
        serde_json::from_slice(&bytes).map_err(|_| Unreadable::Away(garbled.into()))
    }
}

impl Accessed {
    /// The version's number.
    fn number(&self) -> Option<&str> {
        let number = self.name.rsplit_once("/versions/")?.1;
        (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then_some(number)
    }
}

impl Payload {
    /// What was stored, unless it was damaged on its way.
    fn bytes(self) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
        let torn = || Unreadable::Away("Secret Manager's answer was damaged on its way: its checksum does not fit".into());
        let data = Zeroizing::new(self.data);
        let bytes = Zeroizing::new(STANDARD.decode(&*data).map_err(|_| torn())?);
        let fits = self.data_crc32c.as_ref().is_none_or(|sum| *sum == crc32c(&bytes).to_string());
        if fits { Ok(bytes) } else { Err(torn()) }
    }
}

/// `secretmanager.{region}.rep.googleapis.com`.
fn region(host: &str) -> Option<&str> {
    host.strip_prefix("secretmanager.")?.strip_suffix(".rep.googleapis.com")
}

/// CRC-32C (Castagnoli) as of RFC 3720, section 12.1, bit by bit: a secret is small.
fn crc32c(bytes: &[u8]) -> u32 {
    let shift = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), shift))
}

/// What an answer other than 200 means. Of its body nothing is repeated; the words that Google documents are looked for.
fn refused(status: StatusCode, body: &[u8]) -> Unreadable {
    let code = status.as_u16();
    let wrong = |cause: &str, cure: &str| Unreadable::Wrong(format!("{cause} ({code}); {cure}"));
    match (code, reason(body).as_str()) {
        (400, "FAILED_PRECONDITION") => {
            wrong("this version is disabled or destroyed", "enable it, add a new version or name another")
        }
        (400, _) => wrong("Secret Manager does not understand the request", "look at the project, the secret and the version"),
        (401, _) => wrong(
            "Google does not accept the credentials",
            "is the service account's key deleted or the account disabled? is this machine's clock right?",
        ),
        (403, "SERVICE_DISABLED") => wrong(
            "the Secret Manager API is not enabled in the project",
            "run gcloud services enable secretmanager.googleapis.com",
        ),
        (403, "ACCESS_TOKEN_SCOPE_INSUFFICIENT") => {
            wrong("this machine's access tokens are too narrow", "give the VM or the node pool the scope cloud-platform")
        }
        (403, _) => wrong(
            "Google denies the permission",
            "give the identity of this service roles/secretmanager.secretAccessor on the secret, and look at the project's name",
        ),
        (404, _) => wrong("there is no such secret, or no such version", "look at the project, the secret and the version"),
        (408 | 429 | 500.., _) => Unreadable::Away(format!("Secret Manager does not serve now ({code})")),
        _ => wrong("this is no answer of Secret Manager", "look at secrets.gcp.endpoint"),
    }
}

/// The most telling word of an error: the reason (google.rpc.ErrorInfo), or else the status.
fn reason(body: &[u8]) -> String {
    let error = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let details = error.pointer("/error/details").and_then(Value::as_array).into_iter().flatten();
    let reason = details.filter_map(|detail| detail.get("reason")).find_map(Value::as_str);
    reason.or_else(|| error.pointer("/error/status")?.as_str()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{crc32c, region};

    #[test]
    fn the_checksum_is_googles() {
        // RFC 3720, appendix B.4, and the check value of CRC-32/ISCSI.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn a_regional_endpoint_is_told_from_others() {
        assert_eq!(region("secretmanager.europe-west3.rep.googleapis.com"), Some("europe-west3"));
        for other in ["secretmanager.googleapis.com", "secretmanager-psc.p.googleapis.com", "127.0.0.1"] {
            assert_eq!(region(other), None, "{other}");
        }
    }
}
