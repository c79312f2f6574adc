//! A recording fake of one Azure OpenAI resource: v1 and a preview version. It takes its two keys, and access tokens of the fake Azure, in
//! the header where each belongs, and knows one deployment.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::canary::secrets;
use super::lock;
use super::reply::Reply;
use super::token::now;
use super::wire::{Request, Responder};

pub(crate) const DEPLOYMENT: &str = "voice-deployment";
pub(crate) const API_VERSION: &str = "2025-04-01-preview";
const MINT: &str = "/openai/v1/realtime/client_secrets";
const PREVIEW_MINT: &str = "/openai/realtimeapi/sessions?api-version=2025-04-01-preview";

#[derive(Default)]
struct Script {
    next: Option<Reply>,
    always: Option<Reply>,
    revoked: Vec<String>,
    minted: usize,
}

/// The fake.
pub(crate) struct AzureOpenAi {
    responder: Responder,
    script: Arc<Mutex<Script>>,
}

impl AzureOpenAi {
    pub(crate) fn start() -> Self {
        let script = Arc::new(Mutex::new(Script::default()));
        let shared = Arc::clone(&script);
        Self { responder: Responder::start(move |request| lock(&shared).answer(request)), script }
    }

    /// As the portal shows it.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}/", self.responder.address())
    }

    /// Every mint is answered so; `None` ends it.
    pub(crate) fn always(&self, reply: impl Into<Option<Reply>>) {
        lock(&self.script).always = reply.into();
    }

    /// The next mint is answered so.
    pub(crate) fn next(&self, reply: Reply) {
        lock(&self.script).next = Some(reply);
    }

    /// A key that is no longer good.
    pub(crate) fn revoke(&self, key: &str) {
        lock(&self.script).revoked.push(key.to_owned());
    }

    /// From now on connections are refused.
    pub(crate) fn refuse(&self) {
        self.responder.refuse();
    }

    pub(crate) fn up(&self) {
        self.responder.open();
    }

    /// All but questions about keys.
    pub(crate) fn mints(&self) -> Vec<Request> {
        self.responder.requests().into_iter().filter(|request| request.method == "POST").collect()
    }

    pub(crate) fn last(&self) -> Request {
        self.mints().pop().expect("the resource was asked")
    }
}

/// A refusal as Azure writes it: `code` is text that may be a number, and there is no `type`.
pub(crate) fn azure_error(status: u16, code: &str, message: &str) -> Reply {
    let message = format!("{message} {}", secrets::UPSTREAM_MESSAGE);
    Reply::json(status, &json!({"error": {"code": code, "message": message}})).header("apim-request-id", "apim-refused")
}

/// 401 for a wrong key, and for a key of another resource.
pub(crate) fn wrong_key() -> Reply {
    azure_error(
        401,
        "401",
        "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource.",
    )
}

/// 401 for an identity without the role.
pub(crate) fn missing_role() -> Reply {
    azure_error(401, "PermissionDenied", "Principal does not have access to API/Operation.")
}

pub(crate) fn no_deployment() -> Reply {
    azure_error(
        404,
        "DeploymentNotFound",
        "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again.",
    )
}

impl Script {
    fn answer(&mut self, request: &Request) -> Reply {
        if !self.is_known(request) {
            return wrong_key();
        }
        let path = request.target.as_str();
        if request.method == "GET" {
            return Reply::json(200, &json!({"object": "list", "data": [{"id": "gpt-realtime", "object": "model"}]}));
        }
        if path.starts_with("/openai/v1/realtime/calls/") && path.ends_with("/hangup") {
            return Reply::json(200, &json!({}));
        }
        if let Some(reply) = self.next.take() {
            return reply;
        }
        if let Some(reply) = &self.always {
            return reply.clone();
        }
        let body = request.json();
        let model = if path == PREVIEW_MINT { &body["model"] } else { &body["session"]["model"] };
        if ![MINT, PREVIEW_MINT].contains(&path) {
            return azure_error(404, "404", "Resource not found");
        }
        if model != DEPLOYMENT {
            return no_deployment();
        }
        self.minted += 1;
        let id = format!("sess_azure_{:08}", self.minted);
        let value = format!("ek_{}_azure_{:08}", secrets::MINTED, self.minted);
        let reply = if path == PREVIEW_MINT { preview(&body, &id, &value) } else { minted(&body, &id, &value) };
        Reply::json(200, &reply)
            .header("apim-request-id", &format!("apim-{:08}", self.minted))
            .header("x-ratelimit-remaining-requests", "-1")
    }

    fn is_known(&self, request: &Request) -> bool {
        let is_good = |key: &str| !self.revoked.iter().any(|revoked| revoked == key);
        match (request.header("api-key"), request.header("authorization")) {
            (Some(key), None) => [secrets::AZURE_KEY, secrets::AZURE_KEY_2].contains(&key) && is_good(key),
            (None, Some(_)) => {
                request.bearer().starts_with(&format!("{}-access-token", secrets::AZURE)) && is_good(request.bearer())
            }
            _ => false,
        }
    }
}

fn minted(asked: &Value, id: &str, value: &str) -> Value {
    let mut session = asked["session"].clone();
    session["id"] = json!(id);
    session["object"] = json!("realtime.session");
    let lives = asked["expires_after"]["seconds"].as_i64().unwrap_or(600);
    json!({"value": value, "expires_at": now() + lives, "session": session})
}

/// The whole session, with the secret in it.
fn preview(asked: &Value, id: &str, value: &str) -> Value {
    let mut session = asked.clone();
    session["id"] = json!(id);
    session["object"] = json!("realtime.session");
    session["client_secret"] = json!({"value": value, "expires_at": now() + 60});
    session
}
