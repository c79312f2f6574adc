//! Deliveries of OpenAI's webhook, signed as Standard Webhooks has it.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use super::answer::Answer;
use super::canary::secrets;
use super::client::Call;
use super::service::Service;
use super::token::now;

/// Where OpenAI delivers.
pub(crate) const WEBHOOK: &str = "/v1/webhooks/openai";

/// One delivery in the making.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) timestamp: String,
    /// Empty: signed when it is sent.
    pub(crate) signatures: String,
    pub(crate) body: String,
}

impl Delivery {
    pub(crate) fn of(id: &str, event: &Value) -> Self {
        Self { id: id.to_owned(), timestamp: now().to_string(), signatures: String::new(), body: event.to_string() }
    }

    /// That this user was blocked.
    pub(crate) fn blocked(id: &str, user: &str) -> Self {
        let data = json!({"safety_identifier": user, "safety_category": "bio", "request_id": "req_1"});
        let event = json!({"id": format!("evt_{id}"), "object": "event", "created_at": now(), "type": "safety_identifier.blocked", "data": data});
        Self::of(id, &event)
    }

    pub(crate) fn late_by(self, seconds: i64) -> Self {
        Self { timestamp: (now() - seconds).to_string(), ..self }
    }

    pub(crate) fn signed_as(self, signatures: &str) -> Self {
        Self { signatures: signatures.to_owned(), ..self }
    }

    /// The one entry of `webhook-signature` that this secret makes.
    pub(crate) fn signature(&self, secret: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(secret).expect("base64"));
        let signed = hmac::sign(&key, format!("{}.{}.{}", self.id, self.timestamp, self.body).as_bytes());
        format!("v1,{}", STANDARD.encode(signed))
    }

    /// Signed now: what is changed after this is not what was signed.
    pub(crate) fn sealed(self) -> Self {
        let signature = self.signature(secrets::WEBHOOK_SECRET);
        self.signed_as(&signature)
    }

    pub(crate) fn call(self, service: &Service) -> Call {
        let it = if self.signatures.is_empty() { self.sealed() } else { self };
        let call = service.call(Method::POST, WEBHOOK).header("webhook-id", &it.id);
        call.header("webhook-timestamp", &it.timestamp)
            .header("webhook-signature", &it.signatures)
            .body("application/json", it.body)
    }

    pub(crate) async fn send(self, service: &Service) -> Answer {
        self.call(service).send().await
    }
}
