//! All problems at once: nobody should have to start a service twelve times to correct twelve mistakes.

use super::run::{FILE, ephemint, good, print, serve};

const TWELVE: &str = r#"
environment = "prod"
colour = "red"
[server]
listen = 8080
max_in_flight = 0
allowed_origins = ["https://app.example.com", "*"]
[admin]
token = "sk-proj-canary-literal"
[identity.jwt.main]
issuer = "http://login.example.com/"
audience = []
algorithms = ["RS256", "HS256"]
[upstreams.openai]
credential = { keys = ["env://NOT_SET"] }
[profiles.default]
upstream = "azure"
ttl_seconds = 30
session = { model = "gpt-realtime-2.1" }
"#;

const KEYS: [&str; 12] = [
    "colour",
    "server.listen",
    "server.max_in_flight",
    "server.allowed_origins[1]",
    "admin.token",
    "privacy.pseudonym_key",
    "identity.jwt.main.issuer",
    "identity.jwt.main.audience",
    "identity.jwt.main.algorithms[1]",
    "upstreams.openai.credential.keys[0]",
    "profiles.default.upstream",
    "profiles.default.ttl_seconds",
];

#[test]
fn twelve_problems_are_twelve_lines_with_file_and_key() {
    let outcome = ephemint(&["serve", "--config", FILE]).file(FILE, TWELVE).done();
    let problems = outcome.expect_refused();
    for key in KEYS {
        let place = format!("{FILE}: {key}: ");
        let lines: Vec<_> = problems.iter().filter(|line| line.starts_with(&place)).collect();
        assert_eq!(lines.len(), 1, "{place}\n{outcome}");
        assert!(lines[0].len() > place.len() + 10, "a cause: {}", lines[0]);
    }
    assert_eq!(problems.len(), KEYS.len(), "{outcome}");
}

#[test]
fn a_misspelt_key_hides_no_other_problem() {
    let config = good().set("upstream.openai.timeout_seconds", "8").set("upstreams.openai.timeout_seconds", "600");
    let outcome = serve(&config).done();
    outcome.expect_problem("upstream", "no such key");
    outcome.expect_problem("upstreams.openai.timeout_seconds", "60");
    let outcome = serve(&good().set("server.max", "1").set("server.max_in_flight", "0")).done();
    outcome.expect_problem("server.max", "no such key");
    outcome.expect_problem("server.max_in_flight", "100000");
}

#[test]
fn every_bad_item_of_a_list_is_named_by_its_own_place() {
    let config = good().set("profiles.default.client_may_set", r#"["/speed", 7, 8, "audio"]"#);
    let outcome = serve(&config).done();
    for place in 1..=3 {
        outcome.expect_problem(&format!("profiles.default.client_may_set[{place}]"), "JSON pointer");
    }
    assert_eq!(outcome.expect_refused().len(), 3, "{outcome}");
    let outcome = serve(&good().set("server.allowed_origins", r#"[7, "*"]"#)).done();
    outcome.expect_problem("server.allowed_origins[0]", "expected a string");
    outcome.expect_problem("server.allowed_origins[1]", "exact");
}

#[test]
fn an_audit_file_that_cannot_be_opened_is_a_problem_like_the_others() {
    let config = good().set("audit.sinks", r#"["stdout", "file:///nonexistent/audit.jsonl", "file:///tmp"]"#);
    let outcome = serve(&config.clone().set("server.workers", "999")).done();
    outcome.expect_problem("server.workers", "256");
    outcome.expect_problem("audit.sinks[1]", "its folder must exist");
    outcome.expect_problem("audit.sinks[2]", "directory");
    assert_eq!(outcome.expect_refused().len(), 3, "{outcome}");
    // On another machine than the service's.
    print(&config).done().expect(0);
}

#[test]
fn printing_creates_no_audit_file() {
    let folder = tempfile::TempDir::new().expect("a temporary directory");
    let file = folder.path().join("audit.jsonl");
    print(&good().set("audit.sinks", &format!("[\"file://{}\"]", file.display()))).done().expect(0);
    assert!(!file.exists());
}

#[test]
fn a_value_where_a_table_belongs_is_told_in_words_of_the_file() {
    for (table, name) in [("profiles", "default"), ("upstreams", "openai")] {
        let outcome = serve(&good().without(&format!("{table}.{name}")).set(&format!("{table}.{name}"), "7")).done();
        outcome.expect_problem(&format!("{table}.{name}"), "expected a table");
        assert!(!outcome.stderr.contains("Raw") && !outcome.stderr.contains("struct"), "{outcome}");
    }
}

#[test]
fn a_problem_is_told_once() {
    let outcome = serve(&good().set("server.listen", "8080").set("identity.jwt.main.audience", "7")).done();
    assert_eq!(outcome.expect_refused().len(), 2, "{outcome}");
}

#[test]
fn an_empty_file_says_everything_that_is_missing() {
    let outcome = ephemint(&["serve", "--config", FILE]).file(FILE, "").done();
    for key in ["privacy.pseudonym_key", "identity", "upstreams", "profiles"] {
        outcome.expect_problem(key, "");
    }
    assert_eq!(outcome.expect_refused().len(), 4, "{outcome}");
}
