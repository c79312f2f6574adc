//! The outcome, for people.

use std::io::{self, Write};
use std::time::Duration;

use super::case::{Setting, Window};

/// Name and width of each column after the first.
const COLUMNS: [(&str, usize); 6] =
    [("CPU us/mint", 11), ("mints/s", 8), ("p50 us", 7), ("p99 us", 7), ("upstream/1000", 13), ("new conns/1000", 14)];
const NAME_WIDTH: usize = 32;

pub(crate) fn begin(setting: &Setting) {
    let Setting { seconds, users, connections, workers } = setting;
    let workers = if *workers == 0 { "a worker for each core".to_owned() } else { format!("{workers} worker(s)") };
    println!("{seconds} s each, {users} users, {connections} connections, {workers}; CPU is the service's own\n");
    print("", &COLUMNS.map(|(name, _)| name.to_owned()));
}

#[expect(clippy::cast_precision_loss, reason = "no count here is beyond 2^52")]
pub(crate) fn row(name: &str, window: &Window) {
    let per_mint = |total: u64| total as f64 / window.mints as f64;
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    print(
        name,
        &[
            window.cpu.map_or_else(|| "-".to_owned(), |cpu| format!("{:.1}", micros(cpu) / window.mints as f64)),
            format!("{:.0}", window.mints as f64 / window.elapsed.as_secs_f64()),
            format!("{:.0}", micros(window.p50)),
            format!("{:.0}", micros(window.p99)),
            format!("{:.0}", per_mint(window.upstream_requests) * 1000.0),
            format!("{:.2}", per_mint(window.upstream_connections) * 1000.0),
        ],
    );
}

fn print(name: &str, cells: &[String; COLUMNS.len()]) {
    let cells: Vec<String> = cells.iter().zip(COLUMNS).map(|(cell, (_, width))| format!("{cell:>width$}")).collect();
    println!("{name:<NAME_WIDTH$}  {}", cells.join("  "));
    let _ = io::stdout().flush();
}
