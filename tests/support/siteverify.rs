//! A fake of a provider's `siteverify` (Turnstile, hCaptcha, reCAPTCHA): form in, their documented JSON out. It takes a proof once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use url::form_urlencoded;

use super::config::Config;
use super::lock;
use super::reply::Reply;
use super::wire::{Request, Responder};

/// Ephemint's secret at the provider: a marker of the canary.
pub(crate) const SECRET: &str = "canary-siteverify-secret: 100%";
/// The key of guest tokens: a marker of the canary.
pub(crate) const TOKEN_KEY: &str = "canary-guest-key-0123456789abcdef0123456789";
pub(crate) const HOST: &str = "app.example.com";

#[derive(Default)]
struct Script {
    answers: BTreeMap<String, Value>,
    used: BTreeSet<String>,
    always: Option<Reply>,
}

pub(crate) struct Siteverify {
    responder: Responder,
    script: Arc<Mutex<Script>>,
}

impl Siteverify {
    /// Proofs that begin with `good` are good.
    pub(crate) fn start() -> Self {
        let script = Arc::new(Mutex::new(Script::default()));
        let shared = Arc::clone(&script);
        let responder = Responder::start(move |request| {
            let mut script = lock(&shared);
            if let Some(reply) = script.always.clone() {
                return reply;
            }
            let (sent, refused) = (request.form(), |code: &str| json!({"success": false, "error-codes": [code]}));
            let proof = sent.get("response").cloned().unwrap_or_default();
            let answer = if sent.get("secret").map(String::as_str) != Some(SECRET) {
                refused("invalid-input-secret")
            } else if let Some(answer) = script.answers.get(&proof) {
                answer.clone()
            } else if !proof.starts_with("good") {
                refused("invalid-input-response")
            } else if script.used.insert(proof) {
                vouched()
            } else {
                refused("timeout-or-duplicate")
            };
            Reply::json(200, &answer)
        });
        Self { responder, script }
    }

    /// What is answered about a proof, word for word.
    pub(crate) fn answer(&self, proof: &str, answer: Value) {
        lock(&self.script).answers.insert(proof.to_owned(), answer);
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

    /// Lets guests in, to the profile `guest` alone, with generous limits.
    pub(crate) fn configure(&self, config: Config) -> Config {
        let proof = format!(
            r#"{{ kind = "turnstile", secret = "env://TEST_SITEVERIFY", verify_url = "http://{}/siteverify", hostnames = ["{HOST}"] }}"#,
            self.responder.address()
        );
        config
            .env("TEST_SITEVERIFY", SECRET)
            .env("TEST_GUEST_KEY", TOKEN_KEY)
            .profile("guest")
            .set("identity.guest.proof", &proof)
            .set("identity.guest.token_keys", r#"["env://TEST_GUEST_KEY"]"#)
            .set("identity.guest.profiles", r#"["guest"]"#)
            .set("identity.guest.per_address.proofs_per_minute", "100000")
            .set("identity.guest.per_address.mints_per_minute", "100000")
    }
}

/// The answer about a good proof, as Turnstile writes it.
pub(crate) fn vouched() -> Value {
    json!({"success": true, "challenge_ts": "2026-01-01T00:00:00Z", "hostname": HOST, "error-codes": [], "action": "voice", "cdata": ""})
}
