//! `ephemint dev --sandbox-only`: what it prints, how it ends.

use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;

use crate::client::Sandbox;
use crate::running::Running;

#[test]
fn the_banner_says_what_is_needed_and_its_curl_line_works() {
    let mut sandbox = Sandbox::start();
    let line = sandbox.running.printed("curl line", |line| line.trim().starts_with("curl ").then(|| line.trim().to_owned()));
    let output = Command::new("sh").arg("-c").arg(&line).env_clear().env("PATH", "/usr/bin:/bin").output().expect("a shell");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert!(answer["value"].as_str().is_some_and(|value| value.starts_with("ek_")), "{answer:#}");
    let banner = sandbox.running.stdout();
    for word in ["OPENAI_BASE_URL", "sk-", "happy", "drops_mid_call", "/scenarios/NAME/v1", "this machine only"] {
        assert!(banner.contains(word), "{word} in {banner}");
    }
    assert_eq!(sandbox.running.stderr(), "");
    sandbox.running.signal("TERM");
    sandbox.running.expect_exit(0);
}

#[test]
fn a_port_in_use_is_exit_1_and_flags_of_the_service_do_not_go_with_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let mut running = Running::start(&["dev", "--sandbox-only", "--port", &port], |_| {});
    running.expect_exit(1);
    // What it said may still be on its way.
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(running.stderr().contains(&format!("cannot listen on 127.0.0.1:{port}")), "{}", running.stderr());
    for flag in ["--live", "--open", "--admin-port=1"] {
        let mut running = Running::start(&["dev", "--sandbox-only", flag], |_| {});
        running.expect_exit(64);
    }
}
