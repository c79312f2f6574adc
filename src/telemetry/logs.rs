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
