//! `ephemint dev`: the first five minutes, with no key and no file.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use serde_json::{Value, json};

use super::run::{FILE, ephemint};
use super::running::{Running, ask, get};

struct Sandbox {
    running: Running,
    service: SocketAddr,
    admin: SocketAddr,
}

fn start() -> Sandbox {
    start_with(|_| {})
}

fn start_with(change: impl FnOnce(&mut Command)) -> Sandbox {
    start_as(&[], change)
}

fn start_as(flags: &[&str], change: impl FnOnce(&mut Command)) -> Sandbox {
    let running = Running::start(&[&["dev", "--port", "0", "--admin-port", "0"], flags].concat(), change);
    let url = |word: &'static str| {
        running.printed(word, move |line| {
            let rest = line.trim_start().strip_prefix(word)?.trim_start().strip_prefix("http://")?;
            rest.split(['/', ' ']).next()?.parse().ok()
        })
    };
    let (service, admin) = (url("service"), url("admin"));
    running.printed("curl line", |line| line.contains("curl ").then_some(()));
    Sandbox { running, service, admin }
}

impl Sandbox {
    /// `POST /dev/token` with these headers beside the length.
    fn sign_in(&self, headers: &str, body: &str) -> crate::support::Answer {
        let head = format!("POST /dev/token HTTP/1.1\r\n{headers}");
        ask(self.service, &head, body).expect("an answer")
    }

    fn own_headers(&self) -> String {
        format!("Host: {}\r\nContent-Type: application/json", self.service)
    }
}

#[test]
fn the_banner_says_where_everything_is_and_the_curl_line_works_as_it_stands() {
    let sandbox = start();
    let line = sandbox.running.printed("curl line", |line| line.trim().starts_with("curl ").then(|| line.trim().to_owned()));
    let output = Command::new("sh").arg("-c").arg(&line).env_clear().env("PATH", "/usr/bin:/bin").output().expect("a shell");
    let answer: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {line}\n{}", String::from_utf8_lossy(&output.stdout)));
    assert!(answer["value"].as_str().is_some_and(|value| value.starts_with("ek_") && value.len() > 20), "{answer:#}");
    assert_eq!(answer["session"]["model"], "gpt-realtime-2.1", "{answer:#}");
    let entry = sandbox.running.printed("entry", |line| serde_json::from_str::<Value>(line).ok());
    assert_eq!((&entry["outcome"], &entry["status"]), (&json!("minted"), &json!(200)), "{entry:#}");
    let line = sandbox.running.printed("command", |line| line.contains("/admin/v1/sessions").then(|| line.trim().to_owned()));
    let output = Command::new("sh").arg("-c").arg(&line).output().expect("a shell");
    let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!(list["data"][0]["state"], "issued", "{list:#}");
    let banner = sandbox.running.stdout();
    for word in ["this machine only", "Ctrl-C", "/docs", "/metrics", "costs money", "alice"] {
        assert!(banner.contains(word), "{word} in {banner}");
    }
    assert!(!banner.contains("ek_") && !banner.contains("sk-"), "{banner}");
    for (address, path) in [(sandbox.service, "/docs"), (sandbox.service, "/readyz"), (sandbox.admin, "/metrics")] {
        assert_eq!(get(address, path).expect("an answer").status, 200, "{path}");
    }
    assert_eq!(sandbox.running.stderr(), "", "nothing to complain of");
}

#[test]
fn development_sign_in_answers_to_this_machine_only() {
    let sandbox = start();
    let alice = r#"{"user":"alice"}"#;
    let port = sandbox.service.port();
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "localhost".to_owned()] {
        let answer = sandbox.sign_in(&format!("Host: {host}\r\nContent-Type: application/json"), alice);
        let token = answer.expect(200).json()["access_token"].as_str().map(str::to_owned).expect("a token");
        assert_eq!(token.split('.').count(), 3, "{token}");
    }
    for host in [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.1@evil.example",
        "0.0.0.0",
        "192.0.2.1",
        "evil.example:127.0.0.1",
        "",
    ] {
        let answer = sandbox.sign_in(&format!("Host: {host}\r\nContent-Type: application/json"), alice);
        assert!(matches!(answer.status, 400 | 403) && !answer.text().contains("access_token"), "{host}: {answer}");
    }
    let own = sandbox.own_headers();
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost.evil.example", "https://localhost"] {
        let answer = sandbox.sign_in(&format!("{own}\r\nOrigin: {origin}"), alice);
        answer.expect_problem(403, "origin_not_allowed");
    }
}

