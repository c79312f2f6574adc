//! A fake introspection endpoint (RFC 7662) that knows some tokens and its one client, and records what it is asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::canary::secrets;
use super::lock;
use super::reply::Reply;
use super::token::now;
use super::wire::{Request, Responder};

const PATH: &str = "/introspect";
pub(crate) const CLIENT_ID: &str = "voice: service";

#[derive(Default)]
struct Known {
    tokens: HashMap<String, Value>,
    broken: Option<Reply>,
}

/// The fake endpoint.
pub(crate) struct Introspector {
    responder: Responder,
    known: Arc<Mutex<Known>>,
}

impl Introspector {
    pub(crate) fn start() -> Self {
        let known = Arc::new(Mutex::new(Known::default()));
        let shared = Arc::clone(&known);
        Self { responder: Responder::start(move |request| lock(&shared).answer(request)), known }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}{PATH}", self.origin())
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.responder.address())
    }

    /// What is said of `token` from now on.
    pub(crate) fn says(&self, token: &str, answer: Value) {
        lock(&self.known).tokens.insert(token.to_owned(), answer);
    }

    /// `token` is an active one of `canary-user-NAME`.
    pub(crate) fn knows(&self, token: &str, name: &str) {
        self.says(token, active(name));
    }

    pub(crate) fn revoke(&self, token: &str) {
        lock(&self.known).tokens.remove(token);
    }

    /// Every question is answered with `reply`; `None` ends it.
    pub(crate) fn breaks(&self, reply: impl Into<Option<Reply>>) {
        lock(&self.known).broken = reply.into();
    }

    /// From now on connections are refused.
    pub(crate) fn refuse(&self) {
        self.responder.refuse();
    }

    pub(crate) fn up(&self) {
        self.responder.open();
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.responder.requests()
    }

    /// How often it was asked.
    pub(crate) fn count(&self) -> usize {
        self.requests().len()
    }
}

/// An answer about a good token of `canary-user-NAME`.
pub(crate) fn active(name: &str) -> Value {
    json!({"active": true, "sub": super::issuer::user(name), "aud": "voice", "exp": now() + 300, "iat": now(), "token_type": "Bearer"})
}

impl Known {
    fn answer(&self, request: &Request) -> Reply {
        if let Some(broken) = &self.broken {
            return broken.clone();
        }
        if (request.method.as_str(), request.target.as_str()) != ("POST", PATH) {
            return Reply::new(404);
        }
        let form = request.form();
        let credentials = (CLIENT_ID.to_owned(), secrets::INTROSPECTION_SECRET.to_owned());
        let posted = form.get("client_id").cloned().zip(form.get("client_secret").cloned());
        if basic(request).or(posted) != Some(credentials) {
            return Reply::json(401, &json!({"error": "invalid_client"})).header("WWW-Authenticate", "Basic");
        }
        let token = form.get("token").and_then(|token| self.tokens.get(token)).cloned();
        Reply::json(200, &token.unwrap_or_else(|| json!({"active": false}))).header("Cache-Control", "no-store")
    }
}

/// Name and secret of the `Authorization` header, each decoded as RFC 6749, section 2.3.1, encodes them.
fn basic(request: &Request) -> Option<(String, String)> {
    let encoded = request.header("authorization")?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let decoded = |part: &str| form_urlencoded::parse(format!("it={part}").as_bytes()).next().map(|(_, it)| it.into_owned());
    Some((decoded(id)?, decoded(secret)?))
}
