//! Too much, and the end.

use std::sync::Arc;

use super::super::committer::Committer;
use super::super::{File, Shared, TAKEN_MAX, WAITING_MAX};
use super::*;

/// Runs `work` while the committer cannot write.
fn while_busy(durable: &Durable, mut work: impl FnMut()) {
    durable.read(Table::Blocks, |_, _| work()).unwrap();
}

async fn opened(folder: &TempDir) -> Durable {
    let durable = open(&folder.path().join("store")).unwrap();
    written(&durable, durable.put(Table::Blocks, b"one", Some(b"x"))).await;
    durable
}

fn put(durable: &Durable, key: usize) -> Ticket {
    durable.put(Table::Counts, &key.to_be_bytes(), Some(b"x"))
}

/// As if so many keys were with the committer.
fn pretend(durable: &Durable, kept: usize) {
    durable.shared.queue().kept = kept;
}

#[tokio::test]
async fn too_much_is_lost_and_unhealthy_until_it_is_written_and_is_all_there_in_the_end() {
    const FREE: usize = 100;
    let folder = TempDir::new().unwrap();
    let durable = opened(&folder).await;
    let mut tickets = Vec::new();
    while_busy(&durable, || {
        let first = put(&durable, 0);
        while !durable.shared.queue().gathered.is_empty() {
            std::thread::yield_now();
        }
        pretend(&durable, WAITING_MAX - FREE);
        // The same keys again are not more.
        for key in (1..=FREE).chain(1..=FREE) {
            let _ = put(&durable, key);
        }
        assert!(durable.healthy());
        let over = put(&durable, FREE + 1);
        assert!(!durable.healthy());
        let same = put(&durable, 1);
        tickets = vec![first, over, same, durable.write([])];
    });
    let (first, late) = tickets.split_first().unwrap();
    for ticket in late {
        assert!(durable.settled(*ticket).await.is_err());
    }
    written(&durable, *first).await;
    while !durable.healthy() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    written(&durable, durable.write([])).await;
    assert_eq!(entries(&durable, Table::Counts).len(), FREE + 2);
}

#[tokio::test]
async fn far_too_much_is_left_out_and_ends_the_store_for_good() {
    let folder = TempDir::new().unwrap();
    let durable = opened(&folder).await;
    while_busy(&durable, || {
        let _ = put(&durable, 1);
        while !durable.shared.queue().gathered.is_empty() {
            std::thread::yield_now();
        }
        pretend(&durable, TAKEN_MAX);
        for key in 2..4 {
            let _ = put(&durable, key);
        }
    });
    while entries(&durable, Table::Counts).len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(durable.settled(put(&durable, 5)).await.is_err());
    assert!(durable.settled(durable.write([])).await.is_err());
    assert!(!durable.healthy());
    durable.close(BOUND).await.unwrap();
    let durable = open(&folder.path().join("store")).unwrap();
    assert_eq!(entries(&durable, Table::Counts).len(), 2);
}

#[tokio::test]
async fn a_panic_of_the_committer_is_no_health_and_lets_go_of_the_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let file = Arc::new(File::open(&path).unwrap());
    let shared = Arc::new(Shared::new(Counter::default()));
    let durable = Durable { file: file.clone(), shared: shared.clone() };
    assert!(durable.healthy());
    let committer = Committer::new(file, shared);
    let panicked = std::thread::spawn(move || {
        let _committer = committer;
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    assert!(!durable.healthy());
    assert!(durable.settled(put(&durable, 1)).await.is_err());
    assert!(durable.close(BOUND).await.is_err());
    open(&path).unwrap();
}

#[tokio::test]
async fn what_waited_is_written_after_the_store_is_dropped() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let durable = opened(&folder).await;
    while_busy(&durable, || {
        for key in 0..1000 {
            let _ = put(&durable, key);
        }
    });
    drop(durable);
    let durable = loop {
        match open(&path) {
            Ok(durable) => break durable,
            Err(unopened) => assert!(matches!(unopened, Unopened::InUse(_)), "{unopened}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(entries(&durable, Table::Counts).len(), 1000);
}
