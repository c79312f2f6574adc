//! What one mint costs: `cargo bench --bench mint -- --help`.
//!
//! The service runs in this process, on threads of its own; the callers and the neighbours (issuer, upstream) run beside it on threads
//! that are left out of every figure about CPU. Without `--bench` (that is what `cargo test --benches` does) it mints once.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark is a program of its own: it reads the clock, prints its table, and ends where something goes wrong"
)]

mod case;
mod load;
mod neighbours;
mod service;
mod table;
mod threads;
mod wire;

#[path = "../support/keys.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod keys;
#[path = "../support/token.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod token;

use std::num::NonZeroUsize;

use clap::Parser;
use mimalloc::MiMalloc;

use case::{CASES, Setting};
use neighbours::Neighbours;

/// The service's own.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// CPU and time of one mint, with the upstream and the issuer on loopback.
#[derive(Parser)]
#[command(name = "mint")]
struct Options {
    /// Seconds that each case is measured for, after its warm-up
    #[arg(long, default_value_t = 6.0, value_parser = seconds)]
    seconds: f64,
    /// Only the cases whose name holds this text
    #[arg(long, default_value = "", value_parser = part_of_a_name)]
    only: String,
    /// Callers at once, each with a connection of its own
    #[arg(long, default_value = "32")]
    connections: NonZeroUsize,
    /// Users that take turns
    #[arg(long, default_value = "2000")]
    users: NonZeroUsize,
    /// Worker threads of the service; 0 is one for each core
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// A short look: fewer users, less than a second for each case
    #[arg(long)]
    quick: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    threads::mark_ours();
    let asked_for = |flag: &str| std::env::args().skip(1).any(|argument| argument == flag);
    if asked_for("--list") {
        return;
    }
    let neighbours = Neighbours::start();
    if asked_for("--test") || !asked_for("--bench") {
        case::smoke(&neighbours);
        return;
    }
    let options = Options::parse();
    let setting = options.setting();
    table::begin(&setting);
    for case in CASES.iter().filter(|case| case.name.contains(&options.only)) {
        table::row(case.name, &case.measure(&neighbours, &setting));
    }
}

impl Options {
    fn setting(&self) -> Setting {
        let (seconds, users) = if self.quick { (0.6, 200) } else { (self.seconds, self.users.get()) };
        Setting { seconds, users, connections: self.connections.get(), workers: self.workers }
    }
}

fn part_of_a_name(text: &str) -> Result<String, String> {
    let part = text.to_lowercase();
    let known = CASES.iter().any(|case| case.name.contains(&part));
    if known { Ok(part) } else { Err(format!("no case has it in its name: {}", CASES.map(|case| case.name).join("; "))) }
}

/// Longer than that, tokens that were verified are verified again.
fn seconds(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|seconds| (0.1..=200.0).contains(seconds)).ok_or_else(|| "must be from 0.1 to 200".into())
}
