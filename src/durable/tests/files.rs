use std::path::PathBuf;

use redb::{Database, ReadableDatabase, TableDefinition};

use super::*;

const META: TableDefinition<&str, &str> = TableDefinition::new("meta");
const KEYS: u32 = 2000;

/// The bytes of a database that `fill` made: as it is while open, which is how a crash leaves it, and closed.
fn database(fill: impl Fn(&redb::WriteTransaction)) -> [Vec<u8>; 2] {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("made");
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    fill(&transaction);
    transaction.commit().unwrap();
    let open = std::fs::read(&path).unwrap();
    drop(database);
    [open, std::fs::read(&path).unwrap()]
}

async fn filled(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("store");
    let durable = open(&path).unwrap();
    for key in 0..KEYS {
        let _ = durable.put(Table::Sessions, &key.to_be_bytes(), Some(&[7; 100]));
    }
    durable.close(BOUND).await.unwrap();
    path
}

#[track_caller]
fn refused(content: &[u8]) -> Unopened {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    std::fs::write(&path, content).unwrap();
    let Err(unopened) = open(&path) else { panic!("it was opened") };
    assert!(std::fs::read(&path).unwrap() == content, "it was changed: {unopened}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    unopened
}

#[test]
fn what_is_no_store_is_refused_and_left_as_it_was() {
    assert!(matches!(refused(b""), Unopened::Empty(_)));
    assert!(matches!(refused(b"not a store"), Unopened::Foreign(_)));
    assert!(matches!(refused(b"redb"), Unopened::Foreign(_)));
    assert!(matches!(refused(b"redb\x1A\x0A\xA9\x0D\x0A"), Unopened::Damaged(..)));
    let folder = TempDir::new().unwrap();
    assert!(matches!(open(folder.path()), Err(Unopened::NotAFile(_))));
    assert!(matches!(open(&folder.path().join("no/store")), Err(Unopened::Io(..))));
    std::os::unix::fs::symlink("nowhere", folder.path().join("link")).unwrap();
    assert!(matches!(open(&folder.path().join("link")), Err(Unopened::Io(..))));
}

#[test]
fn a_database_of_another_program_is_refused_and_left_as_it_was() {
    let numbers: TableDefinition<u64, u64> = TableDefinition::new("counts");
    let meta: TableDefinition<u64, u64> = TableDefinition::new("meta");
    let contents = [
        database(|transaction| drop(transaction.open_table(numbers).unwrap())),
        database(|transaction| drop(transaction.open_table(meta).unwrap())),
        database(|transaction| drop(transaction.open_table(META).unwrap().insert("version", "1").unwrap())),
    ];
    for content in contents.iter().flatten() {
        assert!(matches!(refused(content), Unopened::Foreign(_)));
    }
}

#[test]
fn a_file_of_another_version_is_refused_by_name_and_left_as_it_was() {
    for content in database(|transaction| drop(transaction.open_table(META).unwrap().insert("format", "ephemint 2").unwrap())) {
        let unopened = refused(&content);
        assert!(
            unopened.to_string().contains(r#"has the format "ephemint 2", and this version reads "ephemint 1""#),
            "{unopened}"
        );
    }
}

#[test]
fn a_table_of_other_types_is_refused_and_left_as_it_was() {
    let contents = database(|transaction| {
        transaction.open_table(META).unwrap().insert("format", "ephemint 1").unwrap();
        transaction.open_table(TableDefinition::<u64, u64>::new("counts")).unwrap().insert(1, 1).unwrap();
    });
    for content in contents {
        assert!(matches!(refused(&content), Unopened::Damaged(..)));
    }
}

#[tokio::test]
async fn a_truncated_file_is_refused_and_left_as_it_was() {
    let folder = TempDir::new().unwrap();
    let content = std::fs::read(filled(&folder).await).unwrap();
    for length in [9, 100, 511, 4095, 4096, 8192, content.len() / 2, content.len() - 1] {
        let unopened = refused(&content[..length]);
        assert!(matches!(unopened, Unopened::Damaged(..)), "{length}: {unopened}");
    }
}

/// Damage is found, or is where nothing is.
#[tokio::test]
async fn no_damaged_byte_is_believed() {
    let folder = TempDir::new().unwrap();
    let path = filled(&folder).await;
    let content = std::fs::read(&path).unwrap();
    let mut found = 0;
    for at in (0..4096).step_by(31).chain((4096..content.len()).step_by(content.len() / 150)) {
        let mut damaged = content.clone();
        damaged[at] ^= 0x20;
        std::fs::write(&path, &damaged).unwrap();
        match open(&path) {
            Err(Unopened::Damaged(..)) => {
                found += 1;
                assert!(std::fs::read(&path).unwrap() == damaged, "it was changed");
            }
            Err(Unopened::Foreign(_)) if at < 9 => {}
            Err(other) => panic!("{at}: {other}"),
            Ok(durable) => {
                assert_eq!(entries(&durable, Table::Sessions).len(), KEYS as usize, "{at}");
                assert!(entries(&durable, Table::Sessions).iter().all(|(_, value)| *value == [7; 100]), "{at}");
                durable.close(BOUND).await.unwrap();
            }
        }
    }
    assert!(found > 0);
}

#[tokio::test]
async fn a_crash_while_the_file_is_made_does_not_keep_the_next_start_from_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    std::fs::write(folder.path().join("store.new-0123456789abcdef"), b"half").unwrap();
    let durable = open(&path).unwrap();
    written(&durable, durable.put(Table::Counts, b"key", Some(b"x"))).await;
    let names = || std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names(), 2, "the store and what was left behind");
    durable.close(BOUND).await.unwrap();
    assert_eq!(entries(&open(&path).unwrap(), Table::Counts).len(), 1);
}

#[tokio::test]
async fn the_file_is_for_its_owner_alone_and_is_whole_from_the_beginning() {
    use std::os::unix::fs::PermissionsExt;

    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let durable = open(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // As a crash right after the start leaves it.
    let copy = folder.path().join("copy");
    std::fs::copy(&path, &copy).unwrap();
    drop(open(&copy).unwrap());
    durable.close(BOUND).await.unwrap();
    let database = Database::open(&path).unwrap();
    let format = database.begin_read().unwrap().open_table(META).unwrap().get("format").unwrap().unwrap().value().to_owned();
    assert_eq!(format, "ephemint 1");
}
