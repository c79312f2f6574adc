//! `ephemint key hash` and `ephemint key new`.

use aws_lc_rs::digest;

use super::run::{ephemint, good, print};

const KEY: &str = "epk_canary-api-key-of-a-process-test-0001";

fn sha256(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[test]
fn the_hash_of_a_key_is_printed_alone() {
    for input in [KEY.to_owned(), format!("{KEY}\n"), format!("{KEY}\r\n")] {
        let outcome = ephemint(&["key", "hash"]).stdin(input).done();
        outcome.expect(0);
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), (format!("{}\n", sha256(KEY)).as_str(), ""));
    }
    let longest: String = "0123456789abcdef".repeat(64);
    let outcome = ephemint(&["key", "hash"]).stdin(format!("{longest}\r\n")).done();
    assert_eq!(outcome.expect(0).stdout.trim_end(), sha256(&longest));
}

#[test]
fn what_is_no_good_key_is_refused_and_not_repeated() {
    let longest: String = "0123456789abcdef".repeat(64);
    for (input, word) in [
        (String::new(), "at least 32"),
        ("\n".into(), "at least 32"),
        ("canary-api-key-too-short".into(), "at least 32"),
        ("a".repeat(64), "guess"),
        ("abc".repeat(20), "guess"),
        (format!("{KEY} "), "characters"),
        (format!(" {KEY}"), "characters"),
        (format!("{KEY}\n\n"), "characters"),
        (format!("{KEY}\n{KEY}\n"), "characters"),
        (format!("{KEY}\0"), "characters"),
        (format!("{KEY}\u{e9}"), "characters"),
        (format!("key: {KEY}"), "characters"),
        (format!("\"{KEY}\""), "characters"),
        (format!("{longest}x"), "longer"),
        (format!("{longest}\r\nmore"), "longer"),
        (longest.repeat(100), "longer"),
        ("sk-proj-canary-literal-0123456789abcdef0123456789".into(), "provider"),
        ("ek_canary-literal-0123456789abcdef0123456789".into(), "provider"),
        ("canary-literal-header.canary-literal-payload.canary".into(), "JWT"),
    ] {
        let outcome = ephemint(&["key", "hash"]).stdin(input.clone()).done();
        outcome.expect(1);
        assert!(outcome.stdout.is_empty() && outcome.stderr.contains(word), "{input:?}: {outcome}");
    }
    let outcome = ephemint(&["key", "hash"]).stdin(b"\xff\xfe0123456789abcdef0123456789abcdef".to_vec()).done();
    outcome.expect(1);
}

#[test]
fn a_new_key_fits_its_hash_and_what_is_printed_can_be_pasted() {
    let made = |arguments: &[&str]| {
        let outcome = ephemint(arguments).done();
        outcome.expect(0);
        assert!(outcome.stderr.is_empty(), "{outcome}");
        let key = outcome.stdout.lines().find_map(|line| line.trim().strip_prefix("epk_")).expect("a key").to_owned();
        let entry = outcome.stdout.lines().find(|line| line.trim().starts_with("keys = ")).expect("an entry").to_owned();
        (format!("epk_{key}"), entry)
    };
    let (key, entry) = made(&["key", "new"]);
    assert!(key.len() == 68 && key[4..].bytes().all(|b| b.is_ascii_hexdigit()), "256 bits");
    assert!(entry.contains(&sha256(&key)) && entry.contains(r#"id = "k1""#), "{entry}");
    assert_eq!(ephemint(&["key", "hash"]).stdin(format!("{key}\n")).done().expect(0).stdout.trim_end(), sha256(&key));
    print(&good().append(&format!("[identity.api_keys.backend]\n{entry}"))).done().expect(0);

    let (other, named) = made(&["key", "new", "--id", "2026-11"]);
    assert!(other != key && named.contains(r#"id = "2026-11""#), "{named}");
    for id in ["", "two words", "a\"b"] {
        ephemint(&["key", "new", "--id", id]).done().expect(1);
    }
}
