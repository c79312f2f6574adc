//! Whether the upstream accepts a key, asked without a user: `GET /v1/models` (`OpenAI`, API reference, "Models"), or a mint that nobody gets.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderMap;
use http::header::{CONTENT_TYPE, DATE, HeaderValue};
use jiff::fmt::rfc2822;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::blame::Blame;
use super::endpoint::mint_path;
use super::failure::UpstreamError;
use super::{Key, Shared};
use crate::config::{self, Api, Credential, Dialect, Profile, Route, Verify};
use crate::domain::clock::SharedClock;
use crate::domain::flat_session::flat;
use crate::domain::ttl::Ttl;
use crate::outbound::{self, Outbound, Unbuildable, Unreached};

const DEADLINE: Duration = Duration::from_secs(8);
/// The list of models is some 20 KiB.
const MAX_ANSWER: usize = 1024 * 1024;

/// The process's way to ask upstreams about keys.
pub(crate) struct Probe {
    client: Client,
    clock: SharedClock,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    Models,
    /// A client secret for this session of this API, which is dropped unseen.
    Mint(Api, Map<String, Value>),
}

impl Question {
    /// A mint of what a profile's sessions are at an upstream.
    pub(crate) fn mint(api: Api, route: &Route) -> Self {
        Self::Mint(api, route.session.clone())
    }

    /// As the upstream is configured; of a profile that uses it.
    pub(super) fn of(upstream: &config::Upstream, profiles: &BTreeMap<String, Profile>) -> Option<Self> {
        let Credential::Keys(keys) = &upstream.credential else { return Some(Self::Models) };
        match keys.verify {
            Verify::None => None,
            Verify::Models => Some(Self::Models),
            Verify::Mint => {
                let of = |profile: &Profile| {
                    let route = profile.routes.iter().find(|route| route.upstream.name == upstream.name)?;
                    Some(Self::mint(profile.api, route))
                };
                Some(profiles.values().find_map(of).unwrap_or(Self::Models))
            }
        }
    }
}

/// What the upstream said.
#[derive(Debug)]
pub(crate) struct Probed {
    pub(crate) status: StatusCode,
    /// `code` of the error body, or its `type`.
    pub(crate) code: Option<String>,
    /// A phrase of ours that the error's message holds. Nothing else of a message is kept: it may echo parts of a key.
    pub(crate) phrase: Option<&'static str>,
    /// What stands behind a refusal of Azure's, as far as it can be told.
    pub(crate) blame: Option<Blame>,
    /// Models that the key may use, with the day on which each is shut down; empty where they were not asked for or not listed.
    pub(crate) models: Vec<(String, Option<String>)>,
    /// Seconds by which the upstream's clock is ahead of ours.
    pub(crate) ahead: Option<i64>,
}

/// What that means for the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The upstream knows it.
    Good,
    /// The upstream does not know it.
    Refused(String),
    /// It cannot be told now.
    Unclear(String),
}

#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
    #[serde(default)]
    shutdown_date: Option<String>,
}

impl Probe {
    pub(crate) fn new(outbound: &Outbound, clock: SharedClock) -> Result<Self, Unbuildable> {
        Ok(Self { client: outbound.client(DEADLINE)?, clock })
    }

    /// Asks.
    pub(crate) async fn ask(&self, upstream: &Shared, key: &Key, question: &Question) -> Result<Probed, Unreached> {
        let (settings, headers) = (&upstream.settings, key.headers_without_body());
        let (base, dialect) = (&settings.base_url, &settings.dialect);
        let request = match question {
            Question::Models => {
                let query = if let Dialect::AzurePreview { session_query, .. } = dialect { session_query } else { "" };
                self.client.get(format!("{base}/models{query}")).headers(headers)
            }
            Question::Mint(api, session) => {
                let body = match dialect {
                    Dialect::AzurePreview { .. } => Value::Object(flat(session).unwrap_or_default()),
                    Dialect::OpenAi | Dialect::Azure => {
                        json!({"expires_after": {"anchor": "created_at", "seconds": Ttl::MIN.seconds()}, "session": session})
                    }
                };
                let request = self.client.post(format!("{base}{}", mint_path(dialect, *api))).headers(headers);
                request.header(CONTENT_TYPE, HeaderValue::from_static("application/json")).body(body.to_string())
            }
        };
        Ok(self.read(request.send().await?, question, dialect.is_azure()).await)
    }

