use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tempfile::TempDir;

use super::{Durable, Table, Unopened};

const BOUND: Duration = Duration::from_secs(10);

fn entries(durable: &Durable, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut entries = Vec::new();
    durable.read(table, |key, value| entries.push((key.to_vec(), value.to_vec()))).unwrap();
    entries
}

#[tokio::test]
async fn what_settled_is_there_after_reopening_and_the_last_change_of_a_key_counts() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let durable = Durable::open(&path, Counter::default()).unwrap();
    for value in 0..100_u8 {
        let _ = durable.put(Table::Counts, b"key", Some(&[value]));
    }
    let _ = durable.put(Table::Blocks, b"gone", Some(b"x"));
    let last = durable.put(Table::Blocks, b"gone", None);
    durable.settled(last).await.unwrap();
    assert!(durable.healthy());
    assert!(matches!(Durable::open(&path, Counter::default()), Err(Unopened::InUse(_))));
    durable.close(BOUND).await.unwrap();
    let durable = Durable::open(&path, Counter::default()).unwrap();
    assert_eq!(entries(&durable, Table::Counts), [(b"key".to_vec(), vec![99])]);
    assert!(entries(&durable, Table::Blocks).is_empty());
}

#[test]
fn a_foreign_or_empty_file_or_a_folder_is_refused_and_left_as_it_was() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    for content in ["", "not a store", "redb"] {
        std::fs::write(&path, content).unwrap();
        assert!(matches!(Durable::open(&path, Counter::default()), Err(Unopened::Empty(_) | Unopened::Foreign(_))));
        assert_eq!(std::fs::read(&path).unwrap(), content.as_bytes());
    }
    assert!(matches!(Durable::open(folder.path(), Counter::default()), Err(Unopened::NotAFile(_))));
}
