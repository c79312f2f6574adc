//! How often, and how much, one mint allocates: `cargo bench --bench allocations`.
//!
//! The service runs in this process. The callers and the neighbours allocate nothing for a request, so what is counted is the service's.
//! A program of its own, because counting would cost `mint` some of the time that it measures; the allocator underneath is the system's.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    reason = "a benchmark is a program of its own; much of what it shares with `mint` is about time"
)]

mod case;
mod load;
mod neighbours;
mod service;
mod threads;
mod wire;

#[path = "../support/keys.rs"]
mod keys;
#[path = "../support/token.rs"]
mod token;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

use case::{CASES, Case};
use load::Load;
use neighbours::Neighbours;
use service::Service;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const USERS: usize = 2000;
const CONNECTIONS: usize = 8;

fn main() {
    threads::mark_ours();
    let measured = std::env::args().skip(1).any(|argument| argument == "--bench");
    let neighbours = Neighbours::start();
    if !measured {
        return case::smoke(&neighbours);
    }
    println!("{:<32}  {:>11}  {:>10}  {:>13}", "", "allocations", "bytes", "reallocations");
    for case in &CASES {
        let counted = count(case, &neighbours);
        println!("{:<32}  {:>11.1}  {:>10.0}  {:>13.1}", case.name, counted.allocations, counted.bytes, counted.reallocations);
    }
}

/// What one mint takes, on average.
struct Counted {
    allocations: f64,
    bytes: f64,
    reallocations: f64,
}

fn count(case: &Case, neighbours: &Neighbours) -> Counted {
    let requests = case.requests(neighbours, USERS);
    let service = Service::start(neighbours, case.verified_token_seconds, 1);
    let mut load = Load::connect(service.address, CONNECTIONS);
    neighbours.answer_for(case.ttl);
    load.each(&requests);
    let region = Region::new(ALLOCATOR);
    load.each(&requests);
    let Stats { allocations, bytes_allocated, reallocations, .. } = region.change();
    service.stop();
    #[expect(clippy::cast_precision_loss, reason = "no count here is beyond 2^52")]
    let per_mint = |total: usize| total as f64 / USERS as f64;
    Counted { allocations: per_mint(allocations), bytes: per_mint(bytes_allocated), reallocations: per_mint(reallocations) }
}
