//! What a mint and a session cost by where they are kept: `cargo bench --bench store -- --help`. The figures of deploy/docs/scale.md.
//!
//! As in `mint`, the service runs in this process and the callers and neighbours are left out of its CPU. Redis is a process of its own, on
//! the same machine. Without `--bench` (that is what `cargo test --benches` does) each store has a few mints.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    reason = "a benchmark is a program of its own; much of what it shares with others is theirs"
)]

mod case;
mod load;
mod neighbours;
mod service;
mod threads;
mod wire;

#[path = "../support/keys.rs"]
mod keys;
#[path = "../support/redis.rs"]
mod redis;
#[path = "../support/token.rs"]
mod token;

use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use mimalloc::MiMalloc;
use tempfile::TempDir;

use case::{CASES, Case};
use load::Load;
use neighbours::Neighbours;
use redis::RedisServer;
use service::Service;
use threads::OnCpu;

/// The service's own.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const STORES: [Kind; 3] = [Kind::Memory, Kind::File, Kind::Redis];
/// Tokens are remembered for so long, in seconds: what is measured is the store.
const WARM: u64 = 300;
/// Nothing but sessions and counts is remembered.
const COLD: u64 = 0;
/// For the service to go to sleep after its last answer: the time of a running thread is known to a few milliseconds only.
const SETTLE: Duration = Duration::from_millis(20);

/// Mints by store, then memory by store.
#[derive(Parser)]
#[command(name = "store")]
struct Options {
    /// Seconds of each window; the median of all windows counts
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Windows of each store, in turn
    #[arg(long, default_value_t = 5)]
    windows: usize,
    /// Callers at once, each with a connection of its own
    #[arg(long, default_value = "32")]
    connections: NonZeroUsize,
    /// Users, each with one session, whose memory is measured
    #[arg(long, default_value_t = 100_000)]
    sessions: usize,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Memory,
    File,
    Redis,
}

/// A service and its store.
struct Kept {
    service: Service,
    redis: Option<RedisServer>,
    _folder: TempDir,
}

/// Of one window, for each mint.
#[derive(Clone, Copy)]
struct Window {
    mints_per_second: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
    redis_cpu: f64,
    /// Those inside scripts included.
    redis_calls: f64,
}

fn main() {
    threads::mark_ours();
    let asked_for = |flag: &str| std::env::args().skip(1).any(|argument| argument == flag);
    if asked_for("--list") {
        return;
    }
    let neighbours = Neighbours::start();
    let case = CASES.iter().find(|case| case.name == "eddsa warm").unwrap();
    if asked_for("--test") || !asked_for("--bench") {
        return STORES.into_iter().for_each(|kind| smoke(kind, case, &neighbours));
    }
    let options = Options::parse();
    costs(&options, case, &neighbours);
    println!("\nbytes of one session, {} users with one each", options.sessions);
    for kind in STORES {
        memory(kind, case, &neighbours, options.sessions);
    }
}

impl Kept {
    fn start(kind: Kind, neighbours: &Neighbours, verified_token_seconds: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let redis = (kind == Kind::Redis).then(RedisServer::start);
        let file = |name: &str| folder.path().join(name);
        let store = match (&redis, kind) {
            (Some(redis), _) => {
                std::fs::write(file("url"), redis.url()).unwrap();
                format!("kind = \"redis\"\ntimeout_ms = 5000\nurl = \"file://{}\"", file("url").display())
            }
            (None, Kind::File) => format!("path = \"{}\"", file("store").display()),
            (None, _) => String::new(),
        };
        Self { service: Service::with_store(neighbours, verified_token_seconds, 1, &store), redis, _folder: folder }
    }

    /// One figure of `INFO` at Redis.
    fn info(&self, section: &str, name: &str) -> f64 {
        let Some(redis) = &self.redis else { return 0.0 };
        let info = redis.cli(&["info", section]);
        let value = info.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {section}"))
    }

    fn redis_cpu(&self) -> f64 {
        self.info("cpu", "used_cpu_user") + self.info("cpu", "used_cpu_sys")
    }
}

