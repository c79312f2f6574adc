//! How long a change takes until it is on disk: `cargo bench --bench durable`. Without `--bench` it is a short look.
//!
//! Beside it stands the floor: a page written and `fdatasync` in the same folder, over and over. `TMPDIR` names the disk.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    unused_imports,
    reason = "a benchmark is a program of its own: it reads the clock, prints its table, and uses a part of the store"
)]

#[path = "../../src/durable/mod.rs"]
mod durable;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use tempfile::TempDir;

use durable::{Durable, Table};

const WRITERS: [u32; 3] = [1, 16, 256];
/// Keys of each writer.
const KEYS: u32 = 100;
const VALUE: [u8; 200] = [7; 200];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let measured = std::env::args().skip(1).any(|argument| argument == "--bench");
    let (time, puts, entries) =
        if measured { (Duration::from_secs(5), 200_000, 400_000) } else { (Duration::from_millis(50), 1000, 1000) };
    println!("{:<24}{:>9}{:>9}{:>10}{:>11}{:>9}", "", "p50 us", "p99 us", "puts/s", "commits/s", "group");
    floor(time);
    for writers in WRITERS {
        settle(writers, time).await;
    }
    put(puts);
    large(entries).await;
}

/// A folder, and the store in it.
fn fresh() -> (TempDir, Arc<Durable>) {
    let folder = TempDir::new().unwrap();
    let durable = open(&folder.path().join("store"));
    (folder, durable)
}

fn open(path: &Path) -> Arc<Durable> {
    Arc::new(Durable::open(path, Counter::default()).unwrap_or_else(|error| panic!("{error}")))
}

fn row(name: &str, mut times: Vec<Duration>, elapsed: Duration, commits: u64) {
    times.sort_unstable();
    let micros = |part: usize| times.get(times.len() * part / 100).map_or(0, Duration::as_micros);
    let (p50, p99) = (micros(50), micros(99));
    let rate = |count: u128| count * 1000 / elapsed.as_millis().max(1);
    let (puts, commits) = (times.len() as u128, u128::from(commits));
    println!("{name:<24}{p50:>9}{p99:>9}{:>10}{:>11}{:>9}", rate(puts), rate(commits), puts / commits.max(1));
}

fn floor(time: Duration) {
    let folder = TempDir::new().unwrap();
    let file = std::fs::File::create(folder.path().join("floor")).unwrap();
    file.set_len(1 << 20).unwrap();
    file.sync_all().unwrap();
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < time {
        let begin = Instant::now();
        file.write_all_at(&[7; 4096], (times.len() as u64 % 256) * 4096).unwrap();
        file.sync_data().unwrap();
        times.push(begin.elapsed());
    }
    let count = times.len() as u64;
    row("write and fdatasync", times, start.elapsed(), count);
}

async fn settle(writers: u32, time: Duration) {
    let (_folder, durable) = fresh();
    let (start, before) = (Instant::now(), durable.commits());
    let write = |writer: u32| {
        let durable = durable.clone();
        async move {
            let mut times = Vec::new();
            while start.elapsed() < time {
                let key = writer * KEYS + fastrand::u32(..KEYS);
                let begin = Instant::now();
                durable.settled(durable.put(Table::Counts, &key.to_be_bytes(), Some(&VALUE))).await.unwrap();
                times.push(begin.elapsed());
            }
            times
        }
    };
    let tasks: Vec<_> = (0..writers).map(|writer| tokio::spawn(write(writer))).collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    row(&format!("{writers} writers"), times, start.elapsed(), durable.commits() - before);
}

fn put(puts: u32) {
    let (_folder, durable) = fresh();
    let start = Instant::now();
    for put in 0..puts {
        let _ = durable.put(Table::Counts, &(put % 10_000).to_be_bytes(), Some(&VALUE));
    }
    println!("\none put: {} ns", start.elapsed().as_nanos() / u128::from(puts));
}

/// What a large file costs at a start: after an orderly end, and as a crash leaves it; and what is left of it when most is gone.
async fn large(entries: u32) {
    let (folder, durable) = fresh();
    let (path, crashed) = (folder.path().join("store"), folder.path().join("crashed"));
    change(&durable, 0..entries, Some(&VALUE)).await;
    std::fs::copy(&path, &crashed).unwrap();
    close(&durable).await;
    report("closed", &path).await;
    report("crashed", &crashed).await;
    let durable = open(&path);
    change(&durable, (0..entries).filter(|entry| entry % 100 != 0), None).await;
    close(&durable).await;
    report("a hundredth", &path).await;
}

async fn change(durable: &Durable, entries: impl Iterator<Item = u32>, value: Option<&[u8]>) {
    for entry in entries {
        // Keys come in no order, as digests do.
        let key = u64::from(entry).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
        let ticket = durable.put(Table::Sessions, &key, value);
        if entry % 1000 == 1 {
            durable.settled(ticket).await.unwrap();
        }
    }
    durable.settled(durable.write([])).await.unwrap();
}

async fn close(durable: &Durable) {
    durable.close(Duration::from_mins(1)).await.unwrap();
}

async fn report(name: &str, path: &Path) {
    let before = std::fs::metadata(path).unwrap().len();
    let start = Instant::now();
    let durable = open(path);
    let (opened, start) = (start.elapsed(), Instant::now());
    let mut count = 0_u32;
    durable.read(Table::Sessions, |_, _| count += 1).unwrap();
    let read = start.elapsed();
    close(&durable).await;
    let after = std::fs::metadata(path).unwrap().len();
    let megabytes = |bytes: u64| bytes / 1_000_000;
    println!(
        "{name}: {} MB, {count} entries, opened in {} ms, read in {} ms, then {} MB",
        megabytes(before),
        opened.as_millis(),
        read.as_millis(),
        megabytes(after)
    );
}
