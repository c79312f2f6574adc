//! Guests in the configuration: what is dangerous or makes no sense.

use super::prod::{prod, refused_in_prod_alone};
use super::run::{good, print, serve};
use crate::support::Config;

const PROOF: &str = r#"{ kind = "turnstile", secret = "env://TEST_PROOF_SECRET", hostnames = ["app.example.com"] }"#;
const LIMITS: [&str; 6] = [
    "identity.guest.per_address.proofs_per_minute",
    "identity.guest.per_address.mints_per_minute",
    "identity.guest.per_address.concurrent_calls",
    "profiles.guest.limits.mints_per_minute",
    "profiles.guest.limits.concurrent_calls",
    "profiles.guest.limits.monthly_mints",
];

/// With guests and all limits.
fn guests(config: Config) -> Config {
    let config = config
        .env("TEST_PROOF_SECRET", "0123456789")
        .env("TEST_GUEST_KEY", "0123456789abcdef0123456789abcdef")
        .profile("guest")
        .set("identity.guest.proof", PROOF)
        .set("identity.guest.token_keys", r#"["env://TEST_GUEST_KEY"]"#)
        .set("identity.guest.profiles", r#"["guest"]"#);
    LIMITS.iter().fold(config, |config, limit| config.set(limit, "5"))
}

#[test]
fn guests_without_limits_are_refused_in_prod() {
    print(&guests(prod())).done().expect(0);
    for limit in LIMITS {
        refused_in_prod_alone(&guests(prod()).unset(limit), limit, "without limits");
    }
}

#[test]
fn proofs_of_any_page_and_of_test_keys_are_refused_in_prod() {
    let config = guests(prod()).replace("identity.guest.proof", r#"["app.example.com"]"#, "[]");
    refused_in_prod_alone(&config, "identity.guest.proof.hostnames", "other people");
    for secret in ["1x0000000000000000000000000000000AA", "0x0000000000000000000000000000000000000000"] {
        let config = guests(prod()).env("TEST_PROOF_SECRET", secret);
        serve(&config).done().expect_problem("identity.guest.proof.secret", "for tests");
    }
    let config = guests(prod()).amend("identity.guest.proof", r#"verify_url = "http://127.0.0.1:9/""#);
    refused_in_prod_alone(&config, "identity.guest.proof.verify_url", "plain http");
}

#[test]
fn what_makes_no_sense_is_refused_everywhere() {
    let table = "identity.guest";
    for (key, value, named, word) in [
        ("profiles", r#"["nowhere"]"#, "identity.guest.profiles[0]", "no profile"),
        ("profiles", "[]", "identity.guest.profiles", "name the profiles"),
        ("token_keys", "[]", "identity.guest.token_keys", "name 1 to"),
        ("token_keys", r#"["env://TEST_PROOF_SECRET"]"#, "identity.guest.token_keys[0]", "32"),
        ("token_keys", r#"["env://TEST_GUEST_KEY", "env://TEST_GUEST_KEY"]"#, "identity.guest.token_keys[1]", "twice"),
        ("token_seconds", "299", "identity.guest.token_seconds", "300"),
        ("token_seconds", "86401", "identity.guest.token_seconds", "86400"),
        ("per_address.mints_per_minute", "0", "identity.guest.per_address.mints_per_minute", "1"),
    ] {
        serve(&guests(good()).set(&format!("{table}.{key}"), value)).done().expect_problem(named, word);
    }
    for (members, named, word) in [
        ("min_score = 0.5", "min_score", "recaptcha"),
        ("max_score = 0.5", "max_score", "hcaptcha"),
        (r#"action = """#, "action", "visible"),
    ] {
        let config = guests(good()).amend("identity.guest.proof", members);
        serve(&config).done().expect_problem(&format!("identity.guest.proof.{named}"), word);
    }
    serve(&guests(good()).unset("identity.guest.proof")).done().expect_problem("identity.guest.proof", "turnstile");
    let config = guests(good()).set("profiles.guest.allow", r#"{ groups = ["staff"] }"#);
    serve(&config).done().expect_problem("identity.guest.profiles[0]", "guest has neither");
}

#[test]
fn proxies_are_networks_and_never_everybody() {
    for (network, word) in [("0.0.0.0/0", "every address"), ("10.0.0.1/8", "first address"), ("lb.example.com", "network")] {
        let config = good().set("server.trusted_proxies", &format!("[{network:?}]"));
        serve(&config).done().expect_problem("server.trusted_proxies[0]", word);
    }
    serve(&good().set("server.forwarded_header", r#""x-real-ip""#))
        .done()
        .expect_problem("server.forwarded_header", "x-forwarded-for");
}
