//! Variables override the file, and problems in them are named by the variable.

use serde_json::{Value, json};

use super::run::{ephemint, good, print, serve};
use super::running::{Running, get};

/// The effective configuration, as JSON.
fn effective(variables: &[(&str, &str)]) -> Value {
    let run = variables.iter().fold(print(&good()), |run, (name, value)| run.env(name, value));
    let outcome = run.done();
    outcome.expect(0);
    toml::from_str(&outcome.stdout).expect("config print writes TOML")
}

#[test]
fn a_variable_overrides_the_file() {
    let config = effective(&[
        ("EPHEMINT__SERVER__LISTEN", "127.0.0.1:4321"),
        ("EPHEMINT__SERVER__WORKERS", "3"),
        ("EPHEMINT__SERVER__ALLOWED_ORIGINS", r#"["https://a.example"]"#),
        ("EPHEMINT__ADMIN__OPEN_METRICS", "true"),
        ("EPHEMINT__ADMIN__TOKEN", "env://OTHER_TOKEN"),
        ("EPHEMINT__IDENTITY__JWT__MAIN__AUDIENCE", r#"["other"]"#),
        ("EPHEMINT__IDENTITY__JWT__SECOND__ISSUER", "https://second.example.com/"),
        ("EPHEMINT__IDENTITY__JWT__SECOND__AUDIENCE", r#"["voice"]"#),
        ("EPHEMINT__UPSTREAMS__OPENAI__CREDENTIAL__KEYS", r#"["env://OTHER_KEY"]"#),
        ("EPHEMINT__PROFILES__DEFAULT__ALLOW", r#"{ groups = ["support"] }"#),
        ("EPHEMINT__PROFILES__DEFAULT__SESSION__MODEL", "gpt-other"),
        ("EPHEMINT__TELEMETRY__LOG", "info,ephemint::provider=debug"),
    ]);
    for (pointer, expected) in [
        ("/server/listen", json!("127.0.0.1:4321")),
        ("/server/workers", json!(3)),
        ("/server/allowed_origins", json!(["https://a.example"])),
        ("/admin/open_metrics", json!(true)),
        ("/admin/token", json!("env://OTHER_TOKEN")),
        ("/identity/jwt/main/audience", json!(["other"])),
        ("/identity/jwt/main/issuer", json!("http://127.0.0.1:9/")),
        ("/identity/jwt/second/issuer", json!("https://second.example.com/")),
        ("/upstreams/openai/credential/keys", json!(["env://OTHER_KEY"])),
        ("/profiles/default/allow/groups", json!(["support"])),
        ("/profiles/default/session/model", json!("gpt-other")),
        ("/profiles/default/session/type", json!("realtime")),
        ("/telemetry/log", json!("info,ephemint::provider=debug")),
    ] {
        assert_eq!(config.pointer(pointer), Some(&expected), "{pointer}: {config:#}");
    }
}

#[test]
fn a_bad_variable_is_named() {
    for (variable, value, key, word) in [
        ("EPHEMINT__SERVER__LISTEN", "nowhere", "server.listen", "IP address"),
        ("EPHEMINT__SERVER__WORKERS", "many", "server.workers", "expected"),
        ("EPHEMINT__SERVER__WORKERS", "1000", "server.workers", "256"),
        ("EPHEMINT__SERVER__SPEED", "1", "server.speed", "no such key"),
        ("EPHEMINT__COLOUR", "1", "colour", "no such key"),
        ("EPHEMINT__SERVER__ALLOWED_ORIGINS", r#"["https://a.example", "*"]"#, "server.allowed_origins[1]", "exact"),
        ("EPHEMINT__PROFILES__DEFAULT__LIMITS", "{ mints_per_minute = 0 }", "profiles.default.limits.mints_per_minute", "from 1"),
        (
            "EPHEMINT__UPSTREAMS__OPENAI__CREDENTIAL__KEYS",
            r#"["env://NOT_SET"]"#,
            "upstreams.openai.credential.keys[0]",
            "NOT_SET",
        ),
    ] {
        let outcome = serve(&good()).env(variable, value).done();
        outcome.expect_problem_of(&format!("environment variable {variable}"), key, word);
        assert_eq!(outcome.expect_refused().len(), 1, "{outcome}");
    }
    let variable = "EPHEMINT__ENVIRONMENT";
    let outcome = serve(&good()).env(variable, "production").done();
    outcome.expect_problem_of(&format!("environment variable {variable}"), "environment", "staging");
}

#[test]
fn a_variable_mends_what_is_wrong_in_the_file() {
    let broken = good().set("server.listen", r#""nowhere""#).set("telemetry.log_format", "7");
    serve(&broken).done().expect_refused();
    print(&broken)
        .env("EPHEMINT__SERVER__LISTEN", "127.0.0.1:1")
        .env("EPHEMINT__TELEMETRY__LOG_FORMAT", "pretty")
        .done()
        .expect(0);
}

#[test]
fn problems_of_file_and_variable_come_together() {
    let outcome = serve(&good().set("server.workers", "999")).env("EPHEMINT__ADMIN__LISTEN", "nowhere").done();
    outcome.expect_problem("server.workers", "256");
    outcome.expect_problem_of("environment variable EPHEMINT__ADMIN__LISTEN", "admin.listen", "IP address");
    assert_eq!(outcome.expect_refused().len(), 2, "{outcome}");
}

#[test]
fn with_neither_file_nor_identity_it_says_how_to_add_one_or_to_try_it_out() {
    let run = || ephemint(&[]).env("OPENAI_API_KEY", "sk-proj-canary-literal-0001").env("OPENAI_ORG_ID", "org-1");
    for run in [run(), run().env("OPENAI_PROJECT_ID", "proj_1"), run().env("EPHEMINT__ENVIRONMENT", "dev")] {
        let outcome = run.done();
        let problems = outcome.expect_refused();
        let line = problems.iter().find(|line| line.contains(": identity: ")).unwrap_or_else(|| panic!("{outcome}"));
        for word in ["[identity.jwt.main]", "issuer", "audience", "`ephemint dev`", "no configuration file"] {
            assert!(line.contains(word), "{word} in {line}");
        }
        assert!(!outcome.stderr.contains("OPENAI_API_KEY"), "the key is there: {outcome}");
    }
}

#[test]
fn with_no_file_and_no_key_the_variable_is_named() {
    let outcome = ephemint(&["serve"]).env("EPHEMINT__ENVIRONMENT", "dev").done();
    let line = outcome.expect_refused().into_iter().find(|line| line.contains("env://OPENAI_API_KEY"));
    assert!(line.is_some_and(|line| line.contains("not set")), "{outcome}");
}

#[test]
fn the_variables_that_other_tools_read_reach_the_upstream() {
    let run = ephemint(&["config", "print"])
        .env("EPHEMINT__ENVIRONMENT", "dev")
        .env("OPENAI_ORG_ID", "org-1")
        .env("OPENAI_PROJECT_ID", "proj_1")
        .env("EPHEMINT__IDENTITY__JWT__MAIN__ISSUER", "https://login.example.com/")
        .env("EPHEMINT__IDENTITY__JWT__MAIN__AUDIENCE", r#"["voice"]"#);
    let outcome = run.done();
    outcome.expect(0);
    let config: Value = toml::from_str(&outcome.stdout).expect("TOML");
    let upstream = &config["upstreams"]["openai"];
    assert_eq!((&upstream["organization"], &upstream["project"]), (&json!("org-1"), &json!("proj_1")), "{config:#}");
    assert_eq!(upstream["credential"]["keys"], json!(["env://OPENAI_API_KEY"]), "{config:#}");
}

#[test]
fn variables_alone_are_enough_to_run() {
    let mut running = Running::start(&["serve"], |command| {
        command
            .env("OPENAI_API_KEY", "sk-proj-canary-literal-0001")
            .env("EPHEMINT__ENVIRONMENT", "dev")
            .env("EPHEMINT__SERVER__LISTEN", "127.0.0.1:0")
            .env("EPHEMINT__ADMIN__LISTEN", "127.0.0.1:0")
            .env("EPHEMINT__IDENTITY__JWT__MAIN__ISSUER", "http://127.0.0.1:9/")
            .env("EPHEMINT__IDENTITY__JWT__MAIN__AUDIENCE", r#"["voice"]"#);
    });
    let public = running.listening("public");
    assert_eq!(get(public, "/livez").expect("an answer").status, 200);
    running.signal("TERM");
    running.expect_exit(0);
}
