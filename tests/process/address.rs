//! Addresses that cannot be listened on: exit 1, and a line that names the key.

use std::net::TcpListener;

use super::run::{good, serve};

#[track_caller]
fn cannot_listen(public: &str, admin: &str, key: &str, word: &str) {
    let config = good().set("server.listen", &format!("{public:?}")).set("admin.listen", &format!("{admin:?}"));
    let outcome = serve(&config).done();
    outcome.expect(1);
    let place = format!("ephemint: {key}: cannot listen on ");
    let line = outcome.stderr.lines().find(|line| line.starts_with(&place)).unwrap_or_else(|| panic!("{outcome}"));
    assert!(line.to_lowercase().contains(word), "{line}");
}

#[test]
fn an_address_in_use_is_named_with_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().map(|address| (address.to_string(), taken)).expect("an address");
    cannot_listen(&taken.0, "127.0.0.1:0", "server.listen", &format!("{}: address", taken.0));
    cannot_listen("127.0.0.1:0", &taken.0, "admin.listen", "in use");
}

#[test]
fn both_listeners_cannot_have_one_address() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").to_string();
    cannot_listen(&free, &free, "admin.listen", "in use");
}

#[test]
fn an_address_of_another_machine_is_named_with_its_key() {
    cannot_listen("192.0.2.1:8080", "127.0.0.1:0", "server.listen", "address");
}
