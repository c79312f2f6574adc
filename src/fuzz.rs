//! What the fuzz targets of `tests/fuzz` call. Built for them and for tests alone.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::authenticate::fuzz::{keys, takes_apart};
use crate::http::token_in;

/// Reads the value of an `Authorization` header as a request's is read. A token that can be taken apart has the one canonical form: each
/// of its three parts is what encoding its bytes gives.
///
/// # Panics
///
/// When it has another.
pub fn authorization(value: &[u8]) {
    let Some(token) = token_in(value) else { return };
    let text = token.reveal();
    if takes_apart(text) {
        let canonical = |part: &str| URL_SAFE_NO_PAD.decode(part).is_ok_and(|bytes| URL_SAFE_NO_PAD.encode(bytes) == part);
        assert!(text.split('.').count() == 3 && text.split('.').all(canonical), "a second form of a token");
    }
}

/// Reads an issuer's key set.
///
/// # Panics
///
/// When more keys are kept than may be.
pub fn key_set(text: &[u8]) {
    assert!(keys(text) <= 100, "more keys than are kept");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// What was found, or is worth a start, stays in the corpus.
    fn run(corpus: &str, target: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(corpus);
        let mut count = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            target(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count >= 5, "{} is nearly empty", folder.display());
    }

    #[test]
    fn the_corpus_of_authorization_headers_is_read() {
        run("authorization", super::authorization);
    }

    #[test]
    fn the_corpus_of_key_sets_is_read() {
        run("key_set", super::key_set);
    }
}
