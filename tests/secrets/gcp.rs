//! Google Secret Manager: a mint with each kind of credential, and what is asked of Google for it.

#[path = "gcp/refused.rs"]
mod refused;

use std::collections::BTreeSet;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::google::{ACCESS, Google, IAM, METADATA, STS, TOKEN, accessed, error, private_key};
use crate::support::{Config, Issuer, Reply, Scope, Service, Upstream, World, eventually, secrets};
use crate::{credentials, key, references, used};

const SECRET: &str = "my-project/openai-key";
const KEY: &str = "gcp-sm://my-project/openai-key";
const LATEST: &str = "/v1/projects/my-project/secrets/openai-key/versions/latest:access";

/// A Google whose secret has two versions, the fallback key and then the primary one, and a folder for credential files.
fn google() -> (Google, TempDir) {
    let google = Google::start();
    google.add(SECRET, secrets::FALLBACK_KEY);
    google.add(SECRET, format!("{}\n", secrets::PRIMARY_KEY));
    (google, TempDir::new().expect("a folder"))
}

/// With the key of this reference, at this Google.
fn keyed(config: Config, google: &Google, key: &str) -> Config {
    references(config, &[key]).set("secrets.gcp.endpoint", &format!("{:?}", google.origin()))
}

/// With this credential file.
fn with_file(config: Config, folder: &TempDir, file: &Value) -> Config {
    let path = folder.path().join("credentials.json");
    std::fs::write(&path, file.to_string()).expect("a file");
    config.env("GOOGLE_APPLICATION_CREDENTIALS", &path.display().to_string())
}

/// A token of the cluster, in a file.
fn subject(folder: &TempDir) -> String {
    let path = folder.path().join("token");
    std::fs::write(&path, secrets::GOOGLE_SUBJECT_TOKEN).expect("a file");
    path.display().to_string()
}

/// A service with the key from `google`, as changed; it has minted with `expected`, and nothing of what was used shows.
async fn mints(google: &Google, key: &str, expected: &str, change: impl FnOnce(Config) -> Config) -> Service {
    let World { service, issuer, upstream } =
        World::from(Issuer::start(), Upstream::start(), |config| change(keyed(config, google, key)));
    service.mint(&issuer.bearer("anna")).await.expect(200).expect_minted();
    assert_eq!(upstream.last().bearer(), expected);
    guard(&service, google);
    service
}

/// What a service account signs for itself is as good as a token, and its key is worse.
fn guard(service: &Service, google: &Google) {
    for request in google.asked(ACCESS) {
        let signature = request.bearer().rsplit('.').next().expect("a part");
        service.guard("what proves a service account", signature, Scope::Everywhere);
    }
    let key = private_key();
    for line in key.lines().filter(|line| line.len() == 64) {
        service.guard("a service account's key", line, Scope::Everywhere);
    }
}

/// Which versions were asked for, however often.
fn accesses(google: &Google) -> BTreeSet<String> {
    google.asked(ACCESS).into_iter().map(|request| request.target).collect()
}

/// Whether somebody who makes tokens was asked for one.
fn is_asked(google: &Google, path: &str) -> bool {
    !google.asked(path).is_empty()
}

