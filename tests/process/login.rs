//! `[identity.login]`: what a configuration of browser sign-in has to say, and what is refused.

use super::run::{LITERAL, good, print, serve};
use crate::support::{Config, secrets};

/// A good configuration of sign-in for a developer's machine.
fn login() -> Config {
    good()
        .env("COOKIE_KEY", secrets::COOKIE_KEY)
        .env("LOGIN_SECRET", secrets::LOGIN_SECRET)
        .set("server.public_url", r#""http://localhost:8080""#)
        .set("identity.login.issuer", r#""http://127.0.0.1:9/""#)
        .set("identity.login.client_id", r#""ephemint""#)
        .set("identity.login.client_secret", r#""env://LOGIN_SECRET""#)
        .set("identity.login.cookie_keys", r#"["env://COOKIE_KEY"]"#)
}

#[test]
fn sign_in_alone_is_enough() {
    print(&login().without("identity.jwt")).done().expect(0);
}

#[test]
fn everything_that_is_missing_is_named_at_once() {
    let outcome = serve(&good().set("identity.login.client_auth", r#""post""#)).done();
    for (key, word) in [
        ("identity.login.issuer", "iss claim"),
        ("identity.login.client_id", "client id"),
        ("identity.login.cookie_keys", "openssl"),
        ("server.public_url", "/auth/callback"),
    ] {
        outcome.expect_problem(key, word);
    }
    assert_eq!(outcome.expect_refused().len(), 4, "{outcome}");
}

#[test]
fn each_bad_value_has_its_cause() {
    for (path, value, key, word) in [
        ("issuer", r#""login.example.com""#, "issuer", "url"),
        ("client_id", r#""a b""#, "client_id", "client id"),
        ("client_secret", r#""env://NOT_SET""#, "client_secret", "not set"),
        ("client_auth", r#""jwt""#, "client_auth", "basic"),
        ("scopes", r#"["openid", "a b"]"#, "scopes[1]", "without spaces"),
        ("cookie_keys", r#"["env://SHORT"]"#, "cookie_keys[0]", "32 characters"),
        ("cookie_keys", r#"["env://COOKIE_KEY", "env://COOKIE_KEY"]"#, "cookie_keys[1]", "twice"),
        ("cookie_keys", "[]", "cookie_keys", "at least one"),
        ("idle_seconds", "59", "idle_seconds", "60"),
        ("idle_seconds", "50000", "absolute_seconds", "idle_seconds"),
        ("absolute_seconds", "604801", "absolute_seconds", "604800"),
        ("algorithms", r#"["HS256"]"#, "algorithms[0]", "never accepted"),
        ("algorithms", "[]", "algorithms", "at least one"),
        ("user_claim", r#""""#, "user_claim", "identifies the user"),
        ("leeway_seconds", "61", "leeway_seconds", "60"),
        ("required_scopes", r#"["talk"]"#, "required_scopes", "no such key"),
    ] {
        let config = login().env("SHORT", "0123456789abcdef0123456789abcde").set(&format!("identity.login.{path}"), value);
        let outcome = serve(&config).done();
        outcome.expect_problem(&format!("identity.login.{key}"), word);
        assert_eq!(outcome.expect_refused().len(), 1, "{outcome}");
    }
    let five = (0..5).fold(login(), |config, i| config.env(&format!("K{i}"), secrets::COOKIE_KEY));
    let five = five.set("identity.login.cookie_keys", r#"["env://K0", "env://K1", "env://K2", "env://K3", "env://K4"]"#);
    serve(&five).done().expect_problem("identity.login.cookie_keys", "at most 4");
}

#[test]
fn cookies_need_https_beyond_ones_own_machine_and_always_in_prod() {
    let accepted = |config: &Config, url: &str, accepted: bool| {
        let config = config.clone().set("server.public_url", &format!("{url:?}"));
        if accepted {
            print(&config).done().expect(0);
        } else {
            serve(&config).done().expect_problem("server.public_url", "https");
        }
    };
    let prod = login()
        .set("environment", r#""prod""#)
        .set("identity.jwt.main.issuer", r#""https://login.example.com/""#)
        .set("identity.login.issuer", r#""https://login.example.com/""#)
        .set("upstreams.openai.base_url", r#""https://api.openai.com/v1""#);
    for (url, in_dev, in_prod) in [
        ("https://voice.example.com", true, true),
        ("https://voice.example.com/below", true, true),
        ("http://localhost:8080", true, false),
        ("http://127.0.0.1:8080", true, false),
        ("http://[::1]:8080", true, false),
        ("http://voice.example.com", false, false),
        ("http://10.0.0.1", false, false),
        ("http://localhost.example.com", false, false),
    ] {
        accepted(&login(), url, in_dev);
        accepted(&prod, url, in_prod);
    }
    let plain =
        prod.set("server.public_url", r#""https://voice.example.com""#).set("identity.login.issuer", r#""http://a.example""#);
    serve(&plain).done().expect_problem("identity.login.issuer", "plain http");
}

#[test]
fn secrets_of_sign_in_are_named_and_never_written() {
    let config = login()
        .set("identity.login.client_secret", &format!("{LITERAL:?}"))
        .set("identity.login.cookie_keys", &format!("[{LITERAL:?}, \"env://COOKIE_KEY\"]"));
    let outcome = serve(&config).done();
    outcome.expect_problem("identity.login.client_secret", "literal secret");
    outcome.expect_problem("identity.login.cookie_keys[0]", "literal secret");
    assert_eq!(outcome.expect_refused().len(), 2, "{outcome}");
    let printed = print(&login()).done();
    printed.expect(0);
    assert!(printed.stdout.contains("env://COOKIE_KEY") && printed.stdout.contains("env://LOGIN_SECRET"), "{printed}");
}
