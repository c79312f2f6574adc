//! A recording fake of the provider's mint endpoints, scriptable to fail in every way.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::canary::secrets;
use super::lock;
use super::reply::Reply;
use super::token::now;
use super::wire::{Request, Responder};

const CLIENT_SECRETS: &str = "/v1/realtime/client_secrets";
const TRANSLATION_SECRETS: &str = "/v1/realtime/translations/client_secrets";

/// How the fake behaves beyond its default.
#[derive(Default)]
struct Script {
    next: VecDeque<Reply>,
    always: Option<Reply>,
    revoked: Vec<String>,
    accepted: Vec<String>,
    probes: Option<Reply>,
    /// How the next hang-ups are answered; after that, with 200.
    hang_ups: VecDeque<Reply>,
}

#[derive(Default)]
struct State {
    script: Mutex<Script>,
    minted: AtomicUsize,
}

/// The fake upstream.
pub(crate) struct Upstream {
    responder: Responder,
    state: Arc<State>,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let upstream = Self::down();
        upstream.responder.open();
        upstream
    }

    /// Has an address, but refuses connections until [`Upstream::up`].
    pub(crate) fn down() -> Self {
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        Self { responder: Responder::refusing(move |request| shared.answer(request)), state }
    }

    pub(crate) fn up(&self) {
        self.responder.open();
    }

    /// From now on connections are refused.
    pub(crate) fn refuse(&self) {
        self.responder.refuse();
    }

    /// For `base_url`.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.responder.address())
    }

    /// The next request is answered with `reply`, once.
    pub(crate) fn script(&self, reply: Reply) {
        lock(&self.state.script).next.push_back(reply);
    }

    /// Every request is answered with `reply`, after what was scripted; `None` ends it.
    pub(crate) fn always(&self, reply: impl Into<Option<Reply>>) {
        lock(&self.state.script).always = reply.into();
    }

    /// The next hang-up is answered with `reply`, once.
    pub(crate) fn script_hang_up(&self, reply: Reply) {
        lock(&self.state.script).hang_ups.push_back(reply);
    }

    /// What was scripted for hang-ups is not any more.
    pub(crate) fn forget_hang_ups(&self) {
        lock(&self.state.script).hang_ups.clear();
    }

    /// The calls that were asked to be hung up, in order, with the key that asked.
    pub(crate) fn hang_ups(&self) -> Vec<(String, String)> {
        let asked = self.requests().into_iter().filter_map(|request| {
            let call = hung_up(&request)?.to_owned();
            Some((call, request.bearer().to_owned()))
        });
        asked.collect()
    }

    /// A key that is no longer good: 401 `invalid_api_key`.
    pub(crate) fn revoke(&self, key: &str) {
        let mut script = lock(&self.state.script);
        script.revoked.push(key.to_owned());
    }

    /// A revoked key is good again.
    pub(crate) fn restore(&self, key: &str) {
        lock(&self.state.script).revoked.retain(|revoked| revoked != key);
    }

    /// All but questions about keys.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.responder.requests().into_iter().filter(|request| !is_about_a_key(request)).collect()
    }

    /// The keys that were asked about, in order.
    pub(crate) fn probes(&self) -> Vec<String> {
        let asked = self.responder.requests().into_iter().filter(is_about_a_key);
        asked.map(|request| request.bearer().to_owned()).collect()
    }

    /// A further key that is good.
    pub(crate) fn accept(&self, key: &str) {
        lock(&self.state.script).accepted.push(key.to_owned());
    }

    /// Questions about keys are answered with `reply`; `None` ends it.
    pub(crate) fn answer_probes(&self, reply: impl Into<Option<Reply>>) {
        lock(&self.state.script).probes = reply.into();
    }

    /// The last request.
    pub(crate) fn last(&self) -> Request {
        self.requests().pop().expect("the upstream was asked")
    }

    /// How many requests came in.
    pub(crate) fn count(&self) -> usize {
        self.requests().len()
    }

    pub(crate) fn connections(&self) -> usize {
        self.responder.connections()
    }

    /// How many secrets were minted by the default behaviour.
    pub(crate) fn minted(&self) -> usize {
        self.state.minted.load(Ordering::SeqCst)
    }
}

