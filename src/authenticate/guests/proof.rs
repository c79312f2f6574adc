//! Proofs that a visitor is no machine: the provider that shows the widget is asked (`siteverify`).
//!
//! Sources: <https://developers.cloudflare.com/turnstile/get-started/server-side-validation/>,
//! <https://docs.hcaptcha.com/#verify-the-user-response-server-side>, <https://developers.google.com/recaptcha/docs/verify>.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, StatusCode};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use url::form_urlencoded::Serializer;

use crate::authenticate::trial::Wanting;
use crate::config;
use crate::domain::json::parse_strict;
use crate::domain::secret::Credential;
use crate::outbound::{self, BodyError, Outbound, Unbuildable};

const DEADLINE: Duration = Duration::from_secs(5);
const MAX_BODY: usize = 16 * 1024;
/// An address of documentation alone (RFC 5737).
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// Questions under way at once; beyond that visitors are asked to come back.
const MOST_ASKED: usize = 256;

/// What is known of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    Bad,
    /// The provider could not be asked, or did not say.
    None,
}

pub(super) struct Provider {
    settings: config::Proof,
    client: Client,
    places: Semaphore,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("too many proofs are being checked")]
    Busy,
    #[error("the request failed")]
    Http(#[source] reqwest::Error),
    #[error("it answered with status {0}")]
    Status(StatusCode),
    #[error("its answer could not be read")]
    Body(#[source] BodyError<reqwest::Error>),
    #[error("its answer is not of its documented form")]
    Malformed,
    #[error("it has a problem of its own")]
    Internal,
    #[error("it refuses Ephemint's own secret")]
    Secret,
}

impl From<NoAnswer> for Wanting {
    fn from(no_answer: NoAnswer) -> Self {
        match no_answer {
            NoAnswer::Http(error) => error.into(),
            NoAnswer::Status(status) => Self::status(status),
            NoAnswer::Secret => Self::Refused(StatusCode::OK.as_u16()),
            NoAnswer::Busy | NoAnswer::Body(_) | NoAnswer::Malformed | NoAnswer::Internal => Self::Malformed,
        }
    }
}

impl Provider {
    pub(super) fn new(settings: config::Proof, outbound: &Outbound) -> Result<Self, Unbuildable> {
        Ok(Self { settings, client: outbound.client(DEADLINE)?, places: Semaphore::new(MOST_ASKED) })
    }

    pub(super) async fn ask(&self, proof: &Credential, from: IpAddr) -> Verdict {
        match self.answer(proof, from).await.and_then(|answer| judge(&self.settings, &answer)) {
            Ok(true) => Verdict::Good,
            Ok(false) => Verdict::Bad,
            Err(no_answer) => {
                log(&no_answer);
                Verdict::None
            }
        }
    }

    /// Asks about a proof that is none: whatever says yes to that says yes to everything.
    pub(super) async fn try_out(&self, proof: &Credential) -> Result<(), Wanting> {
        let answer = self.answer(proof, NOWHERE).await?;
        if answer.get("success") == Some(&Value::Bool(true)) {
            return Err(Wanting::TakesAnything);
        }
        Ok(judge(&self.settings, &answer).map(drop)?)
    }

    async fn answer(&self, proof: &Credential, from: IpAddr) -> Result<Map<String, Value>, NoAnswer> {
        let _place = self.places.try_acquire().map_err(|_| NoAnswer::Busy)?;
        let request = self
            .client
            .post(self.settings.verify_url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(self.form(proof, from));
        let response = request.send().await.map_err(|e| NoAnswer::Http(e.without_url()))?;
        let status = response.status();
        // A client error is explained in the same form as a bad proof.
        if status != StatusCode::OK && !status.is_client_error() {
            return Err(NoAnswer::Status(status));
        }
        let body = outbound::body(reqwest::Body::from(response), MAX_BODY).await.map_err(NoAnswer::Body)?;
        match parse_strict(&body) {
            Ok(Value::Object(answer)) if status == StatusCode::OK || answer.get("success") == Some(&Value::Bool(false)) => {
                Ok(answer)
            }
            _ if status != StatusCode::OK => Err(NoAnswer::Status(status)),
            _ => Err(NoAnswer::Malformed),
        }
    }

    fn form(&self, proof: &Credential, from: IpAddr) -> String {
        let mut form = Serializer::new(String::new());
        form.append_pair("secret", self.settings.secret.get().reveal()).append_pair("response", proof.reveal());
        if self.settings.send_address {
            form.append_pair("remoteip", &from.to_string());
        }
        form.finish()
    }
}

/// Whether a proof is good. What is not said is not taken to be so.
fn judge(settings: &config::Proof, answer: &Map<String, Value>) -> Result<bool, NoAnswer> {
    let says = |name: &str| answer.get(name).and_then(Value::as_str);
    match answer.get("success") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) if names_secret(answer) => return Err(NoAnswer::Secret),
        Some(Value::Bool(false)) if names(answer, &["internal-error", "bad-request"]) => return Err(NoAnswer::Internal),
        Some(Value::Bool(false)) => return Ok(false),
        _ => return Err(NoAnswer::Malformed),
    }
    let host = says("hostname").map(str::to_ascii_lowercase);
    let score = answer.get("score").and_then(Value::as_f64);
    let is_from_our_page = settings.hostnames.is_empty() || host.is_some_and(|host| settings.hostnames.contains(&host));
    let is_for_our_action = settings.action.as_deref().is_none_or(|action| says("action") == Some(action));
    let is_scored_well = settings.min_score.is_none_or(|least| score.is_some_and(|score| score >= least))
        && settings.max_score.is_none_or(|most| score.is_some_and(|score| score <= most));
    Ok(is_from_our_page && is_for_our_action && is_scored_well)
}

fn names_secret(answer: &Map<String, Value>) -> bool {
    names(answer, &["invalid-input-secret", "missing-input-secret"])
}

fn names(answer: &Map<String, Value>, codes: &[&str]) -> bool {
    let named = answer.get("error-codes").and_then(Value::as_array);
    named.into_iter().flatten().filter_map(Value::as_str).any(|code| codes.contains(&code))
}

fn log(no_answer: &NoAnswer) {
    let cause = std::error::Error::source(no_answer).map(ToString::to_string);
    if matches!(no_answer, NoAnswer::Secret) {
        tracing::error!(error = %no_answer, "proofs of guests cannot be checked; see identity.guest.proof.secret");
    } else {
        tracing::warn!(error = %no_answer, cause, "a proof of a guest cannot be checked");
    }
}
