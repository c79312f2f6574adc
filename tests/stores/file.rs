//! The embedded store in a file: whatever was answered is there after any end.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Config, Issuer, MINT, Reply, Service, Upstream, eventually};

/// Neighbours that outlive the service, and the folder of its store.
struct Home {
    issuer: Issuer,
    upstream: Upstream,
    folder: TempDir,
}

impl Home {
    fn new() -> Self {
        Self { issuer: Issuer::start(), upstream: Upstream::start(), folder: TempDir::new().unwrap() }
    }

    fn config(&self) -> Config {
        let path = format!("\"{}\"", self.folder.path().join("store").display());
        Config::new(&self.issuer, &self.upstream).set("store.path", &path)
    }

    fn alice(&self) -> String {
        self.issuer.bearer("alice")
    }
}

/// As a power cut does.
fn kill(mut service: Service) {
    service.signal("KILL");
    assert!(service.wait(Duration::from_secs(10)).is_some());
}

#[tokio::test]
async fn counts_leases_sessions_and_keys_survive_kill_9() {
    let home = Home::new();
    let config = home.config().limit("monthly_mints", 3).limit("concurrent_calls", 2);
    let token = home.alice();
    let mint = async |service: &Service, key: &str| {
        service.call(Method::POST, MINT).bearer(&token).header("idempotency-key", key).send().await
    };
    let service = Service::start(&config);
    let first = mint(&service, "key-1").await.expect_session();
    let second = mint(&service, "key-2").await.expect_session();
    service.report(&second, "rtc_1", &token).await.expect(204);
    kill(service);

    let service = Service::start(&config);
    let list = service.get("/v1/sessions", &token).await.expect(200).json();
    let known: Vec<_> =
        list["data"].as_array().unwrap().iter().map(|it| (it["session_id"].clone(), it["state"].clone())).collect();
    assert_eq!(known, [(json!(second), json!("in_call")), (json!(first), json!("issued"))]);
    mint(&service, "key-3").await.expect_problem(429, "concurrency_limited");
    assert_eq!(mint(&service, "key-1").await.expect_session(), first, "the key is known");
    service.delete(&format!("/v1/sessions/{first}"), &token).await.expect(204);
    kill(service);

    let service = Service::start(&config);
    mint(&service, "key-1").await.expect_problem(409, "idempotency_conflict");
    mint(&service, "key-4").await.expect_minted();
    service.delete(&format!("/v1/sessions/{second}"), &token).await.expect(204);
    mint(&service, "key-5").await.expect_problem(429, "quota_exhausted");
}

#[tokio::test]
async fn blocks_and_the_lockdown_survive_kill_9() {
    let home = Home::new();
    let config = home.config();
    let (block, lockdown) = ("/admin/v1/users/canary-user-alice/block", "/admin/v1/lockdown");
    let service = Service::start(&config);
    service.admin(Method::PUT, block).json(&json!({"reason": "abuse"})).send().await.expect(200);
    service.admin(Method::PUT, lockdown).json(&json!({"reason": "leak"})).send().await.expect(200);
    kill(service);
    let service = Service::start(&config);
    service.mint(&home.alice()).await.expect_problem(503, "locked_down");
    service.admin(Method::DELETE, lockdown).send().await.expect(204);
    service.mint(&home.alice()).await.expect_problem(403, "user_blocked");
    kill(service);
    let service = Service::start(&config);
    service.mint(&home.alice()).await.expect_problem(403, "user_blocked");
    service.mint(&home.issuer.bearer("bob")).await.expect_minted();
}

#[tokio::test]
async fn a_call_that_is_to_be_hung_up_is_hung_up_after_kill_9() {
    let home = Home::new();
    let config = home.config();
    let token = home.alice();
    let service = Service::start(&config);
    let session = service.mint(&token).await.expect_session();
    service.report(&session, "rtc_1", &token).await.expect(204);
    for _ in 0..100 {
        home.upstream.script_hang_up(Reply::new(503));
    }
    service.delete(&format!("/v1/sessions/{session}"), &token).await.expect(204);
    eventually("it was tried", 10, async || (!home.upstream.hang_ups().is_empty()).then_some(())).await;
    kill(service);
    home.upstream.forget_hang_ups();
    let before = home.upstream.hang_ups().len();
    let service = Service::start(&config);
    eventually("it is hung up", 15, async || (home.upstream.hang_ups().len() > before).then_some(())).await;
    let written = async || service.audit().into_iter().find(|entry| entry["event"] == "hang_up");
    assert_eq!(eventually("it is written down", 10, written).await["outcome"], "hung_up");
}

#[tokio::test]
async fn no_mint_that_was_answered_is_forgotten_however_often_the_process_is_killed() {
    const QUOTA: u32 = 120;
    let home = Home::new();
    let config = home.config().limit("monthly_mints", QUOTA);
    let token = home.alice();
    let mut answered = 0;
    for life in 0..6_u64 {
        let service = Service::start(&config);
        let mints = join_all((0..40).map(|_| async {
            let call = service.try_mint(&token).await;
            usize::from(call.is_some_and(|status| status == 200))
        }));
        let end = async {
            tokio::time::sleep(Duration::from_millis(20 + 15 * life)).await;
            service.signal("KILL");
        };
        let (outcomes, ()) = tokio::join!(mints, end);
        answered += outcomes.iter().sum::<usize>();
        kill(service);
    }
    let service = Service::start(&config);
    while service.mint(&token).await.status == 200 {
        answered += 1;
    }
    service.mint(&token).await.expect_problem(429, "quota_exhausted");
    assert!(answered <= QUOTA as usize, "{answered} secrets of {QUOTA} were handed out");
}

/// What the process prints before it ends by itself.
fn refused(config: &Config) -> String {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("ephemint.toml");
    std::fs::write(&file, config.toml(folder.path())).unwrap();
    let output = Service::command(config).arg("serve").arg("--config").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_second_process_on_the_same_file_is_refused_and_the_first_goes_on() {
    let home = Home::new();
    let service = Service::start(&home.config());
    let said = refused(&home.config());
    assert!(said.contains("store.path") && said.contains("in use by another process"), "{said}");
    service.mint(&home.alice()).await.expect_minted();
}

#[tokio::test]
async fn a_file_that_is_not_ephemints_is_refused_and_left_as_it_was() {
    let home = Home::new();
    let path = home.folder.path().join("store");
    for content in [&b"something else entirely, and long enough to be a header of some kind"[..], b""] {
        std::fs::write(&path, content).unwrap();
        let said = refused(&home.config());
        assert!(said.contains("store.path") && said.contains("move") || said.contains("remove"), "{said}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named_with_the_other_problems() {
    let home = Home::new();
    let path = home.folder.path().join("missing").join("store");
    assert!(!Path::new(&path).exists());
    let config = home.config().set("store.path", &format!("\"{}\"", path.display())).set("server.workers", "1000");
    let said = refused(&config);
    assert!(said.contains("store.path") && said.contains("missing") && said.contains("server.workers"), "{said}");
}
