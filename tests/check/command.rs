//! The command itself: exit codes, lines, secrets, time, and whom it does not ask.

use std::process::Stdio;
use std::time::Instant;

use crate::checked::{AT_MOST, check, check_with, neighbours};
use crate::run::{FILE, LITERAL, ephemint, good};
use crate::support::{Config, Introspector, Reply, Service, error, secrets};

#[test]
fn people_read_a_line_for_each_and_the_fix_below() {
    let (issuer, upstream) = neighbours();
    let config = Config::new(&issuer, &upstream);
    let run = |arguments: &[&str]| ephemint(&[&["check", "--config", FILE], arguments].concat()).configured(&config).done();
    let well = run(&[]);
    well.expect(0);
    assert!(well.stderr.is_empty(), "{well}");
    let line = "ok    key       openai env://TEST_OPENAI_KEY (fingerprint ";
    assert!(well.stdout.lines().any(|it| it.starts_with(line) && it.ends_with("): accepted, 2 models")), "{well}");
    upstream.answer_probes(error(401, "invalid_request_error", "invalid_api_key"));
    let ill = run(&[]);
    ill.expect(1);
    let mut lines = ill.stdout.lines().skip_while(|it| !it.starts_with("FAIL  key "));
    assert!(lines.next().is_some_and(|it| it.ends_with("does not know this key (status 401, invalid_api_key)")), "{ill}");
    assert!(lines.next().is_some_and(|it| it.starts_with("      fix: Create a key ")), "{ill}");
    assert!(ill.stdout.trim_end().lines().last().is_some_and(|it| it.contains(", 1 failed, ")), "{ill}");
}

#[test]
fn warnings_are_no_failure() {
    let (issuer, upstream) = neighbours();
    upstream.answer_probes(Reply::new(429));
    check(&Config::new(&issuer, &upstream)).expect("key", "warning", "rate limit", "Wait");
}

#[test]
fn a_wrong_configuration_is_refused_as_serve_refuses_it() {
    let bad = good().keys(&["ABSENT"]).set("server.workers", "999");
    let serve = ephemint(&["serve", "--config", FILE]).configured(&bad).done();
    let check = ephemint(&["check", "--config", FILE]).configured(&bad).done();
    check.expect_refused();
    assert_eq!(check.stderr, serve.stderr);
    let document = check_with(&bad, &[]).document;
    assert_eq!(document["ok"], false);
    let problems = document["problems"].as_array().expect("problems");
    assert_eq!(problems.len(), 2, "{document}");
    let about_the_key = problems.iter().find(|it| it["key"] == "upstreams.openai.credential.keys[0]").expect("the key");
    assert_eq!(about_the_key["place"], FILE);
    assert_eq!(about_the_key["cause"], "env://ABSENT: the environment variable is not set");
    ephemint(&["check", "--config", "absent.toml", "--json"]).done().expect(78);
    let literal = good().set("upstreams.openai.credential", &format!(r#"{{ keys = ["{LITERAL}"] }}"#));
    ephemint(&["check", "--config", FILE, "--json"]).configured(&literal).done().expect(78);
}

#[test]
fn offline_nobody_is_asked() {
    let (issuer, upstream) = neighbours();
    let server = Introspector::start();
    let config = Config::new(&issuer, &upstream).login(&issuer).introspection("legacy", &server);
    let checked = check_with(&config, &["--offline"]);
    checked.expect_all_well();
    for what in ["key", "model", "clock", "issuer"] {
        checked.expect(what, "skipped", "--offline", "");
    }
    assert_eq!((upstream.connections(), server.count(), issuer.requests().len()), (0, 0, 0));
    let store = config.clone().set("store.kind", r#""redis""#).set("store.url", r#""env://TEST_STORE_URL""#);
    check_with(&store.clone().env("TEST_STORE_URL", "redis://store.invalid"), &["--offline"]).expect(
        "store",
        "skipped",
        "--offline",
        "",
    );
    let misspelt = check_with(&store.clone().env("TEST_STORE_URL", "reddis://store.invalid"), &["--offline"]);
    assert_eq!(misspelt.document["problems"][0]["key"], "store.url", "{}", misspelt.document);
    check_with(&store.set("store.url", r#""vault://secret/store#url""#), &["--offline"]).expect(
        "store",
        "skipped",
        "--offline",
        "",
    );
    let kept = config.set("upstreams.openai.credential", r#"{ keys = ["vault://secret/voice#key"] }"#);
    let checked = check_with(&kept, &["--offline"]);
    let finding = checked.expect("key", "skipped", "--offline", "");
    assert_eq!(finding["subject"], "openai vault://secret/voice#key", "no fingerprint of what was not read");
}

#[test]
fn however_much_hangs_it_ends_and_shows_no_secret_meanwhile() {
    let (issuer, upstream) = neighbours();
    let server = Introspector::start();
    upstream.answer_probes(Reply::never());
    issuer.break_discovery(Some(Reply::never()));
    server.breaks(Reply::never());
    let config = Config::new(&issuer, &upstream).login(&issuer).introspection("legacy", &server);
    let begun = Instant::now();
    let folder = tempfile::TempDir::new().expect("a folder");
    std::fs::write(folder.path().join(FILE), config.toml(folder.path())).expect("a file");
    let mut command = Service::command(&config);
    command.args(["check", "--config", FILE, "--json"]).current_dir(folder.path()).stdout(Stdio::piped());
    let child = command.spawn().expect("the binary starts");
    while upstream.connections() == 0 {
        assert!(begun.elapsed() < AT_MOST, "the upstream is not asked");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let shown = std::fs::read(format!("/proc/{}/cmdline", child.id())).expect("its command line");
    let output = child.wait_with_output().expect("it ends");
    assert!(begun.elapsed() < AT_MOST, "only after {:?}", begun.elapsed());
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    for secret in [secrets::PERMANENT, secrets::INTROSPECTION, secrets::LOGIN_SECRET, secrets::ADMIN_TOKEN, secrets::COOKIE_KEY] {
        let places = [&shown[..], &output.stdout, &output.stderr];
        assert!(!places.iter().any(|place| String::from_utf8_lossy(place).contains(secret)), "{secret} is shown");
    }
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let silent = document["findings"].as_array().expect("findings").iter().filter(|it| it["outcome"] == "failed");
    let causes: Vec<_> = silent.map(|it| it["cause"].as_str().unwrap_or_default().to_owned()).collect();
    assert!(causes.len() == 4 && causes.iter().all(|it| it.starts_with("no answer within the time")), "{causes:?}");
}
