//! `ephemint key`: hashes, new keys, and entries that cannot be.

use super::run::{Outcome, ephemint, good, serve};

const KEY: &str = "epk_0123456789abcdef0123456789abcdef";
/// `printf %s KEY | sha256sum`
const HASH: &str = "fb7683604469db78975ca175007ca8e35cc53e76568ef8033f1167e3feb699bd";

fn hash(input: &str) -> Outcome {
    ephemint(&["key", "hash"]).input(input).done()
}

#[test]
fn the_hash_of_a_key_is_its_sha256_without_the_line_end() {
    for input in [KEY.to_owned(), format!("{KEY}\n"), format!("{KEY}\r\n")] {
        let outcome = hash(&input);
        assert_eq!(outcome.expect(0).stdout, format!("{HASH}\n"));
        assert_eq!(outcome.stderr, "");
    }
}

#[test]
fn what_is_no_key_is_refused_without_being_repeated() {
    for input in [
        "",
        "\n",
        "canary-literal",
        "canary-literal with a space and enough characters",
        "sk-proj-canary-literal-0123456789abcdef\n",
    ] {
        let outcome = hash(input);
        assert_eq!(outcome.expect(1).stdout, "");
        assert!(outcome.stderr.starts_with("ephemint: "), "{outcome}");
    }
}

#[test]
fn a_new_key_comes_with_an_entry_that_holds_its_hash() {
    let outcome = ephemint(&["key", "new", "--id", "k7"]).done();
    let text = &outcome.expect(0).stdout;
    let key = text.lines().map(str::trim).find(|line| line.starts_with("epk_")).expect("a key");
    assert_eq!(key.len(), 4 + 64);
    let digest = hash(key).expect(0).stdout.trim().to_owned();
    let entry = format!(r#"keys = [{{ id = "k7", sha256 = "{digest}" }}]"#);
    assert!(text.contains(&entry), "{outcome}");
    let other = ephemint(&["key", "new"]).done();
    assert!(!other.expect(0).stdout.contains(key));
    ephemint(&["key", "new", "--id", "a b"]).done().expect(1);
    ephemint(&["key"]).done().expect(64);
}

#[test]
fn entries_that_cannot_be_are_refused() {
    let entry = |keys: &str| good().set("identity.api_keys.backend.keys", keys);
    let one = format!(r#"{{ id = "k1", sha256 = "{HASH}" }}"#);
    for (keys, key, word) in [
        ("[]".to_owned(), "identity.api_keys.backend.keys", "key new"),
        (format!(r#"[{{ id = "k1", sha256 = "{}" }}]"#, &HASH[1..]), "identity.api_keys.backend.keys[0].sha256", "64"),
        (format!(r#"[{{ id = "k1", sha256 = "g{}" }}]"#, &HASH[1..]), "identity.api_keys.backend.keys[0].sha256", "64"),
        (format!(r#"[{{ id = "k1", sha256 = "{KEY}" }}]"#), "identity.api_keys.backend.keys[0].sha256", "never write the key"),
        (format!("[{one}, {one}]"), "identity.api_keys.backend.keys[1].sha256", "twice"),
        (format!("[{one}, {one}]"), "identity.api_keys.backend.keys[1].id", "same id"),
        (format!(r#"[{{ id = "", sha256 = "{HASH}" }}]"#), "identity.api_keys.backend.keys[0].id", "letters"),
        (
            format!(r#"[{{ id = "k1", sha256 = "{HASH}", expires = "tomorrow" }}]"#),
            "identity.api_keys.backend.keys[0].expires",
            "2027",
        ),
        (
            format!(r#"[{{ id = "k1", sha256 = "{HASH}", expires = 2027-01-01 }}]"#),
            "identity.api_keys.backend.keys[0].expires",
            "2027",
        ),
    ] {
        serve(&entry(&keys)).done().expect_problem(key, word);
    }
    let entry = entry(&format!("[{one}]"));
    for (path, value, key, word) in [
        ("identity.api_keys.backend.profiles", r#"["nowhere"]"#, "identity.api_keys.backend.profiles[0]", "no profile"),
        ("identity.api_keys.backend.owner", r#""""#, "identity.api_keys.backend.owner", "256"),
        ("identity.api_keys.backend.tenant", r#""a\u0000""#, "identity.api_keys.backend.tenant", "256"),
    ] {
        serve(&entry.clone().set(path, value)).done().expect_problem(key, word);
    }
}

#[test]
fn servers_to_ask_that_cannot_be_are_refused() {
    let entry = || {
        good()
            .set("identity.introspection.a.endpoint", r#""http://127.0.0.1:9/introspect""#)
            .set("identity.introspection.a.client_id", r#""ephemint""#)
            .set("identity.introspection.a.client_secret", r#""env://TEST_ADMIN_TOKEN""#)
    };
    for (field, value, word) in [
        ("endpoint", r#""""#, "URL"),
        ("endpoint", r#""ftp://127.0.0.1/""#, "https"),
        ("client_id", r#""""#, "client id"),
        ("client_secret", r#""canary-literal""#, "literal"),
        ("client_secret", r#""env://NOT_SET""#, "NOT_SET"),
        ("client_auth", r#""jwt""#, "expected"),
        ("cache_seconds", "301", "300"),
        ("negative_cache_seconds", "61", "60"),
        ("timeout_seconds", "0", "30"),
        ("user_claim", r#""""#, "sub"),
        ("user_claim", r#""/a~2""#, "pointer"),
        ("audience", r#"[""]"#, "empty"),
        ("issuer", r#""""#, "iss"),
    ] {
        let key = format!("identity.introspection.a.{field}");
        serve(&entry().set(&key, value)).done().expect_problem(&key, word);
    }
    let two = entry().append(
        "[identity.introspection.b]\nendpoint = \"http://127.0.0.1:9/\"\nclient_id = \"e\"\nclient_secret = \"env://TEST_ADMIN_TOKEN\"\ntoken_prefix = \"b\"",
    );
    serve(&two).done().expect_problem("identity.introspection.b.token_prefix", "told apart");
    let prod = entry().set("environment", r#""prod""#);
    serve(&prod).done().expect_problem("identity.introspection.a.audience", "another service");
}