fn smoke(kind: Kind, case: &Case, neighbours: &Neighbours) {
    let kept = Kept::start(kind, neighbours, WARM);
    neighbours.answer_for(case.ttl);
    Load::connect(kept.service.address, 1).each(&case.requests(neighbours, 3));
    assert!(kind != Kind::Redis || kept.info("stats", "total_commands_processed") > 3.0);
    kept.service.stop();
}

/// The stores take turns, so that what else goes on in the machine comes upon all of them.
fn costs(options: &Options, case: &Case, neighbours: &Neighbours) {
    let requests = case.requests(neighbours, 2000);
    let mut windows = STORES.map(|_| Vec::new());
    for _ in 0..options.windows {
        for (kind, windows) in STORES.into_iter().zip(&mut windows) {
            let kept = Kept::start(kind, neighbours, WARM);
            let mut load = Load::connect(kept.service.address, options.connections.get());
            neighbours.answer_for(case.ttl);
            load.each(&requests);
            windows.push(window(&kept, &mut load, options.seconds, &requests));
            drop(load);
            kept.service.stop();
        }
    }
    println!(
        "{:<8} {:>8} {:>8} {:>8} {:>12} {:>14} {:>14}",
        "", "mints/s", "p50 us", "p99 us", "CPU us/mint", "Redis us/mint", "commands/mint"
    );
    for (kind, windows) in STORES.into_iter().zip(windows) {
        let of = |figure: fn(&Window) -> f64| median(windows.iter().map(figure).collect());
        println!(
            "{:<8} {:>8.0} {:>8.0} {:>8.0} {:>12.1} {:>14.1} {:>14.1}",
            format!("{kind:?}").to_lowercase(),
            of(|it| it.mints_per_second),
            of(|it| it.p50),
            of(|it| it.p99),
            of(|it| it.cpu),
            of(|it| it.redis_cpu),
            of(|it| it.redis_calls)
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "no count here is beyond 2^52")]
fn window(kept: &Kept, load: &mut Load, seconds: f64, requests: &[Vec<u8>]) -> Window {
    thread::sleep(SETTLE);
    let calls = || kept.info("stats", "total_commands_processed");
    let (cpu, redis_cpu, redis_calls, start) = (OnCpu::now().unwrap(), kept.redis_cpu(), calls(), Instant::now());
    let mut took = load.during(Duration::from_secs_f64(seconds), requests);
    let elapsed = start.elapsed();
    thread::sleep(SETTLE);
    took.sort_unstable();
    let (mints, at) = (took.len() as f64, |percent: usize| micros(took[(took.len() - 1) * percent / 100]));
    Window {
        mints_per_second: mints / elapsed.as_secs_f64(),
        p50: at(50),
        p99: at(99),
        cpu: micros(OnCpu::now().unwrap().since(&cpu)) / mints,
        redis_cpu: (kept.redis_cpu() - redis_cpu) * 1e6 / mints,
        redis_calls: (calls() - redis_calls) / mints,
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "no count here is beyond 2^52")]
fn memory(kind: Kind, case: &Case, neighbours: &Neighbours, sessions: usize) {
    let requests = case.requests(neighbours, sessions);
    let kept = Kept::start(kind, neighbours, COLD);
    let mut load = Load::connect(kept.service.address, 16);
    neighbours.answer_for(case.ttl);
    load.each(&requests[..1000.min(sessions)]);
    let (resident, redis) = (resident(), if kind == Kind::Redis { kept.info("memory", "used_memory") } else { 0.0 });
    let took = load.each(&requests[1000.min(sessions)..]);
    let more = took.len() as f64;
    let redis_more = if kind == Kind::Redis { kept.info("memory", "used_memory") - redis } else { 0.0 };
    let own = (self::resident() - resident - (took.len() * size_of::<Duration>()) as f64) / more;
    println!("{:<8} {own:>8.0} in the process {:>8.0} at Redis", format!("{kind:?}").to_lowercase(), redis_more / more);
    drop(load);
    kept.service.stop();
}

/// Bytes of this process in memory.
fn resident() -> f64 {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}
