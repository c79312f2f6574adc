//! What `tests/fuzz` calls of this stage.

use super::jwk::read_set;
use super::jwt::Unverified;
use crate::config::Algorithm;

/// Whether a token can be taken apart.
pub(crate) fn takes_apart(token: &str) -> bool {
    Unverified::parse(token).is_ok()
}

/// How many keys of a set are of use.
pub(crate) fn keys(set: &[u8]) -> usize {
    read_set(set, &Algorithm::NAMES.map(|(_, algorithm)| algorithm)).map_or(0, |keys| keys.len())
}
