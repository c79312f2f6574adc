//! What is measured, and how.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::keys::{Algorithm, Key};
use super::load::Load;
use super::neighbours::Neighbours;
use super::service::Service;
use super::threads::OnCpu;
use super::token::{self, Token};

/// Each case is measured this often, and the window with the least CPU counts: what else goes on in a machine can only add to it.
const WINDOWS: u32 = 6;
/// For the service to go to sleep after its last answer: the time of a running thread is known to a few milliseconds only.
const SETTLE: Duration = Duration::from_millis(10);
/// Seconds for which verified tokens are remembered: the most that can be set.
const WARM: u64 = 300;
const COLD: u64 = 0;
/// Seconds of the profile's secrets.
const TTL: i64 = 600;

/// One line of the table.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    algorithm: Algorithm,
    pub(crate) verified_token_seconds: u64,
    body: &'static str,
    pub(crate) ttl: i64,
}

/// What is the same for all cases.
pub(crate) struct Setting {
    pub(crate) seconds: f64,
    pub(crate) users: usize,
    pub(crate) connections: usize,
    pub(crate) workers: usize,
}

/// What a window showed.
pub(crate) struct Window {
    pub(crate) mints: u64,
    pub(crate) elapsed: Duration,
    /// Of the service alone, as far as the operating system tells.
    pub(crate) cpu: Option<Duration>,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) upstream_requests: u64,
    pub(crate) upstream_connections: u64,
}

const fn verified(name: &'static str, algorithm: Algorithm, verified_token_seconds: u64) -> Case {
    Case { name, algorithm, verified_token_seconds, body: "{}", ttl: TTL }
}

/// Warm: the token was verified shortly before. Cold: every token is verified every time.
pub(crate) const CASES: [Case; 10] = [
    verified("rs256 warm", Algorithm::RS256, WARM),
    verified("rs256 cold", Algorithm::RS256, COLD),
    verified("ps256 warm", Algorithm::PS256, WARM),
    verified("ps256 cold", Algorithm::PS256, COLD),
    verified("es256 warm", Algorithm::ES256, WARM),
    verified("es256 cold", Algorithm::ES256, COLD),
    verified("eddsa warm", Algorithm::EdDSA, WARM),
    verified("eddsa cold", Algorithm::EdDSA, COLD),
    Case {
        body: r#"{"session":{"type":"realtime","audio":{"output":{"voice":"cedar"}}}}"#,
        ..verified("rs256 warm, client sets a voice", Algorithm::RS256, WARM)
    },
    Case {
        body: r#"{"expires_after":{"anchor":"created_at","seconds":300}}"#,
        ttl: 300,
        ..verified("rs256 warm, ttl asked", Algorithm::RS256, WARM)
    },
];

impl Case {
    pub(crate) fn measure(&self, neighbours: &Neighbours, setting: &Setting) -> Window {
        let requests = self.requests(neighbours, setting.users);
        let service = Service::start(neighbours, self.verified_token_seconds, setting.workers);
        let mut load = Load::connect(service.address, setting.connections);
        neighbours.answer_for(self.ttl);
        load.each(&requests);
        let time = Duration::from_secs_f64(setting.seconds) / WINDOWS;
        let windows: Vec<_> = (0..WINDOWS).map(|_| self.window(neighbours, &mut load, time, &requests)).collect();
        service.stop();
        let cpu_of_a_mint = |window: &Window| window.cpu.map(|cpu| cpu.as_nanos() / u128::from(window.mints));
        windows.into_iter().min_by_key(cpu_of_a_mint).unwrap()
    }

    fn window(&self, neighbours: &Neighbours, load: &mut Load, time: Duration, requests: &[Vec<u8>]) -> Window {
        neighbours.answer_for(self.ttl);
        thread::sleep(SETTLE);
        let (seen, cpu) = (neighbours.seen(), OnCpu::now());
        let start = Instant::now();
        let mut took = load.during(time, requests);
        let elapsed = start.elapsed();
        thread::sleep(SETTLE);
        took.sort_unstable();
        let at = |percent: usize| took[(took.len() - 1) * percent / 100];
        let (p50, p99) = (at(50), at(99));
        let mints = took.len() as u64;
        let window = Window {
            mints,
            elapsed,
            cpu: OnCpu::now().zip(cpu).map(|(now, before)| now.since(&before)),
            p50,
            p99,
            upstream_requests: neighbours.seen().mints - seen.mints,
            upstream_connections: neighbours.seen().connections - seen.connections,
        };
        assert_eq!(window.upstream_requests, mints, "every mint is one request upstream");
        window
    }

    pub(crate) fn requests(&self, neighbours: &Neighbours, users: usize) -> Vec<Vec<u8>> {
        let (key, issuer) = (neighbours.key(self.algorithm), neighbours.issuer());
        (0..users).map(|user| request(&user_token(key, &issuer, user), self.body)).collect()
    }
}

/// One mint, from the start of the service to its end.
pub(crate) fn smoke(neighbours: &Neighbours) {
    let case = verified("smoke", Algorithm::EdDSA, WARM);
    let service = Service::start(neighbours, case.verified_token_seconds, 1);
    neighbours.answer_for(case.ttl);
    Load::connect(service.address, 1).each(&case.requests(neighbours, 1));
    assert_eq!(neighbours.seen().mints, 1);
    service.stop();
}

/// Claims as identity providers write them.
fn user_token(key: &Arc<Key>, issuer: &str, user: usize) -> String {
    Token::new(key, token::claims(issuer, &format!("auth0|{user:024}")))
        .claim("exp", token::now() + 3600)
        .claim("azp", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6")
        .claim("scope", "openid profile email")
        .claim("name", "Erika Mustermann")
        .claim("email", format!("user{user}@example.com"))
        .claim("groups", json!(["employees", "voice-users"]))
        .build()
}

fn request(token: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST /v1/realtime/client_secrets HTTP/1.1\r\nhost: voice.example.com\r\nuser-agent: bench\r\naccept: */*\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
