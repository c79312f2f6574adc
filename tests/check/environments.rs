//! `--against`: what two environments must not share.

use crate::checked::{Checked, check_with, neighbours};
use crate::run::{FILE, ephemint};
use crate::support::{Config, secrets};

/// Checks `ours` against `theirs`, whose variables are those of both.
fn against(ours: &Config, theirs: &Config, arguments: &[&str]) -> Checked {
    let run = ephemint(&[&["check", "--config", FILE, "--json", "--against", "prod.toml"], arguments].concat()).configured(ours);
    let text = theirs.toml(run.path());
    Checked::read(run.file("prod.toml", text).done())
}

/// A configuration whose secrets are none of `ours`.
fn apart(ours: &Config) -> Config {
    let theirs = ours.clone().keys(&["PROD_KEY"]).set("admin.token", r#""env://PROD_TOKEN""#);
    theirs.set("privacy.pseudonym_key", r#""env://PROD_PSEUDONYMS""#)
}

fn ours() -> (Config, impl Drop) {
    struct Kept<T>(T);
    impl<T> Drop for Kept<T> {
        fn drop(&mut self) {}
    }
    let neighbours = neighbours();
    let config = Config::new(&neighbours.0, &neighbours.1)
        .env("PROD_KEY", "sk-proj-canary-permanent-key-prod")
        .env("PROD_TOKEN", "canary-admin-token-0123456789abcdef-of-prod")
        .env("PROD_PSEUDONYMS", "canary-pseudonym-key-0123456789abcdef-of-prod");
    (config, Kept(neighbours))
}

#[test]
fn environments_that_share_nothing_are_well() {
    let (ours, _neighbours) = ours();
    against(&ours, &apart(&ours), &[]).expect_all_well();
    against(&ours, &apart(&ours), &[]).expect("against", "ok", "in common", "");
}

#[test]
fn what_both_use_is_named_by_reference_and_fingerprint() {
    let (ours, _neighbours) = ours();
    let shared = ours.clone().env("PROD_KEY", secrets::PRIMARY_KEY);
    let checked = against(&shared, &apart(&shared), &[]);
    let cause = "both environments use the same key (openai env://PROD_KEY in prod.toml)";
    checked.expect("key", "warning", cause, "Give each environment a project");
    let checked = against(&ours, &apart(&ours).set("admin.token", r#""env://TEST_ADMIN_TOKEN""#), &[]);
    checked.expect("secret", "warning", "the same admin token", "Make a token for each");
    let checked = against(&ours, &apart(&ours).set("privacy.pseudonym_key", r#""env://TEST_PSEUDONYM_KEY""#), &[]);
    checked.expect("secret", "warning", "the same pseudonym key", "Make a key for each");
}

#[test]
fn what_cannot_be_read_is_said_and_no_failure() {
    let (ours, _neighbours) = ours();
    let checked = against(&ours, &apart(&ours).keys(&["ABSENT", "TEST_OPENAI_KEY"]), &[]);
    checked.expect("against", "warning", "env://ABSENT: the environment variable is not set", "Run this where both are readable");
    checked.expect("key", "warning", "both environments use the same key", "Give each environment a project");
    let checked = check_with(&ours, &["--against", "nowhere.toml"]);
    checked.expect("against", "warning", "cannot be read", "Run this where both are readable");
}

#[test]
fn offline_one_reference_is_one_key() {
    let (ours, _neighbours) = ours();
    let kept =
        |path: &str| ours.clone().set("upstreams.openai.credential", &format!(r#"{{ keys = ["vault://secret/{path}#key"] }}"#));
    let theirs =
        |path: &str| apart(&ours).set("upstreams.openai.credential", &format!(r#"{{ keys = ["vault://secret/{path}#key"] }}"#));
    let checked = against(&kept("staging"), &theirs("staging"), &["--offline"]);
    checked.expect("key", "warning", "both environments use the same key", "Give each environment a project");
    against(&kept("staging"), &theirs("prod"), &["--offline"]).expect_all_well();
}
