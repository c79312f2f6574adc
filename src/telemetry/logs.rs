//! Log lines on standard error. Audit entries are not logs: see `audit`.

use std::panic::PanicHookInfo;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Telemetry};

/// Lines that may wait for a slow reader; further ones are dropped, requests go on.
const WAITING_LINES: usize = 4096;

/// Starts logging for the whole process. The guard writes what is still waiting when it is dropped.
///
/// A second call in one process keeps the first one's settings.
pub(crate) fn start(settings: &Telemetry) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING_LINES).finish(std::io::stderr());
    let filter = EnvFilter::builder().parse_lossy(&settings.log);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let started = match settings.format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
        LogFormat::Pretty => lines.with_ansi(false).with_target(false).try_init(),
    };
    if started.is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
    guard
}

/// A panic's message may hold anything, so only its place is written.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(place, "panic");
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use crate::config::{LogFormat, Telemetry};

    const IN_CHILD: &str = "EPHEMINT_TEST_PANICS";

    /// Runs itself once more as a process of its own, because the hook and standard error are the whole process's.
    #[test]
    fn a_panic_is_logged_by_its_place_and_without_its_message() {
        if std::env::var_os(IN_CHILD).is_some() {
            let logs = super::start(&Telemetry { log: "info".into(), format: LogFormat::Json });
            let caught = std::panic::catch_unwind(|| panic!("sk-canary in a panic's message"));
            assert!(caught.is_err());
            drop(logs);
            return;
        }
        let name = concat!(module_path!(), "::a_panic_is_logged_by_its_place_and_without_its_message");
        let name = name.split_once("::").map_or(name, |(_, name)| name);
        let this = std::env::current_exe().unwrap();
        let mut child = Command::new(this);
        child.args([name, "--exact", "--nocapture"]).env(IN_CHILD, "1").env("RUST_BACKTRACE", "full");
        let output = child.output().unwrap();
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && out.contains("1 passed"), "{out}{error}");
        assert!(!out.contains("canary") && !error.contains("canary"), "{out}{error}");
        let lines: Vec<serde_json::Value> = error.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 1, "{error}");
        assert_eq!(lines[0]["message"], "panic");
        assert!(lines[0]["place"].as_str().unwrap().starts_with(file!()), "{error}");
    }
}
