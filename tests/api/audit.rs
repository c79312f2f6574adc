//! What is written down: one line for each mint and each refusal, before a secret is delivered.

use std::time::Duration;

use aws_lc_rs::digest;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::{MINT, Reply, Service, World, error, eventually, minted_until, now, secrets};

fn fingerprint(key: &str) -> String {
    let digest = digest::digest(&digest::SHA256, key.as_bytes());
    let first: [u8; 4] = digest.as_ref()[..4].try_into().expect("four bytes");
    format!("{:08x}", u32::from_be_bytes(first))
}

fn is_pseudonym(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() == 64 && text.bytes().all(|it| it.is_ascii_hexdigit()))
}

#[tokio::test]
async fn a_mint_is_written_down_with_everything_but_secrets_and_names() {
    let world = World::with(|config| config.set("identity.jwt.main.tenant_claim", r#""org""#));
    let token = world.issuer.token("canary-user-alice").claim("org", "tenant-7").build();
    let answer = world.service.mint(&token).await;
    let session = answer.expect_session();
    let line = world.service.audit_of(answer.request_id()).await;
    for (field, expected) in [
        ("status", json!(200)),
        ("session_id", json!(session)),
        ("profile", json!("default")),
        ("upstream", json!("openai")),
        ("organization", json!("org-test")),
        ("project", json!("proj_test")),
        ("identity", json!("jwt.main")),
        ("tenant", json!("tenant-7")),
        ("key", json!(fingerprint(secrets::PRIMARY_KEY))),
        ("upstream_request_id", json!("req_00000001")),
    ] {
        assert_eq!(line[field], expected, "{field}: {line:#}");
    }
    for field in ["event", "outcome"] {
        assert!(line[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {line:#}");
    }
    assert!(is_pseudonym(&line["user"]), "{line:#}");
    assert!(line["latency_ms"].as_f64().is_some_and(|it| (0.0..60_000.0).contains(&it)), "{line:#}");
    let time: jiff::Timestamp = line["time"].as_str().expect("a time").parse().expect("RFC 3339");
    assert!((time.as_second() - now()).abs() < 60, "{time}");
}

#[tokio::test]
async fn the_entry_is_there_before_the_secret_is_delivered() {
    let world = World::start();
    let token = world.bearer("alice");
    for _ in 0..20 {
        let answer = world.service.mint(&token).await;
        answer.expect_minted();
        let written = world.service.audit().iter().any(|line| line["request_id"] == answer.request_id());
        assert!(written, "the secret came before its entry");
    }
}

#[tokio::test]
async fn every_refusal_is_written_down_once() {
    let world = World::with(|config| config.limit("concurrent_calls", 1));
    let token = world.bearer("alice");
    let service = &world.service;
    world.upstream.script(error(400, "invalid_request_error", "unknown_parameter"));
    let refusals = [
        (service.mint(&token).await, 502, "upstream_rejected"),
        (service.call(Method::POST, MINT).send().await, 401, "missing_credentials"),
        (service.mint("not-a-token").await, 401, "invalid_token"),
        (service.mint_with(&token, &json!({"x": 1})).await, 400, "unknown_field"),
        (service.mint_from("none", &token).await, 403, "profile_forbidden"),
        (service.mint_with(&token, &json!({"session": {"model": "x"}})).await, 403, "session_field_not_allowed"),
    ];
    service.mint(&token).await.expect_minted();
    let limited = (service.mint(&token).await, 429, "concurrency_limited");
    for (answer, status, code) in refusals.into_iter().chain([limited]) {
        answer.expect_problem(status, code);
        let line = service.audit_of(answer.request_id()).await;
        assert_eq!(line["status"], status, "{line:#}");
        assert!(line.to_string().contains(code), "{code}: {line:#}");
        assert_ne!(line["outcome"], "minted", "{line:#}");
    }
}

#[tokio::test]
async fn what_is_refused_before_the_handler_is_written_down_too() {
    let world = World::with(|config| config.set("server.max_in_flight", "1"));
    let token = world.bearer("alice");
    let twice = |path: &str, id: &str| {
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: ephemint\r\nAuthorization: Bearer {token}\r\nAuthorization: Bearer {token}");
        let rest = format!("X-Request-ID: {id}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        world.service.raw().ask(format!("{head}\r\n{rest}").as_bytes())
    };
    for (path, id) in [(MINT, "twice"), ("/v1/realtime/translations/client_secrets", "twice-translated")] {
        twice(path, id).expect_problem(400, "duplicate_header");
        let line = world.service.audit_of(id).await;
        assert_eq!((&line["outcome"], &line["status"]), (&json!("duplicate_header"), &json!(400)), "{line:#}");
    }
    world.upstream.script(Reply::json(200, &minted_until(now() + 120)).after(Duration::from_secs(2)));
    let busy = async {
        eventually("the upstream is asked", 5, async || (world.upstream.count() == 1).then_some(())).await;
        let answer = world.service.mint(&token).await;
        answer.expect_problem(503, "overloaded");
        let line = world.service.audit_of(answer.request_id()).await;
        assert_eq!((&line["outcome"], &line["status"]), (&json!("overloaded"), &json!(503)), "{line:#}");
    };
    let (minted, ()) = tokio::join!(world.service.mint(&token), busy);
    minted.expect_minted();
    twice("/v1/sessions", "no-mint").expect(400);
    world.service.get("/v1/realtime/client_secrets", &token).await.expect(405);
    let mints = world.service.audit().len();
    assert_eq!(mints, 4, "only mints have entries");
}

#[tokio::test]
async fn a_refusal_names_the_profile_that_is_the_callers() {
    let world = World::with(|config| {
        config.limit("concurrent_calls", 1).profile("internal").set("profiles.internal.allow", r#"{ groups = ["staff"] }"#)
    });
    let token = world.bearer("alice");
    let service = &world.service;
    let broken = service.call(Method::POST, MINT).bearer(&token).body("application/json", "{").send().await;
    let long = service.mint_with(&token, &json!({"expires_after": {"seconds": 601}})).await;
    let fixed = service.mint_with(&token, &json!({"session": {"model": "x"}})).await;
    service.mint(&token).await.expect_minted();
    let limited = service.mint(&token).await;
    for answer in [broken, long, fixed, limited] {
        let line = service.audit_of(answer.request_id()).await;
        let named = ["profile", "upstream", "organization", "project"].map(|field| line[field].as_str().unwrap_or_default());
        assert_eq!(named, ["default", "openai", "org-test", "proj_test"], "{line:#}");
    }
    for name in ["internal", "no-such-profile"] {
        let answer = service.mint_from(name, &token).await;
        answer.expect_problem(403, "profile_forbidden");
        let line = service.audit_of(answer.request_id()).await;
        assert!(["profile", "upstream", "organization", "project"].iter().all(|field| line[field].is_null()), "{line:#}");
    }
}

#[tokio::test]
async fn a_user_is_the_same_pseudonym_in_every_entry() {
    let world = World::start();
    let mut users = Vec::new();
    for user in ["alice", "alice", "bob"] {
        let answer = world.service.mint(&world.bearer(user)).await;
        answer.expect_minted();
        let line = world.service.audit_of(answer.request_id()).await;
        assert!(is_pseudonym(&line["user"]), "{line:#}");
        users.push(line["user"].clone());
    }
    assert_eq!(users[0], users[1]);
    assert_ne!(users[0], users[2]);
    let refused = world.service.mint_with(&world.bearer("bob"), &json!({"x": 1})).await;
    let line = world.service.audit_of(refused.request_id()).await;
    assert_eq!(line["user"], users[2], "a refused user is known by the same name");
}

#[tokio::test]
async fn the_entry_names_the_key_that_was_used() {
    let world = World::with(|config| config.keys(&["TEST_OPENAI_KEY", "TEST_OPENAI_KEY_FALLBACK"]));
    world.upstream.revoke(secrets::PRIMARY_KEY);
    let answer = world.service.mint(&world.bearer("alice")).await;
    answer.expect_minted();
    let line = world.service.audit_of(answer.request_id()).await;
    assert_eq!(line["key"], fingerprint(secrets::FALLBACK_KEY), "{line:#}");
}

#[tokio::test]
async fn what_callers_write_stays_inside_its_line() {
    let world = World::start();
    let token = world.bearer("alice");
    let answer = world.service.mint_from("x%22%7D%0A%7B%22event%22%3A%22forged%22%7D%0D%1B%5B31m", &token).await;
    answer.expect_problem(403, "profile_forbidden");
    world.service.audit_of(answer.request_id()).await;
    assert!(world.service.audit().iter().all(|line| line["event"] != "forged"));
    let text = std::fs::read_to_string(world.service.audit_file()).expect("the audit");
    assert!(!text.contains(['\r', '\u{1b}']), "{text}");
    assert!(!world.service.stderr().contains('\u{1b}'), "escape codes in the log");
}

#[tokio::test]
async fn without_an_entry_there_is_no_secret() {
    let world = World::with(|config| config.set("audit.sinks", r#"["file:///dev/full"]"#));
    let token = world.bearer("alice");
    for _ in 0..2 {
        let answer = world.service.mint(&token).await;
        answer.expect_problem(503, "audit_unavailable");
        assert!(!answer.text().contains(secrets::MINTED), "{answer}");
    }
    let answer = world.service.mint_with(&token, &json!({"x": 1})).await;
    answer.expect_problem(400, "unknown_field");
}

#[tokio::test]
async fn one_sink_that_fails_is_enough_to_refuse() {
    let world = World::with(|config| config.set("audit.sinks", r#"["stdout", "file:///dev/full"]"#));
    world.service.mint(&world.bearer("alice")).await.expect_problem(503, "audit_unavailable");
}

#[tokio::test]
async fn an_audit_that_is_not_required_does_not_stop_anybody() {
    let world = World::with(|config| config.set("audit.sinks", r#"["file:///dev/full"]"#).set("audit.required", "false"));
    world.service.mint(&world.bearer("alice")).await.expect_minted();
}

#[tokio::test]
async fn entries_can_go_to_standard_output() {
    let world = World::with(|config| config.set("audit.sinks", r#"["stdout"]"#));
    let answer = world.service.mint(&world.bearer("alice")).await;
    answer.expect_minted();
    let entry = |service: &Service| {
        let lines = service.stdout();
        lines
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|line| line["request_id"] == answer.request_id())
    };
    let line = eventually("the entry on standard output", 10, async || entry(&world.service)).await;
    assert_eq!(line["status"], 200, "{line:#}");
}

#[tokio::test]
async fn a_mint_that_the_client_did_not_wait_for_is_written_down() {
    let world = World::start();
    let token = world.bearer("alice");
    world.upstream.script(Reply::json(200, &minted_until(now() + 120)).after(Duration::from_millis(500)));
    let request = format!(
        "POST {MINT} HTTP/1.1\r\nHost: ephemint\r\nAuthorization: Bearer {token}\r\nX-Request-ID: gone\r\nContent-Length: 0\r\n\r\n"
    );
    let stream = TcpStream::connect(world.service.public()).await.expect("a connection");
    stream.writable().await.expect("a connection");
    assert_eq!(stream.try_write(request.as_bytes()).ok(), Some(request.len()));
    eventually("the upstream is asked", 5, async || (world.upstream.count() == 1).then_some(())).await;
    stream.set_zero_linger().expect("a reset instead of a farewell");
    drop(stream);
    let line = world.service.audit_of("gone").await;
    assert!(line["session_id"].is_string(), "{line:#}");
    assert_eq!(line["upstream_request_id"], Value::Null, "{line:#}");
}
