//! A process that runs until it is told to end, with streams that the test may stop reading.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Answer, lock};

const PATIENCE: Duration = Duration::from_secs(10);

type Lines = Arc<Mutex<Vec<String>>>;

pub(crate) struct Running {
    child: Child,
    stdout: Lines,
    stderr: Lines,
    directory: TempDir,
}

/// How much of a stream is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    Attentive,
    /// Reads until both listeners are known, then never again; the pipe stays open.
    DeafOnceStarted,
    /// Never reads.
    Deaf,
}

impl Running {
    /// Starts `ephemint ARGUMENTS` with an empty environment, in an empty directory.
    pub(crate) fn start(arguments: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        Self::with_readers(arguments, change, Reader::Attentive, Reader::Attentive)
    }

    pub(crate) fn with_readers(
        arguments: &[&str],
        change: impl FnOnce(&mut Command),
        of_stdout: Reader,
        of_stderr: Reader,
    ) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ephemint"));
        command.args(arguments).current_dir(directory.path()).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(profile) = std::env::var_os("LLVM_PROFILE_FILE") {
            command.env("LLVM_PROFILE_FILE", profile);
        }
        change(&mut command);
        let mut child = command.spawn().expect("the binary starts");
        let stdout = follow(child.stdout.take().expect("stdout"), of_stdout);
        let stderr = follow(child.stderr.take().expect("stderr"), of_stderr);
        Self { child, stdout, stderr, directory }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stdout(&self) -> String {
        lock(&self.stdout).join("\n")
    }

    pub(crate) fn stderr(&self) -> String {
        lock(&self.stderr).join("\n")
    }

    /// Waits for a line on standard output.
    pub(crate) fn printed<T>(&self, what: &str, mut find: impl FnMut(&str) -> Option<T>) -> T {
        self.wait_for(what, || self.stdout().lines().find_map(&mut find))
    }

    /// Waits for the log line that names a listener's address.
    pub(crate) fn listening(&self, listener: &str) -> SocketAddr {
        self.wait_for(listener, || {
            self.stderr().lines().filter_map(|line| serde_json::from_str(line).ok()).find_map(|line| address(&line, listener))
        })
    }

    fn wait_for<T>(&self, what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = attempt() {
                return found;
            }
            assert!(Instant::now() < deadline, "no {what}\n--- stdout\n{}\n--- stderr\n{}", self.stdout(), self.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal by name, as in `kill -TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// The process ends by itself, soon, with this code.
    #[track_caller]
    pub(crate) fn expect_exit(&mut self, code: i32) {
        let status = self.ended(PATIENCE);
        assert_eq!(status.and_then(|status| status.code()), Some(code), "{status:?}\n{}", self.stderr());
    }

    fn ended(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.child.try_wait().expect("the process can be waited for");
            if status.is_some() || Instant::now() > deadline {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended(Duration::ZERO).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = self.directory.path();
    }
}

/// One request on a connection of its own; nothing when there is no whole answer.
pub(crate) fn ask(address: SocketAddr, head: &str, body: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!("{head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Answer::parse(&answer)
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Option<Answer> {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}"), "")
}

fn follow(stream: impl Read + Send + 'static, reader: Reader) -> Lines {
    let lines = Lines::default();
    let written = Arc::clone(&lines);
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut listeners = 0;
        loop {
            if reader == Reader::Deaf || reader == Reader::DeafOnceStarted && listeners == 2 {
                std::thread::park();
                continue;
            }
            let mut line = Vec::new();
            if !stream.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                return;
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            listeners += usize::from(line.contains(r#""message":"listening""#));
            lock(&written).push(line);
        }
    });
    lines
}

fn address(line: &Value, listener: &str) -> Option<SocketAddr> {
    let named = line["message"] == "listening" && line["listener"] == listener;
    named.then(|| line["address"].as_str()?.parse().ok())?
}
