//! Webhooks.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Check;
use crate::config::Webhook;
use crate::config::raw::RawOpenaiWebhook;
use crate::domain::live::Live;

const KEY: &str = "webhooks.openai";
const A_YEAR: u64 = 31_536_000;

impl Check<'_> {
    pub(super) fn openai_webhook(&mut self, raw: &RawOpenaiWebhook) -> Option<Webhook> {
        let mut keys = Vec::new();
        if raw.secret.is_empty() {
            let cause = "name the secret that OpenAI shows when the endpoint is created, for example secret = \"env://OPENAI_WEBHOOK_SECRET\"";
            self.problem(format!("{KEY}.secret"), cause);
        } else {
            keys.push(self.signing_key(&format!("{KEY}.secret"), &raw.secret));
        }
        if let Some(previous) = &raw.previous_secret {
            keys.push(self.signing_key(&format!("{KEY}.previous_secret"), previous));
        }
        let seconds = self.range(&format!("{KEY}.block_seconds"), raw.block_seconds, 0, A_YEAR);
        Some(Webhook { keys: keys.into_iter().collect::<Option<_>>()?, block_seconds: (seconds > 0).then_some(seconds) })
    }

    fn signing_key(&mut self, key: &str, text: &str) -> Option<Live<hmac::Key>> {
        self.live(key, text, |secret| signing_key(secret.reveal()).map_err(ToOwned::to_owned))
    }
}

/// The key in a secret (Standard Webhooks 1.0.0, "Signature scheme": `whsec_` and 24 to 64 bytes in base64).
fn signing_key(secret: &str) -> Result<hmac::Key, &'static str> {
    let encoded = secret
        .strip_prefix("whsec_")
        .ok_or("is not a webhook's signing secret, which begins with whsec_; copy it from where the endpoint was created")?;
    let bytes = STANDARD.decode(encoded).map_err(|_| "is not base64 after whsec_; it was probably cut or pasted wrongly")?;
    if (24..=64).contains(&bytes.len()) {
        Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    } else {
        Err("must have 24 to 64 bytes in base64 after whsec_; it was probably cut or pasted wrongly")
    }
}

#[cfg(test)]
mod tests {
    use super::signing_key;

    #[test]
    fn a_secret_of_another_form_is_refused_without_being_repeated() {
        let of = |bytes: usize| format!("whsec_{}", super::Engine::encode(&super::STANDARD, vec![b'c'; bytes]));
        for bytes in [24, 32, 64] {
            assert!(signing_key(&of(bytes)).is_ok(), "{bytes}");
        }
        let unpadded = of(32).trim_end_matches('=').to_owned();
        for (bad, word) in [
            ("Y2FuYXJ5LWNhbmFyeS1jYW5hcnktMDE=", "begins with whsec_"),
            ("WHSEC_Y2FuYXJ5LWNhbmFyeS1jYW5hcnktMDE=", "begins with whsec_"),
            ("whpk_Y2FuYXJ5LWNhbmFyeS1jYW5hcnktMDE=", "begins with whsec_"),
            ("sk-proj-canary", "begins with whsec_"),
            ("whsec_", "24 to 64"),
            ("whsec_canary-canary", "not base64"),
            ("whsec_Y2Fu YXJ5", "not base64"),
            (unpadded.as_str(), "not base64"),
            (of(23).as_str(), "24 to 64"),
            (of(65).as_str(), "24 to 64"),
        ] {
            let cause = signing_key(bad).unwrap_err();
            assert!(cause.contains(word) && !cause.contains("canary"), "{bad}: {cause}");
        }
    }
}
