//! Permanent keys at rest, their models, the clock, and the way to the upstream.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::thread::JoinHandle;

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde_json::json;
use tempfile::TempDir;

use crate::checked::{check, check_with, neighbours};
use crate::support::redis::Authority;
use crate::support::{Config, Reply, secrets};

/// Days from today, as the provider writes a day.
fn day(days: i64) -> String {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    today.checked_add(days.days()).expect("a day").to_string()
}

/// A server that answers 400 to whatever comes, as those of plain http do to TLS.
fn one_that_speaks_plainly() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let _ = stream.read(&mut [0; 512]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    (address, answering)
}

fn listing(shutdown: Option<&str>) -> Reply {
    Reply::json(200, &json!({"data": [{"id": "gpt-realtime-2.1", "shutdown_date": shutdown}]}))
}

#[test]
fn nothing_is_wrong_with_a_good_configuration() {
    let (issuer, upstream) = neighbours();
    let checked = check(&Config::new(&issuer, &upstream).keys(&["TEST_OPENAI_KEY", "TEST_OPENAI_KEY_FALLBACK"]));
    checked.expect_all_well();
    checked.expect("key", "ok", "accepted, 2 models", "");
    checked.expect("model", "ok", "there", "");
    checked.expect("issuer", "ok", "reached, 3 usable keys", "");
    let mut asked = upstream.probes();
    asked.sort();
    assert_eq!(asked, [secrets::PRIMARY_KEY, secrets::FALLBACK_KEY]);
    assert_eq!(upstream.count(), 0, "something else was asked");
}

#[test]
fn keys_are_looked_at_where_they_are() {
    let (issuer, upstream) = neighbours();
    let folder = TempDir::new().expect("a folder");
    let config = Config::new(&issuer, &upstream);
    let checked = check(&config.clone().env("TWIN", secrets::PRIMARY_KEY).keys(&["TEST_OPENAI_KEY", "TWIN"]));
    checked.expect("key", "warning", "the same key as another of this upstream", "a key of its own");
    upstream.accept("sk-canary-permanent-key-legacy");
    let checked = check(&config.clone().env("TEST_OPENAI_KEY", "sk-canary-permanent-key-legacy"));
    checked.expect("key", "warning", "of a user and not of a project", "service account");
    let path = folder.path().join("key");
    fs::write(&path, secrets::PRIMARY_KEY).expect("a file");
    fs::set_permissions(&path, Permissions::from_mode(0o604)).expect("permissions");
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(24 * 200);
    fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(long_ago)).expect("a time");
    let config = config.set("upstreams.openai.credential", &format!(r#"{{ keys = ["file://{}"] }}"#, path.display()));
    let checked = check(&config);
    checked.expect("key", "warning", "everybody on this machine may read the file", "chmod o-r");
    checked.expect("key", "warning", "the key is old (200 days)", "Replace it");
    let patient = format!(r#"{{ keys = ["file://{}"], warn_after_days = 0 }}"#, path.display());
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("permissions");
    check(&config.set("upstreams.openai.credential", &patient)).expect_all_well();
}

#[test]
fn models_are_looked_up() {
    let (issuer, upstream) = neighbours();
    let config = Config::new(&issuer, &upstream);
    let other = config.clone().set("profiles.default.session.model", r#""gpt-realtime-9""#);
    check(&other).expect("model", "warning", "not among those that the key may use (env://TEST_OPENAI_KEY)", "Correct the model");
    let audio = r#"{ transcription = { model = "whisper-0" } }"#;
    let other = config.clone().set("profiles.default.session.audio.input", audio);
    let checked = check(&other);
    let finding = checked.expect("model", "warning", "not among those", "Correct the model");
    assert_eq!(finding["subject"], "whisper-0 at openai (profile default)");
    for (days, outcome, cause) in [
        (-30, "failed", "is shut down (since"),
        (0, "failed", "is shut down (since"),
        (1, "warning", "shut down soon (on"),
        (90, "warning", "shut down soon (on"),
        (91, "ok", "there until"),
    ] {
        upstream.answer_probes(listing(Some(&day(days))));
        check(&config).expect("model", outcome, cause, "");
    }
    upstream.answer_probes(listing(None));
    check(&config).expect_all_well();
}

#[test]
fn a_clock_that_is_wrong_is_told() {
    let (issuer, upstream) = neighbours();
    let config = Config::new(&issuer, &upstream);
    let date = |seconds: i64| {
        let at = Timestamp::now().checked_add(seconds.seconds()).expect("a time").to_zoned(TimeZone::UTC);
        at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    };
    for (ahead, outcome, cause) in [
        (0, "ok", "off by"),
        (30, "warning", "s behind)"),
        (-30, "warning", "s ahead)"),
        (300, "failed", "s behind)"),
        (-300, "failed", "s ahead)"),
    ] {
        upstream.answer_probes(listing(None).header("Date", &date(ahead)));
        check(&config).expect("clock", outcome, cause, if ahead == 0 { "" } else { "chrony" });
    }
}

#[test]
fn the_way_to_the_upstream_is_told_apart() {
    let (issuer, upstream) = neighbours();
    let config = Config::new(&issuer, &upstream);
    let at = |url: &str| config.clone().set("upstreams.openai.base_url", &format!("{url:?}"));
    check(&at("https://upstream.invalid/v1")).expect("key", "failed", "cannot be resolved", "DNS");
    let plain = upstream.base_url().replace("http://", "https://");
    check(&at(&plain)).expect("key", "failed", "no connection within the time", "scheme and port");
    let (address, _plain) = one_that_speaks_plainly();
    check(&at(&format!("https://{address}/v1"))).expect("key", "failed", "no TLS", "scheme and port");
    let authority = Authority::make();
    let (_server, port) = authority.server();
    let tls = format!("https://127.0.0.1:{port}/v1");
    check(&at(&tls)).expect("key", "failed", "of no authority that this machine trusts", "SSL_CERT_FILE");
    let nowhere = check(&at(&tls).env("SSL_CERT_FILE", "/nonexistent"));
    nowhere.expect("key", "failed", "trusts no certificate authority", "ca-certificates");
    nowhere.expect("tls", "failed", "trusts no certificate authority", "ca-certificates");
    let trusting = at(&tls).env("SSL_CERT_FILE", &authority.certificate().display().to_string());
    check(&trusting).expect("key", "failed", "the connection breaks", "look at the port");
    upstream.refuse();
    check(&config).expect("key", "failed", "nobody listens there", "host and port");
}

#[test]
fn a_setting_that_cannot_be_sent_is_refused_as_the_service_does() {
    let (issuer, upstream) = neighbours();
    let checked = check_with(&Config::new(&issuer, &upstream).set("upstreams.openai.project", r#""proj é""#), &[]);
    assert_eq!(checked.document["problems"][0]["key"], "upstreams.openai.project", "{}", checked.document);
}