    /// Whether the key can be used, as far as a question can tell.
    pub(crate) async fn verdict(&self, upstream: &Shared, key: &Key, question: &Question) -> Verdict {
        match self.ask(upstream, key, question).await {
            Ok(probed) => probed.verdict(question),
            Err(unreached) => Verdict::Unclear(unreached.to_string()),
        }
    }

    async fn read(&self, answer: Response, question: &Question, is_azure: bool) -> Probed {
        let (status, ahead) = (answer.status(), self.ahead(answer.headers()));
        let body = outbound::body(reqwest::Body::from(answer), MAX_ANSWER).await.unwrap_or_default();
        let listed = matches!(question, Question::Models) && status.is_success();
        let models = listed.then(|| serde_json::from_slice::<Models>(&body).ok()).flatten();
        let models = models.map(|list| list.data.into_iter().map(|model| (model.id, model.shutdown_date)).collect());
        let error = if status.is_success() { UpstreamError::default() } else { UpstreamError::read(&body) };
        Probed {
            status,
            code: error.name(),
            phrase: error.phrase(),
            blame: error.blame().filter(|_| is_azure),
            models: models.unwrap_or_default(),
            ahead,
        }
    }

    fn ahead(&self, headers: &HeaderMap) -> Option<i64> {
        let date = rfc2822::parse(headers.get(DATE)?.to_str().ok()?).ok()?;
        Some(date.timestamp().as_second() - i64::try_from(self.clock.unix()).ok()?)
    }
}

impl Probed {
    /// A key that may not list models is known all the same; one that may not mint is of no use. A limit that is used up and a request that is
    /// not accepted say nothing against a key, nor does an upstream without such a list.
    fn verdict(&self, question: &Question) -> Verdict {
        let (status, code) = (self.status.as_u16(), self.code.as_deref());
        let said = code.map_or_else(|| format!("status {status}"), |code| format!("status {status}, {code}"));
        match (status, question) {
            (401, Question::Models) if code == Some("missing_scope") => Verdict::Good,
            (401, _) | (403, Question::Mint(..)) => Verdict::Refused(said),
            (408, _) => Verdict::Unclear(said),
            (200..=299 | 400..=499, _) => Verdict::Good,
            _ => Verdict::Unclear(said),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Api, Probed, Question, StatusCode, Verdict};

    #[test]
    fn only_an_upstream_that_does_not_know_a_key_speaks_against_it() {
        let verdict = |status: u16, code: Option<&str>, question: &Question| {
            let status = StatusCode::from_u16(status).unwrap();
            Probed { status, code: code.map(Into::into), phrase: None, blame: None, models: Vec::new(), ahead: None }
                .verdict(question)
        };
        let mint = Question::Mint(Api::Realtime, serde_json::Map::new());
        for (status, code) in
            [(200, None), (401, Some("missing_scope")), (403, None), (429, Some("insufficient_quota")), (404, None)]
        {
            assert_eq!(verdict(status, code, &Question::Models), Verdict::Good, "{status}");
        }
        assert_eq!(
            verdict(401, Some("invalid_api_key"), &Question::Models),
            Verdict::Refused("status 401, invalid_api_key".into())
        );
        assert_eq!(verdict(401, None, &Question::Models), Verdict::Refused("status 401".into()));
        assert_eq!(verdict(400, Some("unknown_parameter"), &mint), Verdict::Good);
        for (status, code) in [(401, "missing_scope"), (403, "request_forbidden")] {
            assert!(matches!(verdict(status, Some(code), &mint), Verdict::Refused(_)), "{status}");
        }
        for status in [408, 500, 502, 503, 302] {
            assert!(matches!(verdict(status, None, &Question::Models), Verdict::Unclear(_)), "{status}");
        }
    }
}
