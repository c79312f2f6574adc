//! Opaque tokens and API keys: one wrong value at a time, each refused with its key and its cause.

use super::run::{good, print, serve};
use crate::support::Config;

const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A good configuration with a server of opaque tokens and another server's key.
fn servers() -> Config {
    opaque(good().without("identity"), "legacy", "https://login.example.com/introspect")
        .set("identity.api_keys.backend.keys", &keys(""))
}

fn opaque(config: Config, name: &str, endpoint: &str) -> Config {
    let table = format!("identity.introspection.{name}");
    config
        .set(&format!("{table}.endpoint"), &format!("{endpoint:?}"))
        .set(&format!("{table}.client_id"), r#""ephemint""#)
        .set(&format!("{table}.client_secret"), r#""env://TEST_INTROSPECTION_SECRET""#)
}

fn keys(more: &str) -> String {
    format!(r#"[{{ id = "k1", sha256 = "{SHA256}"{more} }}]"#)
}

#[test]
fn any_kind_of_identity_will_do() {
    print(&servers()).done().expect(0);
    print(&servers().without("identity.introspection")).done().expect(0);
    print(&servers().without("identity.api_keys")).done().expect(0);
    serve(&servers().without("identity")).done().expect_problem("identity", "nobody could sign in");
}

#[test]
fn a_server_of_opaque_tokens_is_described_completely() {
    for (key, value, word) in [
        ("endpoint", r#""""#, "URL"),
        ("endpoint", r#""login.example.com/introspect""#, "URL"),
        ("endpoint", r#""https://user:password@login.example.com/""#, "user name"),
        ("client_id", r#""""#, "client id"),
        ("client_secret", r#""""#, "env://"),
        ("client_secret", r#""env://NOT_THERE""#, "not set"),
        ("client_auth", r#""none""#, "post"),
        ("issuer", r#""""#, "URL"),
        ("issuer", r#""api_keys.backend""#, "URL"),
        ("audience", r#"["voice", ""]"#, "empty"),
        ("token_prefix", r#""two words""#, "letters"),
        ("cache_seconds", "301", "300"),
        ("negative_cache_seconds", "61", "60"),
        ("timeout_seconds", "0", "30"),
        ("timeout_seconds", "31", "30"),
        ("user_claim", r#""""#, "sub"),
        ("tenant_claim", r#""""#, "claim"),
        ("groups_claim", r#""/a~2""#, "pointer"),
        ("introspect", "true", "no such key"),
    ] {
        let path = format!("identity.introspection.legacy.{key}");
        serve(&servers().set(&path, value)).done().expect_problem(&path, word);
    }
    let nothing = good().without("identity").append("[identity.introspection.legacy]");
    for key in ["endpoint", "client_id", "client_secret"] {
        serve(&nothing).done().expect_problem(&format!("identity.introspection.legacy.{key}"), "");
    }
    serve(&opaque(servers(), "\"two words\"", "https://other.example.com/"))
        .done()
        .expect_problem("identity.introspection.two words", "name");
}

#[test]
fn several_servers_are_told_apart_by_how_tokens_begin() {
    let two = opaque(servers(), "second", "https://other.example.com/introspect");
    let prefixed = |one: &str, two_: &str| {
        let config = two.clone().set("identity.introspection.legacy.token_prefix", &format!("{one:?}"));
        config.set("identity.introspection.second.token_prefix", &format!("{two_:?}"))
    };
    print(&prefixed("aa_", "ab_")).done().expect(0);
    serve(&two).done().expect_problem("identity.introspection.second.token_prefix", "several");
    serve(&prefixed("a", "")).done().expect_problem("identity.introspection.legacy.token_prefix", "several");
    serve(&prefixed("a", "a")).done().expect_problem("identity.introspection.second.token_prefix", "several");
    serve(&prefixed("a", "ab")).done().expect_problem("identity.introspection.second.token_prefix", "beginning of another");
    serve(&prefixed("ab", "a")).done().expect_problem("identity.introspection.legacy.token_prefix", "beginning of another");
}

#[test]
fn two_servers_of_one_origin_need_issuers_of_their_own() {
    let two = opaque(servers(), "second", "https://login.example.com/other/introspect")
        .set("identity.introspection.legacy.token_prefix", r#""aa_""#)
        .set("identity.introspection.second.token_prefix", r#""bb_""#);
    serve(&two).done().expect_problem("identity.introspection.second.issuer", "origin");
    let named = |config: Config, name: &str, issuer: &str| {
        config.set(&format!("identity.introspection.{name}.issuer"), &format!("{issuer:?}"))
    };
    serve(&named(two.clone(), "legacy", "https://login.example.com"))
        .done()
        .expect_problem("identity.introspection.second.issuer", "origin");
    print(&named(two.clone(), "second", "https://login.example.com/other")).done().expect(0);
    let same = named(named(two, "legacy", "https://login.example.com/"), "second", "https://login.example.com/");
    print(&same).done().expect(0);
}

#[test]
fn api_keys_are_described_completely() {
    let long = format!("{SHA256}00");
    for (key, value, place, word) in [
        ("keys", "[]".to_owned(), "", "key new"),
        ("keys", r#""epk_x""#.to_owned(), "", "sequence"),
        ("keys", format!(r#"[{{ sha256 = "{SHA256}" }}]"#), "[0]", "id"),
        ("keys", format!(r#"[{{ id = "", sha256 = "{SHA256}" }}]"#), "[0].id", "name"),
        ("keys", format!(r#"[{{ id = "a/b", sha256 = "{SHA256}" }}]"#), "[0].id", "name"),
        ("keys", r#"[{ id = "k1" }]"#.to_owned(), "[0]", "sha256"),
        ("keys", format!(r#"[{{ id = "k1", sha256 = "{}" }}]"#, &SHA256[1..]), "[0].sha256", "64"),
        ("keys", format!(r#"[{{ id = "k1", sha256 = "{long}" }}]"#), "[0].sha256", "64"),
        ("keys", format!(r#"[{{ id = "k1", sha256 = "x{}" }}]"#, &SHA256[1..]), "[0].sha256", "64"),
        ("keys", format!(r#"[{{ id = "k1", sha256 = "+{}" }}]"#, &SHA256[1..]), "[0].sha256", "64"),
        ("keys", keys(", expires = \"next year\""), "[0].expires", "2027"),
        ("keys", keys(", expires = 2027-01-01"), "[0].expires", "time zone"),
        ("keys", keys(", expires = 2027-01-01T00:00:00"), "[0].expires", "time zone"),
        ("keys", keys(", expires = 1798761600"), "[0].expires", "string"),
        ("keys", keys(", key = \"x\""), "[0].key", "no such key"),
        ("profiles", "[]".to_owned(), "", "no profile"),
        ("profiles", r#"["default", "nowhere"]"#.to_owned(), "[1]", "nowhere"),
        ("owner", r#""""#.to_owned(), "", "name"),
        ("owner", r#""a\nb""#.to_owned(), "", "control"),
        ("tenant", format!("{:?}", "x".repeat(257)), "", "256"),
        ("may_act_for_users", r#""yes""#.to_owned(), "", "bool"),
    ] {
        let path = format!("identity.api_keys.backend.{key}");
        serve(&servers().set(&path, &value)).done().expect_problem(&format!("{path}{place}"), word);
    }
    serve(&servers().set("identity.api_keys.\"a/b\".keys", &keys(""))).done().expect_problem("identity.api_keys.a/b", "name");
}

#[test]
fn moments_are_written_in_every_way_that_names_one() {
    for moment in ["2027-01-01T00:00:00Z", "\"2027-01-01T00:00:00Z\"", "2027-01-01 01:00:00+01:00", "2027-01-01T00:00:00.5Z"] {
        print(&servers().set("identity.api_keys.backend.keys", &keys(&format!(", expires = {moment}")))).done().expect(0);
    }
}

#[test]
fn ids_are_unique_in_an_entry_and_keys_everywhere() {
    let other = SHA256.replace('b', "c");
    let twice = |id: &str, hash: &str| format!(r#"[{{ id = "k1", sha256 = "{SHA256}" }}, {{ id = "{id}", sha256 = "{hash}" }}]"#);
    let with = |keys: &str| serve(&servers().set("identity.api_keys.backend.keys", keys)).done();
    with(&twice("k1", &other)).expect_problem("identity.api_keys.backend.keys[1].id", "same id");
    with(&twice("k2", &SHA256.to_uppercase())).expect_problem("identity.api_keys.backend.keys[1].sha256", "twice");
    print(&servers().set("identity.api_keys.backend.keys", &twice("k2", &other))).done().expect(0);
    let second = servers().set("identity.api_keys.second.keys", &keys(""));
    serve(&second).done().expect_problem("identity.api_keys.second.keys[0].sha256", "twice");
}
