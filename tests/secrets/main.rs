//! Where the permanent key comes from, and how it is replaced: each source serves a mint, rotation loses none, and what is wrong is said.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, and tests read clocks and environments of their own"
)]

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod aws;
mod azure;
mod files;
mod follow;
mod gcp;
mod load;
mod local;
mod moto;
mod ring;
mod vault;
mod workload;

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use support::{Config, Service, World, eventually};

/// A key like those that every canary knows.
fn key(number: u32) -> String {
    format!("sk-proj-canary-permanent-key-{number:04}")
}

/// First 8 hex digits of the SHA-256.
fn fingerprint(key: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
    let [a, b, c, d, ..] = *digest.as_ref() else { panic!("a digest has 32 bytes") };
    format!("{a:02x}{b:02x}{c:02x}{d:02x}")
}

/// A folder with a key in a file that nobody else may read.
struct KeyFile {
    folder: TempDir,
}

impl KeyFile {
    fn holding(text: &str) -> Self {
        let file = Self { folder: TempDir::new().expect("a folder") };
        file.write(text);
        file
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    /// Replaces it at one stroke.
    fn write(&self, text: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, text).expect("the key is written");
        restrict(&new);
        std::fs::rename(new, self.path()).expect("the key is replaced");
    }

    fn reference(&self) -> String {
        format!("file://{}", self.path().display())
    }

    fn world(&self, change: impl FnOnce(Config) -> Config) -> World {
        World::with(|config| change(references(config, &[&self.reference()])))
    }
}

fn restrict(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("permissions");
}

/// The permanent keys, by reference.
fn references(config: Config, references: &[&str]) -> Config {
    config.set("upstreams.openai.credential", &format!(r#"{{ kind = "api_key", keys = {references:?} }}"#))
}

/// What the admin listener says of the only upstream's credentials.
async fn credentials(service: &Service) -> Value {
    let report = service.admin(reqwest::Method::GET, "/admin/v1/credentials").send().await.expect(200).json();
    assert_eq!(report["upstreams"].as_array().map(Vec::len), Some(1), "{report}");
    report["upstreams"][0].clone()
}

/// Until a mint is served with this key.
async fn used(world: &World, token: &str, key: &str) {
    let what = format!("the key {} is used", fingerprint(key));
    let is_used = async || {
        world.service.mint(token).await.expect_minted();
        (world.upstream.last().bearer() == key).then_some(())
    };
    eventually(&what, 5, is_used).await;
}

/// How often something came of looking for credentials.
async fn count(service: &Service, outcome: &str) -> u64 {
    let metrics = service.admin(reqwest::Method::GET, "/metrics").send().await.expect(200).text();
    let name = format!("ephemint_credentials_total{{upstream=\"openai\",outcome=\"{outcome}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
}

/// The audit entries about credentials, by outcome.
fn entries(service: &Service, outcome: &str) -> Vec<Value> {
    service.audit().into_iter().filter(|entry| entry["event"] == "credential" && entry["outcome"] == outcome).collect()
}

/// Whether a line of the log says so.
fn is_logged(service: &Service, words: &str) -> bool {
    service.log().iter().any(|line| line["message"].as_str().is_some_and(|message| message.contains(words)))
}
