mod crash;
mod disk;
mod files;
mod growth;
mod waiting;

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tempfile::TempDir;

use super::{Change, Durable, Table, Ticket, Unopened};

const BOUND: Duration = Duration::from_mins(1);
/// Tells a test that it is the other process, and where its files are.
const OTHER: &str = "EPHEMINT_DURABLE_TEST";

fn open(path: &Path) -> Result<Durable, Unopened> {
    Durable::open(path, Counter::default())
}

fn entries(durable: &Durable, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut entries = Vec::new();
    durable.read(table, |key, value| entries.push((key.to_vec(), value.to_vec()))).unwrap();
    entries
}

/// The test `name`, in a process of its own that finds `folder` in [`OTHER`]. `before` are the words before the command.
fn other(name: &str, folder: &Path, before: &[&str]) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut words = before.to_vec();
    words.extend([program.to_str().unwrap(), "--exact", name, "--nocapture", "--test-threads=1"]);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env(OTHER, folder);
    command
}

/// Waits until all up to `ticket` is on disk, for longer than callers do: a busy machine is no failure.
async fn written(durable: &Durable, ticket: Ticket) {
    let wait = async {
        while durable.settled(ticket).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(BOUND, wait).await.expect("it was never written");
}

fn say(line: &str) {
    // Not captured, in one piece, and not behind what the harness began to say.
    std::io::stdout().write_all(format!("\n{line}\n").as_bytes()).unwrap();
}

#[tokio::test]
async fn what_settled_is_there_after_reopening_and_the_last_change_of_a_key_counts() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let durable = open(&path).unwrap();
    for value in 0..100_u8 {
        let _ = durable.put(Table::Counts, b"key", Some(&[value]));
    }
    let _ = durable.put(Table::Blocks, b"gone", Some(b"x"));
    let last = durable.put(Table::Blocks, b"gone", None);
    written(&durable, last).await;
    assert!(durable.healthy());
    assert!(matches!(open(&path), Err(Unopened::InUse(_))));
    durable.close(BOUND).await.unwrap();
    assert!(!durable.healthy());
    let after = durable.put(Table::Counts, b"late", Some(b"x"));
    assert!(durable.settled(after).await.is_err(), "nothing is taken after the end");
    let durable = open(&path).unwrap();
    assert_eq!(entries(&durable, Table::Counts), [(b"key".to_vec(), vec![99])]);
    assert!(entries(&durable, Table::Blocks).is_empty());
}

#[tokio::test]
async fn every_table_has_its_own_entries() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let durable = open(&path).unwrap();
    let changes =
        Table::ALL.map(|table| Change { table, key: (*b"key").into(), value: Some(format!("{table:?}").into_bytes().into()) });
    written(&durable, durable.write(changes)).await;
    durable.close(BOUND).await.unwrap();
    let durable = open(&path).unwrap();
    for table in Table::ALL {
        assert_eq!(entries(&durable, table), [(b"key".to_vec(), format!("{table:?}").into_bytes())]);
    }
}

#[tokio::test]
async fn what_gathers_while_the_disk_is_busy_is_one_commit() {
    let folder = TempDir::new().unwrap();
    let durable = open(&folder.path().join("store")).unwrap();
    written(&durable, durable.put(Table::Counts, b"first", Some(b"x"))).await;
    let before = durable.commits();
    let mut tickets = Vec::new();
    // Reading keeps the committer from the file.
    durable
        .read(Table::Counts, |_, _| {
            tickets.extend((0..5000_u32).map(|key| durable.put(Table::Counts, &key.to_be_bytes(), Some(b"x"))));
        })
        .unwrap();
    for ticket in tickets {
        written(&durable, ticket).await;
    }
    let commits = durable.commits() - before;
    assert!((1..=2).contains(&commits), "{commits} commits");
}

#[tokio::test]
async fn nothing_happens_while_nothing_changes() {
    const NAME: &str = "durable::tests::nothing_happens_while_nothing_changes";
    let Some(folder) = std::env::var_os(OTHER) else {
        let folder = TempDir::new().unwrap();
        assert!(other(NAME, folder.path(), &[]).status().unwrap().success());
        return;
    };
    let durable = open(&Path::new(&folder).join("store")).unwrap();
    written(&durable, durable.put(Table::Counts, b"key", Some(b"x"))).await;
    let tasks = || std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let named = |task: &std::path::PathBuf| std::fs::read_to_string(task.join("comm")).unwrap() == "durable\n";
    let [committer] = &*tasks().filter(named).collect::<Vec<_>>() else { panic!("one committer") };
    let switches = || {
        let status = std::fs::read_to_string(committer.join("status")).unwrap();
        status.lines().filter(|line| line.contains("voluntary_ctxt_switches")).map(str::to_owned).collect::<Vec<_>>()
    };
    // It has published, and may still be on its way to sleep.
    let settled = |last: &mut Vec<String>| std::mem::replace(last, switches()) == *last;
    let mut last = Vec::new();
    while !settled(&mut last) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let (before, commits) = (switches(), durable.commits());
    for _ in 0..100 {
        assert!(durable.settled(durable.write([])).await.is_ok());
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((switches(), durable.commits()), (before, commits));
}
