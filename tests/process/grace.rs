//! Ends that cannot wait: a second signal, and work that outlives the grace.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::{MINT, Reply, World};

/// A world with one mint that the upstream never answers. The handle yields what the client is sent.
fn stuck(drain: &str, grace: &str) -> (World, JoinHandle<Vec<u8>>) {
    let world = World::with(|config| {
        config
            .set("server.drain_seconds", drain)
            .set("server.shutdown_grace_seconds", grace)
            .set("upstreams.openai.timeout_seconds", "30")
    });
    world.upstream.always(Reply::never());
    let request = format!("POST {MINT} HTTP/1.1\r\nHost: ephemint\r\nAuthorization: Bearer {}\r\n\r\n", world.bearer("alice"));
    let mut stream = TcpStream::connect(world.service.public()).expect("a connection");
    stream.write_all(request.as_bytes()).expect("the request is taken");
    let client = std::thread::spawn(move || {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    });
    let deadline = Instant::now() + Duration::from_secs(5);
    while world.upstream.connections() == 0 {
        assert!(Instant::now() < deadline, "the upstream is not asked");
        std::thread::sleep(Duration::from_millis(5));
    }
    (world, client)
}

fn second_signal_ends_at_once(first: &str, second: &str, code: i32) {
    let (mut world, client) = stuck("60", "60");
    world.service.signal(first);
    std::thread::sleep(Duration::from_millis(200));
    let told = Instant::now();
    world.service.signal(second);
    let status = world.service.wait(Duration::from_secs(3));
    assert_eq!(status.and_then(|status| status.code()), Some(code), "{status:?}\n{}", world.service.stderr());
    assert!(told.elapsed() < Duration::from_secs(1), "ended only after {:?}", told.elapsed());
    assert!(client.join().expect("the client").is_empty(), "a mint that was cut has no answer");
}

#[test]
fn a_second_sigterm_ends_at_once_with_143() {
    second_signal_ends_at_once("TERM", "TERM", 143);
}

#[test]
fn a_second_sigint_ends_at_once_with_130() {
    second_signal_ends_at_once("INT", "INT", 130);
}

#[test]
fn a_sigint_after_a_sigterm_ends_at_once_with_130() {
    second_signal_ends_at_once("TERM", "INT", 130);
}

#[test]
fn a_mint_that_is_stuck_at_the_upstream_is_cut_when_the_grace_is_over() {
    let (mut world, client) = stuck("0", "1");
    let told = Instant::now();
    world.service.signal("TERM");
    let status = world.service.wait(Duration::from_secs(5));
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{status:?}\n{}", world.service.stderr());
    let lasted = told.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_millis(2500)).contains(&lasted), "ended after {lasted:?}");
    assert!(world.service.stderr().contains("the grace is over"), "{}", world.service.stderr());
    let answer = client.join().expect("the client");
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}
