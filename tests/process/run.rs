//! Commands that end by themselves: what they print and how they exit. Nothing they print may hold a secret.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{Config, secrets};

/// The file of every run.
pub(crate) const FILE: &str = "ephemint.toml";
/// A secret that somebody wrote into a configuration.
pub(crate) const LITERAL: &str = "sk-proj-canary-literal-0123456789abcdef";
/// What [`LITERAL`] and its variations contain.
const LITERAL_MARK: &str = "canary-literal";
/// A configuration problem is reported within this.
const PROMPT: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(4);

/// One command in the making, in a directory of its own.
pub(crate) struct Run {
    command: Command,
    directory: TempDir,
    stdin: Vec<u8>,
}

/// How it ended.
pub(crate) struct Outcome {
    /// Absent: it did not end by itself.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    elapsed: Duration,
}

/// A good configuration for a developer's machine, whose neighbours do not exist.
pub(crate) fn good() -> Config {
    Config::bare()
        .issuer("main", "http://127.0.0.1:9/")
        .set("upstreams.openai.base_url", r#""http://127.0.0.1:9/v1""#)
        .keys(&["TEST_OPENAI_KEY"])
        .profile("default")
}

/// `ephemint ARGUMENTS` with an empty environment, in an empty directory.
pub(crate) fn ephemint(arguments: &[&str]) -> Run {
    let directory = TempDir::new().expect("a temporary directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ephemint"));
    command.args(arguments).current_dir(directory.path()).env_clear();
    if let Some(profile) = std::env::var_os("LLVM_PROFILE_FILE") {
        command.env("LLVM_PROFILE_FILE", profile);
    }
    Run { command, directory, stdin: Vec::new() }
}

/// `ephemint serve` with this configuration.
pub(crate) fn serve(config: &Config) -> Run {
    ephemint(&["serve", "--config", FILE]).configured(config)
}

/// `ephemint config print` with this configuration.
pub(crate) fn print(config: &Config) -> Run {
    ephemint(&["config", "print", "--config", FILE]).configured(config)
}

impl Run {
    /// Writes the configuration to [`FILE`] and sets its environment.
    pub(crate) fn configured(mut self, config: &Config) -> Self {
        self.command.envs(config.environment());
        let text = config.toml(self.path());
        self.file(FILE, text)
    }

    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.path().join(name), content).expect("a file");
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// What it finds on its standard input, before that ends.
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Runs it to its end, which is soon.
    pub(crate) fn done(self) -> Outcome {
        self.done_within(PATIENCE)
    }

    /// The same for a command that may wait for others.
    pub(crate) fn done_within(mut self, patience: Duration) -> Outcome {
        let begun = Instant::now();
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("the binary starts");
        let (mut stdin, bytes) = (child.stdin.take().expect("stdin"), self.stdin);
        // A command that does not read it may end before it is written.
        std::thread::spawn(move || stdin.write_all(&bytes).ok());
        let stdout = read(child.stdout.take().expect("stdout"));
        let stderr = read(child.stderr.take().expect("stderr"));
        let status = loop {
            match child.try_wait().expect("the process can be waited for") {
                Some(status) => break Some(status),
                None if begun.elapsed() > patience => break None,
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let elapsed = begun.elapsed();
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let outcome = Outcome {
            code: status.and_then(|status| status.code()),
            stdout: stdout.join().expect("stdout"),
            stderr: stderr.join().expect("stderr"),
            elapsed,
        };
        outcome.expect_no_secret();
        outcome
    }
}

impl Outcome {
    #[track_caller]
    pub(crate) fn expect(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// A configuration that was refused at once, on standard error alone; the problems.
    #[track_caller]
    pub(crate) fn expect_refused(&self) -> Vec<&str> {
        self.expect(78);
        assert!(self.elapsed < PROMPT, "only after {:?}\n{self}", self.elapsed);
        assert_eq!(self.stdout, "", "{self}");
        let problems: Vec<_> = self.stderr.lines().filter_map(|line| line.strip_prefix("ephemint: ")).collect();
        assert_eq!(problems.len(), self.stderr.lines().count(), "something other than problems: {self}");
        assert!(!problems.is_empty(), "no word of why");
        problems
    }

    /// One of the problems is about `key` and has `word` in its cause.
    #[track_caller]
    pub(crate) fn expect_problem(&self, key: &str, word: &str) {
        self.expect_problem_of(FILE, key, word);
    }

    /// The same for a problem whose origin is not the file.
    #[track_caller]
    pub(crate) fn expect_problem_of(&self, origin: &str, key: &str, word: &str) {
        let problems = self.expect_refused();
        let place = format!("{origin}: {key}: ");
        let causes: Vec<_> = problems.iter().filter_map(|line| line.strip_prefix(&place)).collect();
        assert!(!causes.is_empty(), "no problem at {place:?}\n{self}");
        let cause = causes.join("\n").to_lowercase();
        assert!(cause.contains(&word.to_lowercase()), "{key}: the cause does not say {word:?}\n{self}");
    }

    #[track_caller]
    fn expect_no_secret(&self) {
        let marks = [
            secrets::PERMANENT,
            secrets::ADMIN_TOKEN,
            secrets::PSEUDONYM_KEY,
            secrets::INTROSPECTION,
            secrets::API_KEY,
            secrets::COOKIE_KEY,
            secrets::LOGIN_SECRET,
            LITERAL_MARK,
        ];
        for mark in marks {
            assert!(!self.stdout.contains(mark) && !self.stderr.contains(mark), "{mark} was printed\n{self}");
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(formatter, "exit code {:?} after {:?}", self.code, self.elapsed)?;
        write!(formatter, "--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr)
    }
}

fn read(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
