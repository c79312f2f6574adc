//! The audit's disk is full: no entry, no token, no torn line, and it goes on when there is space again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{MINT, World, secrets};

/// Space of the small disk.
const SPACE: usize = 64 * 1024;
const MANY: usize = 400;

/// How something is mounted that only one process sees; nothing where that is not possible.
pub(crate) fn unshare() -> Option<&'static str> {
    ["unshare -m", "unshare -rm"].into_iter().find(|unshare| {
        let script = format!("{unshare} sh -c 'mount -t tmpfs -o size=64k tmpfs /mnt'");
        let tried = Command::new("/bin/sh").arg("-c").arg(script).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    })
}

/// A service whose audit is on a disk of 64 KiB. The path is that disk as the service sees it.
fn with_small_disk(unshare: &str, folder: &Path) -> (World, PathBuf) {
    let disk = folder.display();
    let mount = format!(r#"exec {unshare} /bin/sh -c 'mount -t tmpfs -o size=64k tmpfs {disk} && exec "$0" "$@"' "$0" "$@""#);
    let world = World::with(|config| {
        config
            .shell(&mount)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .set("audit.sinks", &format!("[\"file://{disk}/audit.jsonl\"]"))
            .set("telemetry.log", r#""info""#)
    });
    let seen = PathBuf::from(format!("/proc/{}/root{disk}", world.service.pid()));
    (world, seen)
}

/// Every line of the audit; all must be whole.
#[track_caller]
fn entries(disk: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(disk.join("audit.jsonl")).expect("the audit");
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn: {:?}", text.lines().last());
    let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("a torn line ({error}): {line}"));
    text.lines().map(read).collect()
}

#[tokio::test]
async fn a_full_disk_stops_mints_without_a_torn_line_until_there_is_space_again() {
    let Some(unshare) = unshare() else {
        eprintln!("not shown: a disk of one's own needs the right to mount; /dev/full stands in for it in the test below");
        return;
    };
    let folder = TempDir::new().expect("a temporary directory");
    let (world, disk) = with_small_disk(unshare, folder.path());
    let token = world.bearer("alice");
    std::fs::write(disk.join("filler"), vec![b'x'; SPACE * 3 / 4]).expect("most of the disk");
    let mut minted = 0;
    let refused = loop {
        let answer = world.service.mint(&token).await;
        if answer.status != 200 {
            break answer;
        }
        minted += 1;
        assert!(minted < MANY, "the disk does not get full");
    };
    for answer in [refused, world.service.mint(&token).await, world.service.mint(&token).await] {
        answer.expect_problem(503, "audit_unavailable");
        assert!(!answer.text().contains(secrets::MINTED), "{answer}");
        assert_eq!(answer.retry_after(), 10);
    }
    assert_eq!(entries(&disk).len(), minted, "one entry for each secret that was handed out");
    world.service.get("/livez", &token).await.expect(200);
    world.service.call(reqwest::Method::POST, MINT).send().await.expect_problem(401, "missing_credentials");
    std::fs::remove_file(disk.join("filler")).expect("space again");
    let answer = world.service.mint(&token).await;
    answer.expect_minted();
    let entries = entries(&disk);
    assert_eq!(entries.iter().filter(|entry| entry["outcome"] == "minted").count(), minted + 1);
    assert!(entries.iter().any(|entry| entry["request_id"] == answer.request_id()));
    let text = std::fs::read(disk.join("audit.jsonl")).expect("the audit");
    for secret in [secrets::MINTED, secrets::PERMANENT, secrets::USER] {
        assert!(crate::support::find(&text, secret.as_bytes()).is_none(), "{secret} is in the audit");
    }
}

#[tokio::test]
async fn dev_full_in_place_of_a_full_disk_stops_mints_and_nothing_else() {
    let world = World::with(|config| config.set("audit.sinks", r#"["file:///dev/full"]"#));
    let token = world.bearer("alice");
    for _ in 0..3 {
        world.service.mint(&token).await.expect_problem(503, "audit_unavailable");
    }
    world.service.get("/livez", &token).await.expect(200);
    world.service.get("/v1/sessions", &token).await.expect(200);
}
