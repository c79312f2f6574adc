//! Webhooks in the configuration.

use super::run::{good, print, serve};
use crate::support::Config;

fn webhook(secret: &str) -> Config {
    good().webhook().env("TEST_WEBHOOK_SECRET", secret)
}

#[test]
fn a_signing_secret_of_another_form_is_refused_at_start_and_not_repeated() {
    for (secret, word) in [
        ("Y2FuYXJ5LXdlYmhvb2stc2VjcmV0LTAxMjM0NTY3ODk=", "begins with whsec_"),
        ("sk-proj-canary-permanent-key-0001", "begins with whsec_"),
        ("whsec_Y2FuYXJ5LXdlYmhvb2stc2VjcmV0LTAxMjM0NTY3ODk", "not base64"),
        ("whsec_Y2FuYXJ5LXdlYmhvb2st", "24 to 64 bytes"),
        ("whsec_", "24 to 64 bytes"),
    ] {
        let outcome = serve(&webhook(secret)).done();
        outcome.expect_problem("webhooks.openai.secret", "env://TEST_WEBHOOK_SECRET");
        outcome.expect_problem("webhooks.openai.secret", word);
        let shown = outcome.to_string();
        assert!(!shown.contains("Y2FuYXJ5") && !shown.contains("canary-permanent"), "{shown}");
        let config = good().webhook().set("webhooks.openai.previous_secret", r#""env://TEST_OTHER""#).env("TEST_OTHER", secret);
        serve(&config).done().expect_problem("webhooks.openai.previous_secret", word);
    }
}

#[test]
fn a_webhook_needs_a_secret_and_knows_only_its_own_keys() {
    let both = good().webhook().set("webhooks.openai.previous_secret", r#""file:///run/secrets/webhook""#);
    let printed = print(&both).done();
    printed.expect(0);
    assert!(printed.stdout.contains("secret = \"env://TEST_WEBHOOK_SECRET\"") && !printed.stdout.contains("whsec_"), "{printed}");
    let table = "webhooks.openai";
    for (key, value, named, word) in [
        ("secret", r#""""#, "webhooks.openai.secret", "for example"),
        ("secret", r#""whsec_canary-literal""#, "webhooks.openai.secret", "literal secret"),
        ("secret", r#""env://TEST_ABSENT""#, "webhooks.openai.secret", "not set"),
        ("block_seconds", "31536001", "webhooks.openai.block_seconds", "31536000"),
        ("block_seconds", "-1", "webhooks.openai.block_seconds", "integer"),
        ("tolerance", "600", "webhooks.openai.tolerance", "no such key"),
    ] {
        serve(&good().webhook().set(&format!("{table}.{key}"), value)).done().expect_problem(named, word);
    }
    serve(&good().set("webhooks.openai.block_seconds", "60")).done().expect_problem("webhooks.openai.secret", "for example");
}
