//! The command line. Exit codes: 0, 1 failure, 64 usage, 78 configuration.

mod config;
mod dev;
mod key;
mod sandbox;
mod serve;
mod startup;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::audit::try_sink;
use crate::config::check::Tries;
use crate::hardening;
use crate::redis::Origin;

const FAILURE: u8 = 1;
const USAGE: u8 = 64;
const CONFIGURATION: u8 = 78;

/// Trades a signed-in user's own token for a client secret that lives 60 to 600 seconds and opens realtime voice sessions.
/// The permanent key stays inside.
#[derive(Parser)]
#[command(
    name = "ephemint",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Without a command: serve. Start with `ephemint dev`: it needs no key and no file."
)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::ServeArguments,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service (the default)
    Serve(serve::ServeArguments),
    /// Run everything on this machine, with no key and no file: the service, a simulated provider, a simulated sign-in
    Dev(dev::DevArguments),
    /// Show the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Make API keys for servers, and the hashes that the configuration holds of them
    #[command(subcommand)]
    Key(key::Command),
}

/// Runs the command that the process's arguments name, with the process's environment.
#[must_use]
pub fn run() -> ExitCode {
    // Before any secret is in memory.
    hardening::no_core_dumps();
    // What is not text cannot be a setting or a secret of ours.
    let environ = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    ExitCode::from(run_with(std::env::args_os(), environ.collect()))
}

/// What the configuration is tried against.
const TRIES: Tries<'static> =
    Tries { sink: &try_sink, redis: &|url| Origin::parse(url).map(|origin| origin.is_open()).map_err(|bad| bad.to_string()) };

/// Runs the command that `arguments` name (the first one is the program's name) and returns its exit code.
///
/// `serve` and `dev` return when they were told to end by a signal to the process.
#[must_use]
pub fn run_with(arguments: impl IntoIterator<Item = OsString>, environ: BTreeMap<String, String>) -> u8 {
    let line = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => {
            let _ = error.print();
            let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if asked_for { 0 } else { USAGE };
        }
    };
    match line.command {
        None => serve::run(&line.serve, &environ),
        Some(Command::Serve(serve)) => serve::run(&serve, &environ),
        Some(Command::Dev(dev)) => dev::run(&dev, environ),
        Some(Command::Config(command)) => config::run(&command, &environ),
        Some(Command::Key(command)) => key::run(&command),
    }
}

/// Writes lines to standard error, before there are logs and when there are none.
fn complain(text: &str) {
    let mut to = std::io::stderr().lock();
    // A reader that has gone away is no reason to fail.
    let _ = text.lines().try_for_each(|line| writeln!(to, "ephemint: {line}"));
}

/// Writes what was asked for to standard output.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
