//! A disk that gets full, and one that cannot be written.

use std::path::PathBuf;
use std::process::Stdio;

use super::*;

/// How something is mounted that only one process sees; nothing where that is not possible.
fn unshare() -> Option<&'static [&'static str]> {
    [&["unshare", "-m"][..], &["unshare", "-rm"]].into_iter().find(|unshare| {
        let mut command = Command::new(unshare[0]);
        command.args(&unshare[1..]).args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

/// Runs the test `name` again, with a small disk mounted at its folder.
fn with_small_disk(name: &str) {
    let Some(unshare) = unshare() else {
        say("not shown: a disk of one's own needs the right to mount");
        return;
    };
    let folder = TempDir::new().unwrap();
    let mount = format!("mount -t tmpfs -o size=6m tmpfs {} && exec \"$0\" \"$@\"", folder.path().display());
    let output = other(name, folder.path(), &[unshare, &["/bin/sh", "-c", &mount]].concat()).output().unwrap();
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

async fn until(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(BOUND, wait).await.expect("it never came");
}

fn fill(disk: &Path) {
    let full = std::io::copy(&mut std::io::repeat(b'x'), &mut std::fs::File::create(disk.join("filler")).unwrap());
    assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
}

#[tokio::test]
async fn on_a_full_disk_changes_wait_and_are_written_when_there_is_space_again() {
    const NAME: &str = "durable::tests::disk::on_a_full_disk_changes_wait_and_are_written_when_there_is_space_again";
    let Some(disk) = std::env::var_os(OTHER).map(PathBuf::from) else { return with_small_disk(NAME) };
    let (path, failures) = (disk.join("store"), Counter::default());
    let durable = Durable::open(&path, failures.clone()).unwrap();
    let put = |key: u32| durable.put(Table::Sessions, &key.to_be_bytes(), Some(&[7; 1000]));
    written(&durable, put(0)).await;
    fill(&disk);
    let mut key = 1;
    while durable.settled(put(key)).await.is_ok() {
        key += 1;
        assert!(key < 100_000, "the disk does not get full");
    }
    assert!(!durable.healthy());
    assert!(failures.get() > 0);
    let late = put(key + 1);
    assert!(durable.settled(late).await.is_err(), "it is not on disk");
    // Several tries open the file anew, without any space.
    let tries = failures.get() + 3;
    until(|| failures.get() >= tries).await;
    std::fs::remove_file(disk.join("filler")).unwrap();
    until(|| durable.healthy()).await;
    written(&durable, late).await;
    written(&durable, put(key + 2)).await;
    durable.close(BOUND).await.unwrap();
    let durable = open(&path).unwrap();
    let found: Vec<_> = entries(&durable, Table::Sessions).into_iter().map(|(key, _)| key).collect();
    assert_eq!(found, (0..=key + 2).map(|key| key.to_be_bytes().to_vec()).collect::<Vec<_>>());
}

#[tokio::test]
async fn with_a_full_disk_the_end_comes_in_time_and_the_next_start_needs_no_space() {
    const NAME: &str = "durable::tests::disk::with_a_full_disk_the_end_comes_in_time_and_the_next_start_needs_no_space";
    let Some(disk) = std::env::var_os(OTHER).map(PathBuf::from) else { return with_small_disk(NAME) };
    let (path, failures) = (disk.join("store"), Counter::default());
    let durable = Durable::open(&path, failures.clone()).unwrap();
    let put = |durable: &Durable, key: u32| durable.put(Table::Sessions, &key.to_be_bytes(), Some(&[7; 1000]));
    written(&durable, put(&durable, 0)).await;
    fill(&disk);
    let mut key = 1;
    while durable.settled(put(&durable, key)).await.is_ok() {
        key += 1;
    }
    let before = failures.get();
    assert!(durable.close(BOUND).await.is_err());
    assert!(failures.get() >= before + 5, "the last tries were {}", failures.get() - before);
    let durable = open(&path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(entries(&durable, Table::Sessions).len(), key as usize);
    std::fs::remove_file(disk.join("filler")).unwrap();
    written(&durable, put(&durable, key)).await;
}

#[tokio::test]
async fn a_file_that_cannot_be_made_or_written_is_refused_with_the_reason() {
    const NAME: &str = "durable::tests::disk::a_file_that_cannot_be_made_or_written_is_refused_with_the_reason";
    let Some(disk) = std::env::var_os(OTHER).map(PathBuf::from) else { return with_small_disk(NAME) };
    let path = disk.join("store");
    open(&path).unwrap().close(BOUND).await.unwrap();
    fill(&disk);
    let Err(Unopened::Io(_, why)) = open(&disk.join("more")) else { panic!("there is no space") };
    assert_eq!(why.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(std::fs::read_dir(&disk).unwrap().count(), 2, "nothing is left behind");
    assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(&disk).status().unwrap().success());
    for path in [path, disk.join("more")] {
        let Err(Unopened::Io(_, why)) = open(&path) else { panic!("it cannot be written") };
        assert_eq!(why.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }
}
