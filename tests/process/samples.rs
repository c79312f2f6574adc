//! Every configuration that we hand out works as it stands.

use std::path::{Path, PathBuf};

use super::run::{FILE, ephemint};
use super::running::Running;
use crate::support::secrets;

pub(crate) const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/config.reference.toml");

/// Every TOML file below `folder`.
fn configurations(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.map_while(Result::ok).map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(configurations(&path));
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn every_sample_configuration_loads() {
    let samples = configurations(&Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy"));
    assert!(samples.iter().any(|it| it == Path::new(REFERENCE)), "deploy/config.reference.toml is not there; found: {samples:?}");
    for sample in samples {
        let sample = sample.to_str().expect("a path in UTF-8");
        ephemint(&["config", "print", "--config", sample]).done().expect(0);
    }
}

/// The file that README shows, with nothing else made for it.
#[test]
fn the_sample_of_the_readme_starts_as_written() {
    let readme = include_str!("../../README.md");
    let sample = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a sample");
    let mut service = Running::start(&["serve", "--config", FILE], |command| {
        let directory = command.get_current_dir().expect("a directory").to_owned();
        std::fs::write(directory.join(FILE), sample).expect("a file");
        command.env("OPENAI_API_KEY", secrets::PRIMARY_KEY).env("EPHEMINT_PSEUDONYM_KEY", secrets::PSEUDONYM_KEY);
        command.env("EPHEMINT__SERVER__LISTEN", "127.0.0.1:0").env("EPHEMINT__ADMIN__LISTEN", "127.0.0.1:0");
        command.env("EPHEMINT__SERVER__DRAIN_SECONDS", "0");
    });
    service.listening("public");
    service.signal("TERM");
    service.expect_exit(0);
}

#[test]
fn the_reference_names_every_key() {
    let reference = std::fs::read_to_string(REFERENCE).unwrap_or_else(|error| panic!("deploy/config.reference.toml: {error}"));
    let schema: serde_json::Value =
        serde_json::from_str(&ephemint(&["config", "schema"]).done().stdout).expect("the schema is JSON");
    let mut keys = Vec::new();
    super::config_schema::keys(&schema, &mut keys);
    assert!(keys.len() > 40, "{keys:?}");
    let named = |key: &&String| reference.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == *key);
    let missing: Vec<_> = keys.iter().filter(|key| !named(key)).collect();
    assert!(missing.is_empty(), "the reference does not name {missing:?}");
}
