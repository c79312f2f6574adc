//! The service itself, in this process.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::neighbours::Neighbours;

const START: Duration = Duration::from_secs(10);
const SECRETS: [(&str, &str); 3] = [
    ("BENCH_OPENAI_KEY", "sk-proj-bench-0123456789abcdef"), // ephemint:allow
    ("BENCH_ADMIN_TOKEN", "bench-admin-token-0123456789abcdef"),
    ("BENCH_PSEUDONYM_KEY", "bench-pseudonym-key-0123456789abcdef"),
];

pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    thread: JoinHandle<u8>,
    _folder: TempDir,
}

impl Service {
    /// Returns when the service is ready. `verified_token_seconds` is how long a verified token is remembered, 0 for not at all.
    pub(crate) fn start(neighbours: &Neighbours, verified_token_seconds: u64, workers: usize) -> Self {
        Self::with_store(neighbours, verified_token_seconds, workers, "")
    }

    /// With the keys of `[store]`.
    pub(crate) fn with_store(neighbours: &Neighbours, verified_token_seconds: u64, workers: usize, store: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let [address, admin] = free_addresses();
        let file = folder.path().join("ephemint.toml");
        let audit = folder.path().join("audit.jsonl");
        let (issuer, audit) = (neighbours.issuer(), audit.display());
        let configuration = format!(
            r#"
            environment = "dev"
            server = {{ listen = "{address}", workers = {workers} }}
            admin = {{ listen = "{admin}", token = "env://BENCH_ADMIN_TOKEN" }}
            privacy.pseudonym_key = "env://BENCH_PSEUDONYM_KEY"
            audit.sinks = ["file://{audit}"]
            telemetry.log = "warn"
            [identity]
            verified_token_seconds = {verified_token_seconds}
            [identity.jwt.bench]
            issuer = "{issuer}"
            audience = ["voice"]
            jwks_url = "{issuer}/jwks.json"
            algorithms = ["RS256", "PS256", "ES256", "EdDSA"]
            [upstreams.openai]
            base_url = "{issuer}/v1"
            credential = {{ kind = "api_key", keys = ["env://BENCH_OPENAI_KEY"] }}
            [profiles.default]
            upstream = "openai"
            ttl_seconds = 600
            client_may_set = ["/audio/output/voice"]
            session = {{ model = "gpt-realtime-2.1", instructions = "You are helpful.", audio.output.voice = "marin" }}
            limits = {{ mints_per_minute = 1000000000, concurrent_calls = 1000000000 }}
            [store]
            {store}
            "#
        );
        std::fs::write(&file, configuration).unwrap();
        let arguments = ["ephemint".into(), "serve".into(), "--config".into(), OsString::from(file)];
        let environ = SECRETS.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let thread = thread::spawn(move || ephemint::cli::run_with(arguments, environ));
        let service = Self { address, thread, _folder: folder };
        service.wait_until_ready();
        service
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + START;
        while !self.is_ready() {
            assert!(!self.thread.is_finished() && Instant::now() < deadline, "the service does not start");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn is_ready(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.address) else { return false };
        let mut answer = String::new();
        let asked = stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
        asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.starts_with("HTTP/1.1 200 ")
    }

    /// Ends it as an operator would. A service that is ready handles the signal, so nothing else in the process notices.
    pub(crate) fn stop(self) {
        let sent = Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status();
        assert!(sent.unwrap().success());
        assert_eq!(self.thread.join().unwrap(), 0, "the service ends orderly");
    }
}

fn free_addresses() -> [SocketAddr; 2] {
    // Both are held until both are known, so that they differ.
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}
