//! No secret without its entry: clients reset their connections, the service is told to end, and still the audit has exactly one entry
//! for every secret that the upstream gave out.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::support::{Answer, Config, Issuer, MINT, Reply, Responder, Service, lock, minted_until, now, secrets};

const CLIENTS: usize = 32;
const ROUNDS: usize = 3;

/// Request ids of every secret that the upstream gave out.
type Given = Arc<Mutex<Vec<String>>>;

/// A provider that takes 20 to 80 ms and remembers.
fn provider(given: &Given) -> Responder {
    let (given, number) = (Arc::clone(given), AtomicUsize::new(0));
    Responder::start(move |_| {
        let id = format!("req_{:08}", number.fetch_add(1, Ordering::SeqCst));
        lock(&given).push(id.clone());
        let delay = Duration::from_millis(fastrand::u64(20..80));
        Reply::json(200, &minted_until(now() + 120)).header("x-request-id", &id).after(delay)
    })
}

/// Mints until connections are refused; leaves in the middle half of the time. How many secrets it was handed.
fn impatient(address: SocketAddr, request: &str) -> usize {
    let mut handed = 0;
    let deadline = Instant::now() + Duration::from_secs(15);
    while Instant::now() < deadline {
        let Ok(mut stream) = TcpStream::connect(address) else { break };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
        let sent = if fastrand::u8(..) < 20 { fastrand::usize(..request.len()) } else { request.len() };
        let leaves = sent < request.len() || fastrand::bool();
        let taken = stream.write_all(&request.as_bytes()[..sent]);
        if leaves {
            sleep(Duration::from_micros(fastrand::u64(..100_000)));
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        } else if taken.is_ok() {
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            handed += usize::from(Answer::parse(&answer).is_some_and(|answer| answer.status == 200));
        }
    }
    handed
}

/// The request ids of all entries about a minted secret.
fn entered(service: &Service) -> Vec<String> {
    let minted = service.audit().into_iter().filter(|line| line["outcome"] == "minted");
    minted.map(|line| line["upstream_request_id"].as_str().expect("the upstream's request id").to_owned()).collect()
}

fn round(drain: &str, signal: &str) -> usize {
    let (issuer, given) = (Issuer::start(), Given::default());
    let provider = provider(&given);
    let config = Config::bare()
        .issuer("main", &issuer.url())
        .set("upstreams.openai.base_url", &format!("\"http://{}/v1\"", provider.address()))
        .keys(&["TEST_OPENAI_KEY"])
        .profile("default")
        .set("server.drain_seconds", drain)
        .set("telemetry.log", r#""info""#);
    let mut service = Service::start(&config);
    let (address, token) = (service.public(), issuer.bearer("alice"));
    let request = format!("POST {MINT} HTTP/1.1\r\nHost: ephemint\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
    let handed: usize = thread::scope(|clients| {
        let running: Vec<_> = (0..CLIENTS).map(|_| clients.spawn(|| impatient(address, &request))).collect();
        sleep(Duration::from_millis(fastrand::u64(600..1000)));
        service.signal(signal);
        running.into_iter().map(|client| client.join().expect("a client")).sum()
    });
    let status = service.wait(Duration::from_secs(10));
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{status:?}\n{}", service.stderr());
    let (entered, given) = (entered(&service), lock(&given).clone());
    let unique: BTreeSet<_> = entered.iter().collect();
    assert_eq!(unique.len(), entered.len(), "an entry was written twice");
    let given_out: BTreeSet<_> = given.iter().collect();
    let lost: Vec<_> = given_out.difference(&unique).collect();
    assert!(lost.is_empty(), "{} of {} secrets have no entry: {lost:?}\n{}", lost.len(), given.len(), service.stderr());
    assert_eq!(unique, given_out, "an entry of a secret that was never given out");
    assert!(handed <= given.len(), "{handed} were handed out, {} were minted", given.len());
    assert!(!service.stdout().contains(secrets::MINTED));
    given.len()
}

#[test]
fn every_secret_has_exactly_one_entry_though_clients_leave_and_the_service_is_told_to_end() {
    let drains = ["0", "1", "0"];
    for (number, drain) in drains.into_iter().cycle().take(ROUNDS).enumerate() {
        let minted = round(drain, if number % 2 == 0 { "TERM" } else { "INT" });
        assert!(minted > CLIENTS, "only {minted} mints in round {number}: too few to show anything");
    }
}
