//! The orderly end: not ready at once, requests served during the drain, then no new connections, what is in flight finishes.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use reqwest::Method;
use tokio::time::{sleep, sleep_until};

use crate::support::{Answer, Reply, World, eventually, minted_until, now};

const DRAIN: Duration = Duration::from_secs(1);
/// Longer than the drain, shorter than drain and grace together.
const SLOW: Duration = Duration::from_millis(2200);

async fn ends_in_order_after(signal: &str) {
    let mut world = World::with(|config| {
        config.set("server.drain_seconds", "1").set("server.shutdown_grace_seconds", "5").set("telemetry.log", r#""info""#)
    });
    let token = world.bearer("alice");
    let (service, upstream) = (&world.service, &world.upstream);
    upstream.script(Reply::json(200, &minted_until(now() + 120)).after(SLOW));
    let slow = service.mint(&token);
    let drain = async {
        eventually("the slow mint is on its way", 5, async || (upstream.count() == 1).then_some(())).await;
        let told = Instant::now();
        service.signal(signal);
        let refused = eventually("not ready", 1, async || {
            let answer = service.get("/readyz", &token).await;
            (answer.status == 503).then_some(answer)
        });
        expect_closing(&refused.await);
        assert!(told.elapsed() < Duration::from_millis(400), "not ready only after {:?}", told.elapsed());
        while told.elapsed() < DRAIN * 8 / 10 {
            let answer = service.mint(&token).await;
            answer.expect_minted();
            expect_closing(&answer);
            expect_closing(service.mint("no token").await.expect(401));
            expect_closing(service.get("/livez", &token).await.expect(200));
            expect_closing(service.get("/nowhere", &token).await.expect(404));
            service.admin(Method::GET, "/metrics").send().await.expect(200);
        }
        sleep_until((told + DRAIN + Duration::from_millis(400)).into()).await;
        let refused = TcpStream::connect(service.public()).expect_err("the listener is closed");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        told
    };
    let (answer, told) = tokio::join!(slow, drain);
    answer.expect_minted();
    expect_closing(&answer);
    let status = world.service.wait(Duration::from_secs(2));
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{status:?}\n{}", world.service.stderr());
    assert!(told.elapsed() < SLOW + Duration::from_secs(1), "ended only after {:?}", told.elapsed());
    let minted = world.service.audit().iter().filter(|line| line["outcome"] == "minted").count();
    assert_eq!(minted, world.upstream.count(), "every secret has its entry");
    expect_calm_log(&world.service.stderr());
}

#[track_caller]
fn expect_closing(answer: &Answer) {
    assert_eq!(answer.header("connection"), Some("close"), "{answer}");
}

/// An orderly end is nothing to warn of.
#[track_caller]
fn expect_calm_log(log: &str) {
    let lines = || log.lines().filter(|line| !line.contains("refused"));
    assert!(lines().all(|line| !line.contains(r#""level":"ERROR""#) && !line.contains(r#""level":"WARN""#)), "{log}");
}

#[tokio::test]
async fn after_sigterm_requests_are_served_for_the_drain_and_what_is_in_flight_finishes() {
    ends_in_order_after("TERM").await;
}

#[tokio::test]
async fn after_sigint_requests_are_served_for_the_drain_and_what_is_in_flight_finishes() {
    ends_in_order_after("INT").await;
}

#[test]
fn connections_that_ask_nothing_do_not_delay_the_end() {
    let mut world = World::start();
    let open = |request: &str| {
        let mut stream = TcpStream::connect(world.service.public()).expect("a connection");
        stream.write_all(request.as_bytes()).expect("the request is taken");
        stream
    };
    let mut idle: Vec<_> = (0..20).map(|_| open("GET /livez HTTP/1.1\r\nHost: ephemint\r\n\r\n")).collect();
    for stream in &mut idle {
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).expect("an answer");
        assert!(chunk[..read].starts_with(b"HTTP/1.1 200"));
    }
    idle.extend((0..5).map(|_| open("")));
    idle.extend((0..5).map(|_| open("GET /livez HTTP/1.1\r\nHost: ep")));
    std::thread::sleep(Duration::from_millis(100));
    let told = Instant::now();
    world.service.signal("TERM");
    let status = world.service.wait(Duration::from_secs(5));
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", world.service.stderr());
    assert!(told.elapsed() < Duration::from_millis(1500), "ended only after {:?}", told.elapsed());
    drop(idle);
}

#[tokio::test]
async fn a_connection_that_was_idle_at_the_signal_is_served_once_more_and_closed() {
    let world = World::with(|config| config.set("server.drain_seconds", "1"));
    let mut stream = TcpStream::connect(world.service.public()).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let request = b"GET /livez HTTP/1.1\r\nHost: ephemint\r\n\r\n";
    stream.write_all(request).expect("the request is taken");
    let mut chunk = [0; 1024];
    let read = stream.read(&mut chunk).expect("an answer");
    assert!(!String::from_utf8_lossy(&chunk[..read]).to_lowercase().contains("connection: close"));
    world.service.signal("TERM");
    sleep(Duration::from_millis(200)).await;
    stream.write_all(request).expect("the request is taken");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("an answer and the end");
    expect_closing(Answer::parse(&rest).expect("a whole answer").expect(200));
}

/// Asks on new connections until they are refused. How many were accepted and never answered.
fn cut(address: SocketAddr) -> usize {
    let mut cut = 0;
    loop {
        let mut stream = match TcpStream::connect(address) {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return cut,
            // Reset within the handshake: the client knows that nothing was read.
            Err(_) => continue,
        };
        let mut answer = Vec::new();
        let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nHost: ephemint\r\nConnection: close\r\n\r\n");
        let _ = stream.read_to_end(&mut answer);
        cut += usize::from(!answer.starts_with(b"HTTP/1.1 200"));
    }
}

#[test]
fn a_connection_is_either_served_or_refused_while_the_listener_closes() {
    const CLIENTS: usize = 16;
    let mut world = World::with(|config| config.set("telemetry.log", r#""info""#));
    let address = world.service.public();
    let cut: usize = thread::scope(|clients| {
        let running: Vec<_> = (0..CLIENTS).map(|_| clients.spawn(move || cut(address))).collect();
        thread::sleep(Duration::from_millis(300));
        world.service.signal("TERM");
        running.into_iter().map(|client| client.join().expect("a client")).sum()
    });
    let status = world.service.wait(Duration::from_secs(5));
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", world.service.stderr());
    // The kernel may have completed a handshake in the very moment in which the socket closes.
    assert!(cut <= 2, "{cut} of {CLIENTS} clients were accepted and then cut off");
}
