//! Starts that fail.

use std::process::Stdio;

use tempfile::TempDir;

use crate::support::{Config, Service, secrets};

const KEY: &str = "upstreams.openai.credential.keys[0]";

/// How it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// A configuration for a developer's machine, whose neighbours do not exist, as changed by the test; and its start.
pub(crate) fn refused(change: impl FnOnce(Config) -> Config) -> Outcome {
    let config = Config::bare()
        .issuer("main", "http://127.0.0.1:9/")
        .set("upstreams.openai.base_url", r#""http://127.0.0.1:9/v1""#)
        .profile("default");
    let (config, folder) = (change(config), TempDir::new().expect("a folder"));
    std::fs::write(folder.path().join("ephemint.toml"), config.toml(folder.path())).expect("the configuration file");
    let mut command = Service::command(&config);
    command.args(["serve", "--config", "ephemint.toml"]).current_dir(folder.path()).stdin(Stdio::null());
    let output = command.output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let outcome = Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
    for mark in [secrets::PERMANENT, secrets::AWS, "canary-literal"] {
        assert!(!outcome.stderr.contains(mark) && !outcome.stdout.contains(mark), "{mark} was printed: {outcome:?}");
    }
    outcome
}

impl Outcome {
    /// The one thing that is wrong, after the place in the file.
    #[track_caller]
    pub(crate) fn problem(&self) -> &str {
        assert_eq!((self.code, self.stdout.as_str()), (Some(78), ""), "{self:?}");
        let place = format!("ephemint: ephemint.toml: {KEY}: ");
        let line = self.stderr.strip_prefix(&place).and_then(|line| line.strip_suffix('\n'));
        let line = line.unwrap_or_else(|| panic!("something else is wrong: {self:?}"));
        assert!(!line.contains('\n'), "more than that is wrong: {self:?}");
        line
    }

    /// What is wrong, after the reference.
    #[track_caller]
    pub(crate) fn expect(&self, sentence: &str) {
        let found = self.problem().split_once(": ").map(|(_, cause)| cause);
        assert_eq!(found, Some(sentence));
    }
}
