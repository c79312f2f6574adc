//! Listeners, sinks, and secrets of the service's own.

use std::net::TcpListener;

use crate::checked::{check, neighbours};
use crate::support::{Config, Service};

#[test]
fn addresses_are_tried() {
    let (issuer, upstream) = neighbours();
    let config = Config::new(&issuer, &upstream);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("\"{}\"", taken.local_addr().expect("its address"));
    check(&config.clone().set("server.listen", &address)).expect("listener", "warning", "in use", "the running service");
    let absent = config.clone().set("admin.listen", r#""192.0.2.1:9090""#).set("environment", r#""dev""#);
    check(&absent).expect("listener", "failed", "does not have the address", "0.0.0.0");
    drop(taken);
    let same = config.set("server.listen", &address).set("admin.listen", &address);
    check(&same).expect("listener", "failed", "the same address", "a port of its own");
}

#[test]
fn a_running_service_is_no_failure() {
    let (issuer, upstream) = neighbours();
    let config = Config::new(&issuer, &upstream);
    let service = Service::start(&config);
    let there = config.set("server.listen", &format!("\"{}\"", service.public()));
    check(&there).expect("listener", "warning", "in use", "Leave it if that is the running service");
}

#[test]
fn sinks_are_tried_and_nothing_is_left_behind() {
    let (issuer, upstream) = neighbours();
    let folder = tempfile::TempDir::new().expect("a folder");
    let config = Config::new(&issuer, &upstream);
    let at = |path: &str| config.clone().set("audit.sinks", &format!("[{:?}]", format!("file://{path}")));
    let inside = |name: &str| folder.path().join(name).display().to_string();
    check(&at(&inside("absent/audit.jsonl"))).expect("audit", "failed", "cannot be written there", "Create the folder");
    check(&at(&folder.path().display().to_string())).expect("audit", "failed", "cannot be written there", "Create the folder");
    check(&at(&inside("audit.jsonl"))).expect("audit", "ok", "can be written", "");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something was left behind");
    std::fs::write(inside("audit.jsonl"), "an entry\n").expect("a file");
    check(&at(&inside("audit.jsonl"))).expect_all_well();
    assert_eq!(std::fs::read(inside("audit.jsonl")).expect("the file"), b"an entry\n");
}

#[test]
fn secrets_that_are_missing_are_told() {
    let (issuer, upstream) = neighbours();
    let checked = check(&Config::new(&issuer, &upstream).without("privacy").unset("admin.token"));
    let named = |subject: &str, fix: &str| {
        let is_it = |it: &&serde_json::Value| it["subject"] == subject && it["outcome"] == "warning";
        let found = checked.findings().iter().find(is_it).unwrap_or_else(|| panic!("{}", checked.document));
        assert!(found["fix"].as_str().is_some_and(|it| it.contains(fix)), "{found}");
    };
    named("privacy.pseudonym_key", "Set privacy.pseudonym_key");
    named("admin.token", "Set admin.token");
}
