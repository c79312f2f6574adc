//! The wire below the API: slow senders, too many of them, and requests that are not quite HTTP.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;

use crate::support::{Answer, MINT, Reply, World, eventually, minted_until, now};

/// A mint with a body that never comes whole.
fn slow_mint(token: &str, framing: &str) -> Vec<u8> {
    format!("POST {MINT} HTTP/1.1\r\nHost: ephemint\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n{framing}\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn answers_to_head_have_no_body() {
    let world = World::start();
    for (path, statuses) in [(MINT, vec![405]), ("/livez", vec![200, 405]), ("/nowhere", vec![404])] {
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: ephemint\r\nConnection: close\r\n\r\n");
        let bytes = world.service.raw().exchange(request.as_bytes());
        let text = String::from_utf8_lossy(&bytes);
        let status: u16 = text.split(' ').nth(1).and_then(|it| it.parse().ok()).expect("a status");
        assert!(statuses.contains(&status), "{path}: {text}");
        assert!(text.ends_with("\r\n\r\n"), "{path}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_a_timeout() {
    let world = World::start();
    let token = world.bearer("alice");
    let raw = || world.service.raw().patience(Duration::from_secs(12));
    let begun = Instant::now();
    let answers = std::thread::scope(|scope| {
        let threads = [
            scope.spawn(|| raw().trickle(&slow_mint(&token, "Content-Length: 1000"), b" ", Duration::from_millis(400))),
            scope.spawn(|| {
                raw().trickle(&slow_mint(&token, "Transfer-Encoding: chunked"), b"1\r\n \r\n", Duration::from_millis(400))
            }),
            scope.spawn(|| raw().exchange(&slow_mint(&token, "Content-Length: 1000"))),
        ];
        threads.map(|thread| thread.join().expect("an exchange"))
    });
    for bytes in answers {
        let answer = Answer::parse(&bytes).expect("an answer");
        answer.expect_problem(408, "request_timeout");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn a_refused_credential_is_not_waited_on_for_its_body() {
    let world = World::start();
    let begun = Instant::now();
    let bytes = world
        .service
        .raw()
        .patience(Duration::from_secs(4))
        .exchange(&slow_mint("not-a-token", "Connection: close\r\nContent-Length: 1000"));
    Answer::parse(&bytes).expect("an answer").expect_problem(401, "invalid_token");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn requests_that_are_not_quite_http_mint_nothing() {
    let world = World::start();
    let token = world.bearer("alice");
    let line = format!("POST {MINT} HTTP/1.1\r\n");
    let auth = format!("Authorization: Bearer {token}\r\n");
    let host = "Host: ephemint\r\n";
    let whole = format!("{line}{host}{auth}Content-Length: 0\r\n\r\n");
    let many = (0..200).map(|number| format!("X-{number}: 1")).collect::<Vec<_>>().join("\r\n") + "\r\n";
    let requests = [
        ("no Host", format!("{line}{auth}Content-Length: 0\r\nConnection: close\r\n\r\n")),
        ("two Hosts", format!("{line}{host}{host}{auth}Content-Length: 0\r\nConnection: close\r\n\r\n")),
        (
            "Content-Length and Transfer-Encoding",
            format!("{line}{host}{auth}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{whole}"),
        ),
        ("two Content-Lengths", format!("{line}{host}{auth}Content-Length: 0\r\nContent-Length: {}\r\n\r\n{whole}", whole.len())),
        ("a negative Content-Length", format!("{line}{host}{auth}Content-Length: -1\r\n\r\n")),
        ("Content-Length with a plus", format!("{line}{host}{auth}Content-Length: +0\r\n\r\n")),
        ("an unknown Transfer-Encoding", format!("{line}{host}{auth}Transfer-Encoding: gzip\r\n\r\n")),
        ("chunked twice", format!("{line}{host}{auth}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n")),
        ("chunked in disguise", format!("{line}{host}{auth}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n")),
        ("a space before the colon", format!("{line}{host}Authorization : Bearer {token}\r\nContent-Length: 0\r\n\r\n")),
        ("a folded header", format!("{line}{host}{auth}X-Folded: a\r\n b\r\nContent-Length: 0\r\n\r\n")),
        ("a null byte in a header", format!("{line}{host}{auth}X-Null: a\0b\r\nContent-Length: 0\r\n\r\n")),
        ("two hundred headers", format!("{line}{host}{auth}{many}Content-Length: 0\r\n\r\n")),
        ("a head of 300 KB", format!("{line}{host}{auth}X-Large: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(300_000))),
        ("HTTP/0.9", format!("POST {MINT}\r\n\r\n")),
        ("HTTP/3.0", whole.replace("HTTP/1.1", "HTTP/3.0")),
        ("HTTP/2 without TLS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}".to_owned()),
    ];
    for (name, request) in requests {
        let bytes = world.service.raw().patience(Duration::from_millis(1500)).exchange(request.as_bytes());
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("HTTP/1.1 200"), "{name} was served: {text}");
        assert_eq!(world.upstream.count(), 0, "{name} reached the upstream");
    }
    world.service.mint(&token).await.expect_minted();
}

/// A service that handles one request at once, and what a second one meanwhile is answered.
async fn while_busy(method: Method, path: &str) -> Answer {
    let world = World::with(|config| config.set("server.max_in_flight", "1"));
    let token = world.bearer("alice");
    world.upstream.script(Reply::json(200, &minted_until(now() + 120)).after(Duration::from_secs(1)));
    let second = async {
        eventually("the first mint is under way", 5, async || (world.upstream.count() == 1).then_some(())).await;
        world.service.call(method, path).bearer(&token).send().await
    };
    let (first, second) = tokio::join!(world.service.mint(&token), second);
    first.expect_minted();
    world.service.mint(&token).await.expect_minted();
    second
}

#[tokio::test]
async fn more_requests_than_max_in_flight_are_refused_at_once() {
    while_busy(Method::POST, MINT).await.expect_problem(503, "overloaded");
}

#[tokio::test]
async fn a_busy_service_is_still_alive() {
    let answer = while_busy(Method::GET, "/livez").await;
    assert_eq!(answer.expect(200).json(), serde_json::json!({"status": "ok"}));
}

#[tokio::test]
async fn many_requests_on_one_connection_are_answered_in_order() {
    let world = World::start();
    let answers = join_all((0..20).map(|number| {
        let call = world.service.call(Method::GET, "/livez");
        call.header("x-request-id", &format!("number-{number}")).send()
    }));
    for (number, answer) in answers.await.iter().enumerate() {
        assert_eq!(answer.expect(200).request_id(), format!("number-{number}"));
    }
    let request = |number: usize, more: &str| {
        format!("GET /livez HTTP/1.1\r\nHost: ephemint\r\nX-Request-ID: piped-{number}\r\n{more}\r\n")
    };
    let mut pipelined: Vec<_> = (0..4).map(|number| request(number, "")).collect();
    pipelined.push(request(4, "Connection: close\r\n"));
    let bytes = world.service.raw().exchange(pipelined.concat().as_bytes());
    let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    let places: Vec<_> = (0..5).map(|number| text.find(&format!("x-request-id: piped-{number}")).expect("an answer")).collect();
    assert!(places.is_sorted(), "{places:?}");
}
