//! Browsers: preflights, what pages may read, names of this machine.

use std::process::Command;

use serde_json::json;

use crate::client::{KEY, OFFER, Sandbox, expect_refusal};
use crate::running::Running;

#[test]
fn a_preflight_allows_what_the_official_clients_send() {
    let sandbox = Sandbox::start();
    for path in ["/v1/realtime/calls", "/v1/realtime/client_secrets", "/scenarios/slow/v1/realtime/calls"] {
        let headers = "Origin: http://localhost:3000\r\nAccess-Control-Request-Method: POST\r\n\
                       Access-Control-Request-Headers: authorization,content-type,x-openai-agents-sdk,x-stainless-lang\r\n";
        let answer = sandbox.ask("OPTIONS", path, headers, "");
        assert_eq!(answer.expect(204).header("access-control-allow-origin"), Some("http://localhost:3000"), "{answer}");
        let allowed = answer.header("access-control-allow-headers").expect("headers");
        for name in ["authorization", "content-type", "x-openai-agents-sdk", "x-stainless-lang"] {
            assert!(allowed.contains(name), "{name}: {answer}");
        }
        assert!(answer.header("access-control-allow-methods").is_some_and(|methods| methods.contains("POST")), "{answer}");
    }
}

#[test]
fn pages_may_read_answers_and_refusals() {
    let sandbox = Sandbox::start();
    let secret = sandbox.mint(&json!({"type": "realtime"}));
    for origin in ["http://localhost:5173", "http://127.0.0.1", "https://app.example.com"] {
        let headers = format!("Authorization: Bearer {secret}\r\nContent-Type: application/sdp\r\nOrigin: {origin}\r\n");
        for (sdp, status) in [(OFFER, 201), ("garbage", 400)] {
            let answer = sandbox.ask("POST", "/v1/realtime/calls", &headers, sdp);
            assert_eq!(answer.expect(status).header("access-control-allow-origin"), Some(origin), "{answer}");
            assert!(answer.header("access-control-expose-headers").is_some_and(|names| names.contains("Location")), "{answer}");
            assert!(answer.all("vary").iter().any(|names| names.contains("Origin")), "{answer}");
        }
    }
    let answer = sandbox.offer("/v1/realtime/calls", &secret, OFFER);
    assert_eq!(answer.header("access-control-allow-origin"), None, "{answer}");
}

#[test]
fn foreign_names_of_this_machine_are_refused() {
    let sandbox = Sandbox::start();
    let port = sandbox.address.port();
    for host in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "0.0.0.0", "192.0.2.1"]
    {
        let answer =
            sandbox.ask_with_host(&format!("Host: {host}\r\n"), "GET", "/v1/models", "Authorization: Bearer sk-x\r\n", "");
        expect_refusal(&answer, 403, "host_not_allowed");
    }
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), "localhost".into(), "[::1]".into()] {
        let answer =
            sandbox.ask_with_host(&format!("Host: {host}\r\n"), "GET", "/v1/models", "Authorization: Bearer sk-x\r\n", "");
        answer.expect(200);
    }
}

/// Beside the service the sandbox has one key, which nobody but the service knows.
#[test]
fn the_sandbox_of_dev_is_for_pages_of_this_machine() {
    let running = Running::start(&["dev", "--port", "0", "--admin-port", "0"], |_: &mut Command| {});
    let address = running.printed("sandbox", |line| line.trim().strip_prefix("http://")?.parse().ok());
    let sandbox = Sandbox { running, address };
    for (origin, readable) in [
        ("http://localhost:5173", true),
        ("http://127.0.0.1:8080", true),
        ("http://[::1]:8080", true),
        ("http://app.localhost", true),
        ("https://app.example.com", false),
        ("http://localhost.evil.example", false),
        ("http://127.0.0.1.evil.example:80", false),
        ("null", false),
    ] {
        let headers = format!("Authorization: Bearer {KEY}\r\nOrigin: {origin}\r\n");
        let answer = sandbox.ask("POST", "/v1/realtime/client_secrets", &headers, "{}");
        expect_refusal(&answer, 401, "invalid_api_key");
        assert_eq!(answer.header("access-control-allow-origin"), readable.then_some(origin), "{answer}");
    }
}
