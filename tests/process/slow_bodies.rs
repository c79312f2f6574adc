//! Bodies that never come: each is given up after five seconds, and many of them cost little memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Answer, MINT, Service, World};

const CONNECTIONS: usize = 200;
const ANNOUNCED: usize = 16 * 1024;

/// Resident memory of the service, in KiB.
fn resident(service: &Service) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid())).expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn two_hundred_half_sent_bodies_are_given_up_in_time_and_cost_little() {
    let world = World::with(|config| config.set("telemetry.log", r#""info""#));
    let token = world.bearer("alice");
    world.service.mint(&token).await.expect_minted();
    let before = resident(&world.service);
    let head = format!(
        "POST {MINT} HTTP/1.1\r\nHost: ephemint\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {ANNOUNCED}\r\n\r\n"
    );
    let begun = Instant::now();
    let mut slow: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut stream = TcpStream::connect(world.service.public()).expect("a connection");
            stream.set_read_timeout(Some(Duration::from_secs(8))).expect("a timeout");
            stream.write_all(head.as_bytes()).expect("the head is taken");
            stream.write_all(&vec![b' '; ANNOUNCED / 2]).expect("half of the body is taken");
            stream
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let during = resident(&world.service);
    let others = Instant::now();
    world.service.mint(&token).await.expect_minted();
    assert!(others.elapsed() < Duration::from_secs(1), "others wait: {:?}", others.elapsed());
    for stream in &mut slow {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = Answer::parse(&answer).expect("a whole answer");
        answer.expect_problem(408, "request_timeout");
    }
    let lasted = begun.elapsed();
    assert!((Duration::from_secs(4)..Duration::from_millis(6500)).contains(&lasted), "given up after {lasted:?}");
    let grown = during.max(resident(&world.service)).saturating_sub(before);
    assert!(grown < 32 * 1024, "{CONNECTIONS} half-sent bodies took {grown} KiB");
    assert_eq!(world.upstream.count(), 2);
}
