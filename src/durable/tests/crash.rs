//! Ends that nobody chose.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;

use super::*;

const KILLS: u64 = 20;
const WRITERS: u8 = 4;

/// Writes until it is killed: each writer counts in two tables at once, and says how far that is on disk.
async fn write_until_killed(folder: PathBuf) {
    let durable = Arc::new(open(&folder.join("store")).unwrap());
    let count = |writer: u8| {
        let durable = durable.clone();
        async move {
            let before =
                entries(&durable, Table::Counts).iter().find(|(key, _)| *key == [writer]).map_or(0, |(_, value)| number(value));
            for count in before + 1.. {
                let value: Box<[u8]> = count.to_be_bytes().into();
                let change = |table| Change { table, key: [writer].into(), value: Some(value.clone()) };
                written(&durable, durable.write([Table::Counts, Table::Sessions].map(change))).await;
                say(&format!("settled {writer} {count}"));
            }
        }
    };
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(count(writer))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

fn number(value: &[u8]) -> u64 {
    u64::from_be_bytes(value.try_into().unwrap())
}

fn settled(line: &str) -> Option<(u8, u64)> {
    let (writer, count) = line.strip_prefix("settled ")?.split_once(' ')?;
    Some((writer.parse().ok()?, count.parse().ok()?))
}

fn start(name: &str, folder: &TempDir) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = other(name, folder.path(), &[]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    (child, lines)
}

#[tokio::test]
async fn what_settled_before_a_kill_is_there_after_it_and_changes_that_belong_together_are() {
    const NAME: &str = "durable::tests::crash::what_settled_before_a_kill_is_there_after_it_and_changes_that_belong_together_are";
    if let Some(folder) = std::env::var_os(OTHER) {
        return write_until_killed(folder.into()).await;
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let mut known = BTreeMap::new();
    for kill in 0..KILLS {
        let (mut child, mut lines) = start(NAME, &folder);
        let some = usize::try_from(3 + kill * 7).unwrap();
        let first: Vec<_> = lines.by_ref().filter_map(|line| settled(&line)).take(some).collect();
        assert_eq!(first.len(), some, "the writers ended by themselves");
        if kill == 0 {
            let unopened = open(&path).err().unwrap();
            assert!(matches!(unopened, Unopened::InUse(_)), "{unopened}");
            let sentence = "store is in use by another process; stop that process, or give each its own path";
            assert!(unopened.to_string().ends_with(sentence), "{unopened}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        known.extend(first.into_iter().chain(lines.filter_map(|line| settled(&line))));
        let durable = open(&path).unwrap();
        let found = entries(&durable, Table::Counts);
        assert_eq!(found, entries(&durable, Table::Sessions), "a change is there without the one that belongs to it");
        let found: BTreeMap<u8, u64> = found.iter().map(|(key, value)| (key[0], number(value))).collect();
        for (writer, count) in &known {
            assert!(found.get(writer) >= Some(count), "kill {kill}: {writer} settled at {count}, and is {:?}", found.get(writer));
        }
        durable.close(BOUND).await.unwrap();
    }
}

#[tokio::test]
async fn a_kill_while_the_file_is_made_does_not_keep_the_next_start_from_it() {
    const NAME: &str = "durable::tests::crash::a_kill_while_the_file_is_made_does_not_keep_the_next_start_from_it";
    if let Some(folder) = std::env::var_os(OTHER) {
        say("settled 0 0");
        for at in 0..10_000 {
            drop(open(&Path::new(&folder).join(format!("store-{at}"))).unwrap());
        }
    }
    let folder = TempDir::new().unwrap();
    let (mut child, mut lines) = start(NAME, &folder);
    lines.by_ref().find(|line| settled(line).is_some()).unwrap();
    let names = || std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    while names().count() < 20 {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for name in names().filter(|name| !name.contains(".new-")) {
        drop(open(&folder.path().join(&name)).unwrap_or_else(|error| panic!("{error}")));
    }
}
