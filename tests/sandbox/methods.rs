//! Methods that a path does not take.

use std::process::Command;

use crate::client::{KEY, Sandbox, expect_refusal};
use crate::running::Running;

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"];
/// Every path of the upstream, and what it takes.
const UPSTREAM: [(&str, &str); 12] = [
    ("/v1/realtime/client_secrets", "POST"),
    ("/v1/realtime/translations/client_secrets", "POST"),
    ("/v1/realtime/sessions", "POST"),
    ("/v1/realtime/transcription_sessions", "POST"),
    ("/v1/realtime/calls", "POST"),
    ("/v1/realtime/calls/rtc_1/hangup", "POST"),
    ("/v1/realtime", "GET, POST"),
    ("/v1/live/sessions", "POST"),
    ("/v1/live/sessions/live_1/hangup", "POST"),
    ("/v1/live/sessions/live_1/attach", "GET"),
    ("/v1/models", "GET"),
    ("/v1/models/gpt-realtime-2.1", "GET"),
];
/// And of the issuer beside it.
const ISSUER: [(&str, &str); 2] = [("/.well-known/openid-configuration", "GET"), ("/jwks", "GET")];

/// Exactly the methods of `allow` are not refused, and every refusal names them.
#[track_caller]
fn expect_methods(sandbox: &Sandbox, path: &str, allow: &str) {
    for method in METHODS {
        let answer = sandbox.ask(method, path, &format!("Authorization: Bearer {KEY}\r\n"), "");
        if allow.split(", ").any(|taken| taken == method) {
            assert!(answer.status != 405 && answer.status != 404 || path.contains("_1"), "{method} {path}: {answer}");
            assert_eq!(answer.header("allow"), None, "{method} {path}: {answer}");
        } else {
            assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {path}: {answer}");
            if method != "HEAD" {
                let error = expect_refusal(&answer, 405, "");
                let hint =
                    format!("Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)");
                assert_eq!(error["message"], hint.as_str());
            }
        }
    }
}

#[test]
fn a_method_that_a_path_does_not_take_is_answered_with_those_that_it_takes() {
    let sandbox = Sandbox::start();
    for (path, allow) in UPSTREAM {
        expect_methods(&sandbox, path, allow);
        expect_methods(&sandbox, &format!("/scenarios/happy{path}"), allow);
    }
    for (path, allow) in ISSUER {
        expect_methods(&sandbox, path, allow);
    }
    let unknown = sandbox.get("/v1/unknown", KEY);
    assert_eq!(expect_refusal(&unknown, 404, "")["message"], "Invalid URL (GET /v1/unknown)");
    assert_eq!(unknown.header("allow"), None, "{unknown}");
}

#[test]
fn so_is_the_development_sign_in() {
    let running = Running::start(&["dev", "--port", "0", "--admin-port", "0"], |_: &mut Command| {});
    let address = running.printed("service", |line| {
        let rest = line.trim_start().strip_prefix("service")?.trim_start().strip_prefix("http://")?;
        rest.split(['/', ' ']).next()?.parse().ok()
    });
    let service = Sandbox { running, address };
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "PROPFIND"] {
        let answer = service.ask(method, "/dev/token", "", "");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST, OPTIONS")), "{method}: {answer}");
    }
}
