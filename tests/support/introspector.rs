//! A fake authorization server that is asked about opaque tokens (RFC 7662).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use url::form_urlencoded;

use super::config::Config;
use super::lock;
use super::reply::Reply;
use super::wire::{Request, Responder};

/// Ephemint's secret at the server: a marker of the canary.
pub(crate) const CLIENT_SECRET: &str = "canary-introspection-secret: 100%";

#[derive(Default)]
struct Script {
    tokens: BTreeMap<String, Value>,
    always: Option<Reply>,
}

pub(crate) struct Introspector {
    responder: Responder,
    script: Arc<Mutex<Script>>,
}

impl Introspector {
    /// Knows no token.
    pub(crate) fn start() -> Self {
        let script = Arc::new(Mutex::new(Script::default()));
        let shared = Arc::clone(&script);
        let responder = Responder::start(move |request| {
            let script = lock(&shared);
            if let Some(reply) = script.always.clone() {
                return reply;
            }
            let token = form(request).remove("token").unwrap_or_default();
            Reply::json(200, script.tokens.get(&token).unwrap_or(&json!({"active": false})))
        });
        Self { responder, script }
    }

    /// A token whose answer is `active` and these claims.
    pub(crate) fn know(&self, token: &str, claims: &Value) {
        let mut answer = json!({"active": true});
        answer.as_object_mut().expect("an object").extend(claims.as_object().expect("claims").clone());
        self.answer(token, answer);
    }

    /// What is answered about a token, word for word.
    pub(crate) fn answer(&self, token: &str, answer: Value) {
        lock(&self.script).tokens.insert(token.to_owned(), answer);
    }

    pub(crate) fn forget(&self, token: &str) {
        lock(&self.script).tokens.remove(token);
    }

    /// Every question is answered so; `None` ends it.
    pub(crate) fn always(&self, reply: Option<Reply>) {
        lock(&self.script).always = reply;
    }

    pub(crate) fn refuse(&self) {
        self.responder.refuse();
    }

    pub(crate) fn questions(&self) -> Vec<Request> {
        self.responder.requests()
    }

    /// Makes the server known as `identity.introspection.NAME`.
    pub(crate) fn configure(&self, name: &str, config: Config) -> Config {
        let table = format!("identity.introspection.{name}");
        config
            .env("TEST_INTROSPECTION_SECRET", CLIENT_SECRET)
            .set(&format!("{table}.endpoint"), &format!(r#""http://{}/introspect""#, self.responder.address()))
            .set(&format!("{table}.client_id"), r#""ephemint client""#)
            .set(&format!("{table}.client_secret"), r#""env://TEST_INTROSPECTION_SECRET""#)
    }
}

/// The fields of a form.
pub(crate) fn form(request: &Request) -> BTreeMap<String, String> {
    form_urlencoded::parse(&request.body).into_owned().collect()
}
