//! Streams that nobody reads: logs are dropped and requests go on; the audit has its own rule.

use std::time::{Duration, Instant};

use super::run::FILE;
use super::running::{Reader, Running, ask, get};
use crate::support::{Config, Issuer, MINT, Upstream, secrets};

/// More than a pipe and the queue before it hold.
const REQUESTS: usize = 600;

fn start(issuer: &Issuer, upstream: &Upstream, stdout: Reader, stderr: Reader, change: impl FnOnce(Config) -> Config) -> Running {
    let config = change(Config::new(issuer, upstream));
    let prepare = |command: &mut std::process::Command| {
        let directory = command.get_current_dir().expect("a directory").to_owned();
        std::fs::write(directory.join(FILE), config.toml(&directory)).expect("the file");
        command.envs(config.environment());
    };
    Running::with_readers(&["serve", "--config", FILE], prepare, stdout, stderr)
}

fn mint(issuer: &Issuer) -> String {
    format!("POST {MINT} HTTP/1.1\r\nHost: ephemint\r\nAuthorization: Bearer {}", issuer.bearer("alice"))
}

#[test]
fn logs_that_nobody_reads_stop_no_request_and_do_not_delay_the_end() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let mut running =
        start(&issuer, &upstream, Reader::Attentive, Reader::DeafOnceStarted, |config| config.set("telemetry.log", r#""trace""#));
    let (public, request) = (running.listening("public"), mint(&issuer));
    let (begun, mut slowest) = (Instant::now(), Duration::ZERO);
    for number in 0..REQUESTS {
        let asked = Instant::now();
        let answer = ask(public, &request, "").unwrap_or_else(|| panic!("no answer to request {number}"));
        answer.expect_minted();
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "the slowest of {REQUESTS} took {slowest:?}, all {:?}", begun.elapsed());
    let told = Instant::now();
    running.signal("TERM");
    running.expect_exit(0);
    assert!(told.elapsed() < Duration::from_secs(3), "ended only after {:?}", told.elapsed());
}

#[test]
fn entries_that_nobody_reads_stop_mints_within_a_second() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let running = start(&issuer, &upstream, Reader::Deaf, Reader::Attentive, |config| {
        config.set("audit.sinks", r#"["stdout"]"#).set("telemetry.log", r#""error""#).set("telemetry.log", r#""info""#)
    });
    let (public, request) = (running.listening("public"), mint(&issuer));
    let mut handed = 0;
    let (refused, lasted) = loop {
        let asked = Instant::now();
        let answer = ask(public, &request, "").expect("an answer");
        if answer.status != 200 {
            break (answer, asked.elapsed());
        }
        handed += 1;
        assert!(handed < 1000, "the pipe does not get full");
    };
    refused.expect_problem(503, "audit_unavailable");
    assert!(!refused.text().contains(secrets::MINTED), "{refused}");
    assert!(lasted < Duration::from_secs(2), "refused only after {lasted:?}");
    assert_eq!(get(public, "/livez").expect("an answer").status, 200);
}
