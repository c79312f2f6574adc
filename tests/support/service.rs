//! The real binary, started on ports of its own and stopped with the test.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::canary::{Canary, Place, Scope, secrets};
use super::client::{Call, Raw};
use super::config::Config;
use super::lock;

const BINARY: &str = env!("CARGO_BIN_EXE_ephemint");
const START: Duration = Duration::from_secs(10);
const STOP: Duration = Duration::from_secs(10);

/// Lines of a stream of the process, as they come.
#[derive(Default)]
struct Lines {
    lines: Mutex<Vec<String>>,
    came: Condvar,
}

/// A running service.
pub(crate) struct Service {
    child: Child,
    exited: Option<ExitStatus>,
    directory: TempDir,
    stderr: Arc<Lines>,
    stdout: Arc<Lines>,
    readers: Vec<JoinHandle<()>>,
    public: SocketAddr,
    admin: SocketAddr,
    client: reqwest::Client,
    canary: Arc<Canary>,
}

impl Service {
    /// Starts the service and waits until it is ready.
    pub(crate) fn start(config: &Config) -> Self {
        let service = Self::start_unready(config);
        let deadline = Instant::now() + START;
        loop {
            let answer = service.raw().blocking_get("/readyz", "");
            if answer.as_ref().is_some_and(|it| it.status == 200) {
                return service;
            }
            assert!(Instant::now() < deadline, "not ready: {answer:?}\n{}", service.stderr());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts the service and waits only until both listeners are bound.
    pub(crate) fn start_unready(config: &Config) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let file = directory.path().join("ephemint.toml");
        std::fs::write(&file, config.toml(directory.path())).expect("the configuration file");
        let mut child = Self::command(config)
            .arg("serve")
            .arg("--config")
            .arg(&file)
            .current_dir(directory.path())
            .spawn()
            .expect("the binary starts");
        let (stdout, stderr) = (Arc::new(Lines::default()), Arc::new(Lines::default()));
        let readers =
            vec![follow(child.stdout.take().expect("stdout"), &stdout), follow(child.stderr.take().expect("stderr"), &stderr)];
        let unbound = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut service = Self {
            child,
            exited: None,
            directory,
            stderr,
            stdout,
            readers,
            public: unbound,
            admin: unbound,
            client: client(),
            canary: Arc::new(Canary::new()),
        };
        service.public = service.listening("public");
        service.admin = service.listening("admin");
        service
    }

    /// The binary with a clean environment and captured streams.
    pub(crate) fn command(config: &Config) -> Command {
        let mut command = match config.shell_commands() {
            None => Command::new(BINARY),
            Some(commands) => {
                let mut shell = Command::new("/bin/sh");
                shell.arg("-c").arg(format!(r#"{commands}; exec "$0" "$@""#)).arg(BINARY);
                shell
            }
        };
        command.env_clear().envs(config.environment()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(profile) = std::env::var_os("LLVM_PROFILE_FILE") {
            command.env("LLVM_PROFILE_FILE", profile);
        }
        command
    }

    /// Waits for the log line that names a listener's address.
    fn listening(&mut self, listener: &str) -> SocketAddr {
        let deadline = Instant::now() + START;
        let stderr = Arc::clone(&self.stderr);
        let mut lines = lock(&stderr.lines);
        loop {
            if let Some(address) = lines.iter().find_map(|line| address_in(line, listener)) {
                return address;
            }
            let exited = self.child.try_wait().ok().flatten();
            assert!(exited.is_none() && Instant::now() < deadline, "no {listener} listener ({exited:?}):\n{}", lines.join("\n"));
            let pause = Duration::from_millis(50);
            lines = stderr.came.wait_timeout(lines, pause).expect("the lines").0;
        }
    }

    /// A request to the public listener.
    pub(crate) fn call(&self, method: reqwest::Method, path: &str) -> Call {
        Call::new(&self.client, &self.canary, method, self.public, path)
    }

    /// A request to the admin listener, with the admin token.
    pub(crate) fn admin(&self, method: reqwest::Method, path: &str) -> Call {
        self.admin_without_token(method, path).bearer(secrets::ADMIN_TOKEN)
    }

    /// A request to the admin listener without a credential.
    pub(crate) fn admin_without_token(&self, method: reqwest::Method, path: &str) -> Call {
        Call::new(&self.client, &self.canary, method, self.admin, path)
    }

    /// Exact bytes to the public listener.
    pub(crate) fn raw(&self) -> Raw {
        Raw::new(&self.canary, self.public)
    }

    /// Exact bytes to the admin listener.
    pub(crate) fn raw_admin(&self) -> Raw {
        Raw::new(&self.canary, self.admin)
    }

    pub(crate) fn public(&self) -> SocketAddr {
        self.public
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The service's directory: configuration and audit.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn audit_file(&self) -> PathBuf {
        self.directory.path().join("audit.jsonl")
    }

    /// Adds a marker to the canary.
    pub(crate) fn guard(&self, name: &str, value: &str, scope: Scope) {
        self.canary.guard(name, value, scope);
    }

    /// Everything on stderr so far.
    pub(crate) fn stderr(&self) -> String {
        lock(&self.stderr.lines).join("\n")
    }

    /// Everything on stdout so far.
    pub(crate) fn stdout(&self) -> String {
        lock(&self.stdout.lines).join("\n")
    }

    /// The log lines so far, as JSON.
    pub(crate) fn log(&self) -> Vec<Value> {
        let lines = lock(&self.stderr.lines);
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Sends a signal by name, as in `kill -TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name} failed");
    }

    /// Waits for the process to end; `None` when it did not within `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        while self.exited.is_none() {
            self.exited = self.child.try_wait().expect("the process can be waited for");
            if Instant::now() > deadline {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.exited
    }

    /// SIGTERM, a bounded wait, and the end of the process by its id.
    pub(crate) fn stop(&mut self) -> Option<ExitStatus> {
        if self.exited.is_none() && self.wait(Duration::ZERO).is_none() {
            self.signal("TERM");
            if self.wait(STOP).is_none() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        self.exited
    }

    /// Hands everything that is written by the process to the canary.
    fn collect(&mut self) {
        if self.wait(Duration::ZERO).is_none() {
            let token = format!("Authorization: Bearer {}\r\n", secrets::ADMIN_TOKEN);
            if let Some(metrics) = self.raw_admin().blocking_get("/metrics", &token) {
                self.canary.saw(Place::Metrics, "/metrics", &metrics.body);
            }
        }
        self.stop();
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            let text = lock(&stream.lines).join("\n");
            self.canary.saw(Place::Log, name, text.as_bytes());
        }
        let audit = std::fs::read(self.audit_file()).unwrap_or_default();
        self.canary.saw(Place::Audit, "the audit", &audit);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.stop();
            let stderr = self.stderr();
            let tail = stderr.len().saturating_sub(6000);
            eprintln!("--- the service's last words\n{}", &stderr[stderr.ceil_char_boundary(tail)..]);
            return;
        }
        self.collect();
        let complaints = self.canary.complaints();
        assert!(complaints.is_empty(), "leaked:\n{}", complaints.join("\n"));
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(30))
        .build()
        .expect("a client")
}

fn follow(stream: impl Read + Send + 'static, lines: &Arc<Lines>) -> JoinHandle<()> {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            lock(&lines.lines).push(line);
            lines.came.notify_all();
        }
    })
}

fn address_in(line: &str, listener: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    if line["message"] != "listening" || line["listener"] != listener {
        return None;
    }
    line["address"].as_str()?.parse().ok()
}