impl State {
    fn answer(&self, request: &Request) -> Reply {
        let mut script = lock(&self.script);
        if hung_up(request).is_some() {
            return script.hang_ups.pop_front().unwrap_or_else(|| Reply::json(200, &json!({})));
        }
        let key = request.bearer();
        let known =
            [secrets::PRIMARY_KEY, secrets::FALLBACK_KEY].contains(&key) || script.accepted.iter().any(|good| good == key);
        let refused = (!known || script.revoked.iter().any(|revoked| revoked == key))
            .then(|| error(401, "invalid_request_error", "invalid_api_key"));
        if is_about_a_key(request) {
            return script.probes.clone().or(refused).unwrap_or_else(models);
        }
        if let Some(reply) = script.next.pop_front().or_else(|| script.always.clone()) {
            return reply;
        }
        let path = request.target.split('?').next().unwrap_or_default();
        if request.method != "POST" || ![CLIENT_SECRETS, TRANSLATION_SECRETS].contains(&path) {
            return error(404, "invalid_request_error", "unknown_url");
        }
        if let Some(refused) = refused {
            return refused;
        }
        let number = self.minted.fetch_add(1, Ordering::SeqCst) + 1;
        let body = if request.body.is_empty() { json!({}) } else { request.json() };
        minted(&body, number, path == TRANSLATION_SECRETS).header("x-request-id", &format!("req_{number:08}"))
    }
}

fn is_about_a_key(request: &Request) -> bool {
    request.method == "GET" && request.target == "/v1/models"
}

/// Models as the provider lists them.
fn models() -> Reply {
    let model =
        |id: &str| json!({"id": id, "object": "model", "created": 1_700_000_000, "owned_by": "openai", "shutdown_date": null});
    Reply::json(200, &json!({"object": "list", "data": [model("gpt-realtime-2.1"), model("gpt-4o-mini-transcribe")]}))
}

/// The call that a request hangs up.
fn hung_up(request: &Request) -> Option<&str> {
    let path = request.target.strip_prefix("/v1/realtime/calls/")?;
    path.strip_suffix("/hangup").filter(|_| request.method == "POST")
}

/// An error body as the provider writes it.
pub(crate) fn error(status: u16, kind: &str, code: &str) -> Reply {
    let message = format!("{}: {code}", secrets::UPSTREAM_MESSAGE);
    Reply::json(status, &json!({"error": {"message": message, "type": kind, "param": null, "code": code}}))
        .header("x-request-id", "req_refused")
}

/// A good answer with an expiry that the test chooses.
pub(crate) fn minted_until(expires_at: impl Into<Value>) -> Value {
    json!({
        "value": format!("ek_{}_scripted", secrets::MINTED),
        "expires_at": expires_at.into(),
        "session": {
            "type": "realtime", "object": "realtime.session", "id": "sess_scripted",
            "model": "gpt-realtime-2.1", "output_modalities": ["audio"],
            "audio": {"output": {"voice": "marin"}},
        },
    })
}

/// The default answer: the session comes back with everything that must not leave the service.
fn minted(asked: &Value, number: usize, translation: bool) -> Reply {
    let seconds = asked["expires_after"]["seconds"].as_i64().unwrap_or(600);
    let mut session = asked["session"].clone();
    if !session.is_object() {
        session = json!({"type": "realtime", "model": "gpt-realtime"});
    }
    if translation {
        session["type"] = json!("translation");
    }
    let object = match session["type"].as_str() {
        Some("transcription") => "realtime.transcription_session",
        Some("translation") => "realtime.translation_session",
        _ => "realtime.session",
    };
    let mut tools = session["tools"].as_array().cloned().unwrap_or_default();
    tools.push(json!({
        "type": "mcp", "server_label": "crm", "server_url": "https://crm.example.com/mcp",
        "authorization": secrets::MCP_AUTHORIZATION,
        "headers": {"X-Api-Key": secrets::MCP_AUTHORIZATION},
    }));
    session["object"] = json!(object);
    session["id"] = json!(format!("sess_{number:08}"));
    session["tools"] = json!(tools);
    session["expires_at"] = json!(0);
    session["tool_choice"] = json!("auto");
    session["tracing"] = json!({"workflow_name": secrets::MCP_AUTHORIZATION});
    session["prompt"] = json!({"id": secrets::MCP_AUTHORIZATION});
    session["client_secret"] = json!({"value": secrets::MCP_AUTHORIZATION});
    Reply::json(
        200,
        &json!({
            "value": format!("ek_{}_{number:08}", secrets::MINTED),
            "expires_at": now() + seconds,
            "session": session,
        }),
    )
    .header("openai-organization", "org-canary-internal")
    .header("openai-processing-ms", "12")
    .header("openai-version", "2020-10-01")
    .header("x-ratelimit-limit-requests", "60")
    .header("set-cookie", "__cf_bm=canary; HttpOnly")
}
