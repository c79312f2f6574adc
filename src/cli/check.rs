//! `ephemint check`.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::startup::{Manner, NotReady, Ready, prepare, stand_in};
use super::{FAILURE, print};
use crate::check::{self, Finding, Other, Outcome, Setup};
use crate::config;
use crate::config::load::{Environ, load};
use crate::domain::clock::SystemClock;
use crate::secrets::Sources;

pub(super) const HELP: &str =
    "Asks every upstream about its keys and models, every issuer for its keys, the store, the audit's sinks, the clock, and whether the
listeners' addresses are free. Mints nothing and changes nothing; ends within 20 seconds. Run it as the service's user.
Exit code: 0 nothing failed, 1 something did, 78 the configuration itself is wrong.";

#[derive(clap::Args)]
pub(super) struct CheckArguments {
    /// Configuration file [default: as for serve]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Try nothing that leaves this machine: no upstream, issuer, store or secret manager is asked
    #[arg(long)]
    offline: bool,
    /// Print one JSON document in place of lines
    #[arg(long)]
    json: bool,
    /// Configuration of another environment, for example of production: warn of keys that both use
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

pub(super) fn run(arguments: &CheckArguments, environ: &Environ) -> u8 {
    match prepare(arguments.config.as_deref(), environ, &Manner::check(arguments.offline)) {
        Ok(ready) => report(&findings(arguments, ready), arguments.json),
        Err(not_ready) => refuse(&not_ready, arguments.json),
    }
}

fn findings(arguments: &CheckArguments, ready: Ready) -> Vec<Finding> {
    let Ready { config, sources, open, runtime, outbound, environ, made_at } = ready;
    let (clock, offline) = (SystemClock::shared(), arguments.offline);
    let other = arguments.against.as_deref().map(|path| {
        let loaded = load(Some(path), &environ);
        let settings = config::secrets(&loaded);
        let sources = settings.and_then(|settings| Sources::new(&settings, &environ, &outbound, clock.clone()).ok());
        Other { loaded, sources, environ: environ.clone(), stand_in }
    });
    let seen = check::see(&config, offline);
    let setup = Setup { config, sources, outbound, clock, seen, open, made_at, offline, other };
    let findings = runtime.block_on(check::run(setup));
    // A thread that a file system holds is not waited for.
    runtime.shutdown_background();
    findings
}

fn report(findings: &[Finding], as_json: bool) -> u8 {
    let count = |outcome| findings.iter().filter(|finding| finding.outcome == outcome).count();
    let failed = count(Outcome::Failed);
    if as_json {
        print(&pretty(&json!({"ok": failed == 0, "findings": findings})));
    } else {
        for finding in findings {
            print(&line(finding));
        }
        let (good, warnings, skipped) = (count(Outcome::Ok), count(Outcome::Warning), count(Outcome::Skipped));
        print(&format!("\n{good} ok, {warnings} to look at, {failed} failed, {skipped} not tried"));
    }
    if failed == 0 { 0 } else { FAILURE }
}

fn line(finding: &Finding) -> String {
    let outcome = match finding.outcome {
        Outcome::Ok => "ok",
        Outcome::Warning => "warn",
        Outcome::Failed => "FAIL",
        Outcome::Skipped => "skip",
    };
    let line = format!("{outcome:<4}  {:<8}  {}: {}", finding.what, finding.subject, finding.cause);
    let fix = finding.fix.map(|fix| format!("\n      fix: {fix}")).unwrap_or_default();
    // What servers and files say must not steer the terminal.
    line.replace(char::is_control, " ") + &fix
}

fn refuse(not_ready: &NotReady, as_json: bool) -> u8 {
    if !as_json {
        return not_ready.tell();
    }
    let problems: Vec<Value> = match not_ready {
        NotReady::Configuration(problems) => {
            problems.placed().map(|(place, it)| json!({"place": place, "key": it.key, "cause": it.cause})).collect()
        }
        NotReady::Unreadable(cause) | NotReady::Failure(cause) => vec![json!({"place": "", "key": "", "cause": cause})],
    };
    print(&pretty(&json!({"ok": false, "problems": problems})));
    not_ready.code()
}

fn pretty(document: &Value) -> String {
    serde_json::to_string_pretty(document).unwrap_or_default()
}
