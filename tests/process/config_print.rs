//! `config print`: everything that is in effect, with references in place of secrets, in a form that can be read again.

use std::time::Duration;

use serde_json::{Value, json};

use super::run::{FILE, ephemint, good, print};
use super::running::{Running, ask};
use crate::support::{Config, World};

/// A configuration that uses every kind of value.
fn rich() -> Config {
    good()
        .set("server.public_url", r#""https://voice.example.com""#)
        .set("server.drain_seconds", "7")
        .set("identity.jwt.main.tenant_claim", r#""org""#)
        .set("identity.jwt.main.required_claims", r#"{ tier = ["gold", 3, true] }"#)
        .set("profiles.default.allow", r#"{ groups = ["support"], claims = { region = "eu" } }"#)
        .set("profiles.default.client_may_set", r#"["/audio/output/voice", { pointer = "/speed", one_of = [1.0, 1.25] }]"#)
        .set("profiles.default.limits.monthly_mints", "1000")
        .other_profile(
            "captions",
            "transcription",
            r#"{ audio = { input = { transcription = { model = "gpt-4o-transcribe" } } } }"#,
        )
        .other_profile(
            "interpreter",
            "translation",
            r#"{ model = "gpt-realtime-translate", audio = { output = { language = "fr" } } }"#,
        )
}

#[track_caller]
fn printed(config: &Config) -> String {
    let outcome = print(config).done();
    outcome.expect(0);
    assert!(outcome.stderr.is_empty(), "{outcome}");
    outcome.stdout
}

fn read(text: &str) -> Value {
    toml::from_str(text).unwrap_or_else(|error| panic!("not TOML: {error}\n{text}"))
}

#[test]
fn references_are_printed_and_secrets_are_not() {
    // That no secret is printed is checked of every command.
    let config = read(&printed(&good()));
    assert_eq!(config["admin"]["token"], "env://TEST_ADMIN_TOKEN", "{config:#}");
    assert_eq!(config["privacy"]["pseudonym_key"], "env://TEST_PSEUDONYM_KEY", "{config:#}");
    assert_eq!(config["upstreams"]["openai"]["credential"]["keys"], json!(["env://TEST_OPENAI_KEY"]), "{config:#}");
}

#[test]
fn secrets_need_not_be_there() {
    let config = read(&printed(&good().keys(&["NOT_SET"]).set("admin.token", r#""file:///nonexistent/token""#)));
    assert_eq!(config["admin"]["token"], "file:///nonexistent/token", "{config:#}");
}

#[test]
fn a_credential_inside_a_session_is_not_printed() {
    let tools =
        r#"[{ type = "mcp", server_label = "crm", server_url = "https://crm.example.com", authorization = "canary-literal" }]"#;
    let outcome = print(&good().set("profiles.default.session.tools", tools)).done();
    assert!(matches!(outcome.code, Some(0 | 78)), "{outcome}");
}

#[test]
fn defaults_are_printed() {
    let config = read(&printed(&good()));
    for (pointer, expected) in [
        ("/server/max_in_flight", json!(2048)),
        ("/server/shutdown_grace_seconds", json!(25)),
        ("/identity/jwt/main/user_claim", json!("sub")),
        ("/identity/jwt/main/leeway_seconds", json!(30)),
        ("/upstreams/openai/timeout_seconds", json!(8)),
        ("/upstreams/openai/max_attempts", json!(3)),
        ("/audit/required", json!(true)),
        ("/telemetry/log_format", json!("json")),
    ] {
        assert_eq!(config.pointer(pointer), Some(&expected), "{pointer}: {config:#}");
    }
}

#[test]
fn a_default_that_depends_on_the_environment_is_printed_as_it_is_in_effect() {
    for (config, seconds) in
        [(good(), 0), (good().set("environment", r#""staging""#), 5), (good().set("server.drain_seconds", "7"), 7)]
    {
        assert_eq!(read(&printed(&config))["server"]["drain_seconds"], seconds);
    }
}

#[test]
fn what_is_printed_can_be_read_again_and_is_the_same() {
    for config in [good(), rich()] {
        let first = printed(&config);
        let second = ephemint(&["config", "print", "--config", FILE]).file(FILE, &first).done();
        second.expect(0);
        assert_eq!(second.stdout, first);
    }
}

#[test]
fn nothing_that_was_written_is_lost() {
    let written = rich();
    let directory = std::path::Path::new("/nonexistent");
    let (written, printed) = (read(&written.toml(directory)), read(&printed(&written)));
    expect_within(&written, &printed, "");
}

/// Everything in `part` is in `whole`, but for the audit's file, which is in another directory.
fn expect_within(part: &Value, whole: &Value, place: &str) {
    match (part, whole) {
        _ if place == "/audit/sinks" => {}
        (Value::Object(part), Value::Object(whole)) => {
            for (key, value) in part {
                let place = format!("{place}/{key}");
                expect_within(value, whole.get(key).unwrap_or_else(|| panic!("{place} is lost")), &place);
            }
        }
        _ => assert_eq!(part, whole, "{place}"),
    }
}

#[tokio::test]
async fn the_service_runs_on_what_was_printed() {
    let world = World::start();
    let written = std::fs::read_to_string(world.service.directory().join(FILE)).expect("the file");
    let outcome = ephemint(&["config", "print", "--config", FILE]).file(FILE, &written).done();
    outcome.expect(0);
    let again = Config::new(&world.issuer, &world.upstream);
    let mut service = Running::start(&["serve", "--config", FILE], |command| {
        let directory = command.get_current_dir().expect("a directory").to_owned();
        std::fs::write(directory.join(FILE), &outcome.stdout).expect("the file");
        command.envs(again.environment());
    });
    let public = service.listening("public");
    let token = world.bearer("alice");
    let head = format!("POST {} HTTP/1.1\r\nHost: ephemint\r\nAuthorization: Bearer {token}", crate::support::MINT);
    tokio::time::sleep(Duration::from_millis(50)).await;
    ask(public, &head, "").expect("an answer").expect_minted();
    service.signal("TERM");
    service.expect_exit(0);
}

#[test]
fn a_refused_configuration_is_not_printed() {
    let outcome = print(&good().set("server.workers", "999")).done();
    outcome.expect_problem("server.workers", "256");
}