#[test]
fn development_sign_in_takes_json_with_a_plain_name() {
    let sandbox = start();
    let own = sandbox.own_headers();
    let long = format!(r#"{{"user":"{}"}}"#, "a".repeat(65));
    for body in [
        "",
        "{",
        "{}",
        "[]",
        "null",
        "alice",
        r#"{"user":""}"#,
        r#"{"user":7}"#,
        r#"{"user":"a b"}"#,
        r#"{"user":"<script>"}"#,
        r#"{"user":"alice\n"}"#,
        r#"{"user":"alice","admin":true}"#,
        r#"{"user":"alice","user":"bob"}"#,
        r#"{"user":"alice"} "#.repeat(2).as_str(),
        &long,
    ] {
        let answer = sandbox.sign_in(&own, body);
        assert!(answer.status == 400 && !answer.text().contains("access_token"), "{body}: {answer}");
    }
    let huge = format!(r#"{{"user":"alice","groups":["{}"]}}"#, "g".repeat(4000));
    let answer = sandbox.sign_in(&own, &huge);
    assert!((400..500).contains(&answer.status), "{answer}");
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let headers = format!("Host: {}\r\nContent-Type: {kind}", sandbox.service);
        sandbox.sign_in(&headers, r#"{"user":"alice"}"#).expect_problem(415, "unsupported_media_type");
    }
    let got = get(sandbox.service, "/dev/token").expect("an answer");
    assert!(!got.text().contains("access_token") && got.status >= 400, "{got}");
}

#[test]
fn development_sign_in_refuses_as_every_other_path_does() {
    let sandbox = start();
    let got = get(sandbox.service, "/dev/token").expect("an answer");
    got.expect_problem(405, "method_not_allowed");
    assert_eq!((got.header("allow"), got.header("cache-control")), (Some("POST, OPTIONS"), Some("no-store")), "{got}");
    let huge = format!(r#"{{"user":"alice","groups":["{}"]}}"#, "g".repeat(4000));
    sandbox.sign_in(&sandbox.own_headers(), &huge).expect_problem(413, "body_too_large");
}

/// What a browser asks before a page of `origin` may sign in with JSON.
fn preflight(sandbox: &Sandbox, path: &str, origin: &str) -> crate::support::Answer {
    let head = format!(
        "OPTIONS {path} HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\n\
         Access-Control-Request-Headers: content-type",
        sandbox.service
    );
    ask(sandbox.service, &head, "").expect("an answer")
}

#[test]
fn a_page_of_another_host_may_call_when_its_origin_is_named() {
    let origins = ["http://localhost:5173", "https://demo.example.com"];
    let sandbox = start_as(&["--allow-origin", origins[0], "--allow-origin", origins[1]], |_| {});
    for origin in origins {
        for path in ["/dev/token", crate::support::MINT] {
            let answer = preflight(&sandbox, path, origin);
            assert_eq!(answer.expect(204).header("access-control-allow-origin"), Some(origin), "{answer}");
        }
        let answer = sandbox.sign_in(&format!("{}\r\nOrigin: {origin}", sandbox.own_headers()), r#"{"user":"alice"}"#);
        let token = answer.expect(200).json()["access_token"].as_str().map(str::to_owned).expect("a token");
        let head =
            format!("POST {} HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\nAuthorization: Bearer {token}", crate::support::MINT);
        let answer = ask(sandbox.service, &head, "").expect("an answer");
        assert_eq!(answer.expect(200).header("access-control-allow-origin"), Some(origin), "{answer}");
        let calls = answer.json()["ephemint"]["calls_url"].as_str().map(str::to_owned).expect("where calls go");
        let upstream = calls.strip_prefix("http://").and_then(|rest| rest.split('/').next()?.parse().ok()).expect("an address");
        let head = format!("POST /v1/realtime/calls HTTP/1.1\r\nHost: {upstream}\r\nOrigin: {origin}");
        let answer = ask(upstream, &head, "").expect("an answer");
        assert_eq!(answer.expect(401).header("access-control-allow-origin"), Some(origin), "{answer}");
    }
    preflight(&sandbox, "/dev/token", "http://localhost:5174").expect_problem(403, "origin_not_allowed");
}

#[test]
fn only_exact_origins_can_be_named() {
    for origin in ["*", "null", "localhost:5173", "http://localhost:5173/", "https://*.example.com"] {
        ephemint(&["dev", "--allow-origin", origin, "--port", "0"]).done().expect(64);
    }
}

#[test]
fn a_token_of_another_sandbox_is_worth_nothing() {
    let (one, other) = (start(), start());
    let answer = one.sign_in(&one.own_headers(), r#"{"user":"alice"}"#).expect(200).json();
    let token = answer["access_token"].as_str().expect("a token");
    let mint = |sandbox: &Sandbox| {
        let head = format!("POST {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}", crate::support::MINT);
        ask(sandbox.service, &head, "").expect("an answer")
    };
    mint(&one).expect(200);
    mint(&other).expect(401);
}

/// The addresses that a process listens on, from /proc: `0100007F` is 127.0.0.1.
fn listening(pid: u32) -> Vec<String> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("/proc").map_while(Result::ok);
    let links: Vec<_> = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            let socket = format!("socket:[{}]", fields[9]);
            if fields[3] == "0A" && links.iter().any(|link| link.as_os_str() == socket.as_str()) {
                found.push(fields[1].split(':').next().unwrap_or_default().to_owned());
            }
        }
    }
    found
}

#[test]
fn it_listens_on_loopback_only_whatever_the_environment_says() {
    let sandbox = start_with(|command| {
        command
            .env("EPHEMINT__SERVER__LISTEN", "0.0.0.0:0")
            .env("EPHEMINT__ADMIN__LISTEN", "0.0.0.0:0")
            .env("EPHEMINT__SERVER__ALLOWED_ORIGINS", r#"["https://evil.example"]"#)
            .env("EPHEMINT_CONFIG", "/nonexistent.toml");
        let directory = command.get_current_dir().expect("a directory");
        std::fs::write(directory.join(FILE), "this is not toml").expect("a file");
    });
    let addresses = listening(sandbox.running.pid());
    assert!(addresses.len() >= 3, "service, admin and sandbox: {addresses:?}");
    assert!(addresses.iter().all(|address| address == "0100007F"), "{addresses:?}");
    let answer = sandbox.sign_in(&format!("{}\r\nOrigin: https://evil.example", sandbox.own_headers()), r#"{"user":"alice"}"#);
    answer.expect_problem(403, "origin_not_allowed");
}

#[test]
fn both_signals_end_it_in_order() {
    for signal in ["TERM", "INT"] {
        let mut sandbox = start();
        sandbox.running.signal(signal);
        sandbox.running.expect_exit(0);
        assert!(!sandbox.running.stderr().contains("ephemint: "), "{}", sandbox.running.stderr());
    }
}

#[test]
fn a_port_in_use_is_exit_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let outcome = ephemint(&["dev", "--port", &port, "--admin-port", "0"]).done();
    outcome.expect(1);
    assert!(outcome.stderr.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{outcome}");
    assert!(outcome.stdout.is_empty(), "no banner: {outcome}");
}

#[test]
fn going_live_needs_a_key() {
    let outcome = ephemint(&["dev", "--live", "--port", "0", "--admin-port", "0"]).done();
    outcome.expect_refused();
    assert!(outcome.stderr.contains("env://OPENAI_API_KEY"), "{outcome}");
    let outcome = ephemint(&["dev", "--live", "--port", "0"]).env("OPENAI_API_KEY", "sk-admin-canary-literal").done();
    outcome.expect_refused();
    assert!(outcome.stderr.contains("sk-admin-"), "{outcome}");
}

#[test]
fn serve_knows_no_development_sign_in() {
    let world = crate::support::World::start();
    let body = "Host: localhost\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 16";
    let request = format!("POST /dev/token HTTP/1.1\r\n{body}\r\n\r\n{{\"user\":\"alice\"}}");
    world.service.raw().ask(request.as_bytes()).expect_problem(404, "not_found");
}