#[tokio::test]
async fn a_service_account_reads_the_latest_version() {
    let (google, folder) = google();
    let file = google.service_account();
    let _service = mints(&google, KEY, secrets::PRIMARY_KEY, |config| with_file(config, &folder, &file)).await;
    assert_eq!(accesses(&google), BTreeSet::from([LATEST.to_owned()]));
    let request = google.asked(ACCESS).remove(0);
    assert_eq!(request.header("user-agent"), Some(concat!("ephemint/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(request.header("x-goog-user-project"), None);
    assert!(!is_asked(&google, TOKEN), "it signs its tokens itself");
}

#[tokio::test]
async fn a_version_that_is_named_is_the_one_that_is_read() {
    let (google, folder) = google();
    let (file, key) = (google.service_account(), format!("{KEY}/1"));
    let _service = mints(&google, &key, secrets::FALLBACK_KEY, |config| with_file(config, &folder, &file)).await;
    let first = "/v1/projects/my-project/secrets/openai-key/versions/1:access";
    assert_eq!(accesses(&google), BTreeSet::from([first.to_owned()]));
}

#[tokio::test]
async fn a_user_who_signed_in_with_gcloud_reads_it_on_the_quota_of_a_project() {
    let (google, folder) = google();
    let mut file = google.user();
    file["quota_project_id"] = "paying-project".into();
    let well_known = folder.path().join(".config/gcloud");
    std::fs::create_dir_all(&well_known).expect("a folder");
    std::fs::write(well_known.join("application_default_credentials.json"), file.to_string()).expect("a file");
    let home = folder.path().display().to_string();
    let pays = |project: &str| google.asked(ACCESS).pop().is_some_and(|it| it.header("x-goog-user-project") == Some(project));
    let _service = mints(&google, KEY, secrets::PRIMARY_KEY, |config| config.env("HOME", &home)).await;
    assert!(pays("paying-project"));
    let other = |config: Config| config.env("HOME", &home).env("GOOGLE_CLOUD_QUOTA_PROJECT", "other-project");
    let _other = mints(&google, KEY, secrets::PRIMARY_KEY, other).await;
    assert!(pays("other-project"));
}

#[tokio::test]
async fn a_workload_elsewhere_reads_it_by_federation() {
    let (google, folder) = google();
    let file = google.federated(&subject(&folder));
    let _service = mints(&google, KEY, secrets::PRIMARY_KEY, |config| with_file(config, &folder, &file)).await;
    assert_eq!(google.asked(STS)[0].form()["scope"], "https://www.googleapis.com/auth/cloud-platform");
}

#[tokio::test]
async fn a_workload_elsewhere_acts_for_a_service_account() {
    let (google, folder) = google();
    let mut file = google.federated(&subject(&folder));
    file["service_account_impersonation_url"] = google.impersonation_url().into();
    let _service = mints(&google, KEY, secrets::PRIMARY_KEY, |config| with_file(config, &folder, &file)).await;
    assert!(is_asked(&google, STS) && is_asked(&google, IAM));
}

#[tokio::test]
async fn a_user_acts_for_a_service_account() {
    let (google, folder) = google();
    let file = google.impersonated(&google.user());
    let _service = mints(&google, KEY, secrets::PRIMARY_KEY, |config| with_file(config, &folder, &file)).await;
    assert!(is_asked(&google, TOKEN) && is_asked(&google, IAM));
}

#[tokio::test]
async fn a_machine_of_google_reads_it_without_any_file() {
    let (google, _folder) = google();
    let host = google.host();
    let _service = mints(&google, KEY, secrets::PRIMARY_KEY, |config| config.env("GCE_METADATA_HOST", &host)).await;
    assert!(is_asked(&google, METADATA));
}

#[tokio::test]
async fn what_dotenv_says_counts_in_dev() {
    let (google, _folder) = google();
    let line = format!("printf 'GCE_METADATA_HOST={}' > .env", google.host());
    let _service = mints(&google, KEY, secrets::PRIMARY_KEY, |config| config.shell(&line)).await;
    assert!(is_asked(&google, METADATA));
}

#[tokio::test]
async fn the_age_is_asked_of_the_version_that_was_read_and_may_be_denied() {
    let (google, folder) = google();
    let file = google.service_account();
    for _ in 0..2 {
        let _service = mints(&google, KEY, secrets::PRIMARY_KEY, |config| with_file(config, &folder, &file)).await;
        google.shows_versions();
    }
    assert!(google.asked("/versions/2").len() >= 2);
    // Whatever comes in place of the age, the key is had.
    google.breaks("/versions/2", Reply::never());
    let _service = mints(&google, KEY, secrets::PRIMARY_KEY, |config| with_file(config, &folder, &file)).await;
}

#[tokio::test]
async fn what_passes_is_waited_for_at_the_start() {
    let (google, folder) = google();
    google.script(ACCESS, error(503, "UNAVAILABLE", ""));
    // Torn on its way: the checksum is another key's.
    google.script(ACCESS, accessed("projects/1/secrets/openai-key/versions/2", b"sk-proj-canary-permanent-key-torn", 1));
    let file = google.service_account();
    let _service = mints(&google, KEY, secrets::PRIMARY_KEY, |config| with_file(config, &folder, &file)).await;
    assert!(google.asked(ACCESS).len() >= 3);
}

#[tokio::test]
async fn a_new_version_is_used_without_a_restart_and_an_outage_costs_nothing() {
    let (google, folder) = google();
    google.shows_versions();
    let change = |config| with_file(keyed(config, &google, KEY), &folder, &google.service_account());
    let world = World::with(|config| change(config).set("secrets.poll_seconds", "5"));
    let token = world.bearer("anna");
    used(&world, &token, secrets::PRIMARY_KEY).await;
    // 2026-01-02T03:04:05Z: the age is that of the version.
    assert_eq!(credentials(&world.service).await["credentials"][0]["made_at"], 1_767_323_045);
    // The key of the account is replaced by somebody's sign-in, and nothing is kept of the one before.
    with_file(Config::bare(), &folder, &google.user());
    world.upstream.accept(&key(3));
    google.add(SECRET, key(3));
    let rotated = async || {
        world.service.mint(&token).await.expect_minted();
        (world.upstream.last().bearer() == key(3)).then_some(())
    };
    eventually("the new version is used", 15, rotated).await;
    assert!(google.asked(ACCESS).last().is_some_and(|request| request.bearer().contains(secrets::GOOGLE_TOKEN)));
    google.refuse();
    let kept = "the value before stays in use";
    eventually("the outage is told", 15, async || crate::is_logged(&world.service, kept).then_some(())).await;
    used(&world, &token, &key(3)).await;
    guard(&world.service, &google);
}
