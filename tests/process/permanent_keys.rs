//! Permanent keys and other secrets are read at the start; a bad one is named by its reference.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use super::run::{Outcome, Run, good, serve};

const KEY: &str = "upstreams.openai.credential.keys[0]";

/// The outcome of a start with this permanent key in a variable.
fn with_key(key: &str) -> Outcome {
    serve(&good().env("TEST_OPENAI_KEY", key)).done()
}

/// The outcome of a start whose permanent key is the file `key` in the run's directory, made by `prepare`.
fn with_key_file(prepare: impl FnOnce(Run) -> Run) -> (Outcome, String) {
    let run = prepare(serve(&good()));
    let reference = format!("file://{}", run.path().join("key").display());
    let config = good().set("upstreams.openai.credential", &format!("{{ keys = [{reference:?}] }}"));
    (run.configured(&config).done(), reference)
}

#[test]
fn a_key_that_is_not_there_is_named_by_its_reference() {
    let config = good().keys(&["NOT_SET", "NOT_SET_EITHER"]);
    let outcome = serve(&config).done();
    outcome.expect_problem(KEY, "env://NOT_SET: the environment variable is not set");
    outcome.expect_problem("upstreams.openai.credential.keys[1]", "env://NOT_SET_EITHER");
    let (outcome, reference) = with_key_file(|run| run);
    outcome.expect_problem(KEY, &format!("{reference}: cannot be read"));
}

#[test]
fn an_empty_key_is_named_by_its_reference() {
    for empty in ["", " ", "\n", "\t\n"] {
        with_key(empty).expect_problem(KEY, "env://TEST_OPENAI_KEY: is empty");
    }
    let (outcome, reference) = with_key_file(|run| run.file("key", "\n"));
    outcome.expect_problem(KEY, &format!("{reference}: is empty"));
}

#[test]
fn a_key_that_cannot_mint_is_named_by_its_reference_and_says_why() {
    for (key, word) in [
        ("sk-admin-canary-literal-0001", "sk-admin-"),
        ("ek_canary-literal-0001", "ek_"),
        ("canary-literal-0001", "begins with sk-"),
        ("sk-", "begins with sk-"),
        ("Bearer sk-proj-canary-literal", "begins with sk-"),
        ("\"sk-proj-canary-literal\"", "begins with sk-"),
        ("sk-proj-canary-literal one more", "spaces"),
        ("sk-proj-canary-literal\nsk-proj-canary-literal", "line breaks"),
        ("sk-proj-canary-literal\u{e9}", "no key has"),
        ("sk-proj-canary-literal\u{200b}", "no key has"),
        ("OPENAI_API_KEY=sk-proj-canary-literal", "begins with sk-"),
    ] {
        let outcome = with_key(key);
        outcome.expect_problem(KEY, word);
        outcome.expect_problem(KEY, "env://TEST_OPENAI_KEY");
    }
}

#[test]
fn a_key_file_must_be_a_small_text_file() {
    let (outcome, _) = with_key_file(|run| run.file("key", vec![b'x'; 65 * 1024]));
    outcome.expect_problem(KEY, "larger");
    let (outcome, _) = with_key_file(|run| run.file("key", b"sk-proj-\xff\xfe"));
    outcome.expect_problem(KEY, "not UTF-8");
    let (outcome, _) = with_key_file(|run| {
        std::fs::create_dir(run.path().join("key")).expect("a folder");
        run
    });
    outcome.expect_problem(KEY, "not a file");
    let zero = good().set("upstreams.openai.credential", r#"{ keys = ["file:///dev/zero"] }"#);
    serve(&zero).done().expect_problem(KEY, "not a file");
}

#[test]
fn a_pipe_in_place_of_a_key_file_does_not_stop_the_start() {
    let (outcome, _) = with_key_file(|run| {
        let made = std::process::Command::new("mkfifo").arg(run.path().join("key")).status();
        assert!(made.is_ok_and(|status| status.success()));
        run
    });
    outcome.expect_problem(KEY, "not a file");
}

#[test]
fn short_secrets_are_refused() {
    for (variable, key) in [("TEST_ADMIN_TOKEN", "admin.token"), ("TEST_PSEUDONYM_KEY", "privacy.pseudonym_key")] {
        let outcome = serve(&good().env(variable, "canary-literal1")).done();
        outcome.expect_problem(key, &format!("env://{variable}: must have at least 16"));
        serve(&good().env(variable, "")).done().expect_problem(key, &format!("env://{variable}: is empty"));
    }
}

#[test]
fn every_bad_key_is_reported_at_once() {
    let config = good().env("A", "sk-admin-canary-literal").env("B", "").keys(&["A", "B", "C"]);
    let outcome = serve(&config).done();
    for (place, word) in [(0, "env://A"), (1, "env://B"), (2, "env://C")] {
        outcome.expect_problem(&format!("upstreams.openai.credential.keys[{place}]"), word);
    }
    assert_eq!(outcome.expect_refused().len(), 3, "{outcome}");
}

#[test]
fn a_key_file_that_may_not_be_read_is_named() {
    let (outcome, reference) = with_key_file(|run| {
        let run = run.file("key", "sk-proj-canary-literal");
        let file = run.path().join("key");
        std::fs::set_permissions(&file, Permissions::from_mode(0o000)).expect("permissions");
        if std::fs::read(&file).is_ok() {
            // For root no file is out of reach; a folder in the way is.
            std::fs::remove_file(&file).expect("the file");
            std::os::unix::fs::symlink("key", &file).expect("a link to itself");
        }
        run
    });
    outcome.expect_problem(KEY, &format!("{reference}: cannot be read"));
}
