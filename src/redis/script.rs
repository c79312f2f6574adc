//! A Lua script and its name.

use aws_lc_rs::digest;

use crate::domain::ids::hex;

/// What a server runs in one step.
pub(crate) struct Script {
    pub(super) code: &'static str,
    /// As `EVALSHA` names it.
    pub(super) digest: String,
}

impl Script {
    pub(crate) fn new(code: &'static str) -> Self {
        let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, code.as_bytes());
        Self { code, digest: hex(digest.as_ref()) }
    }
}
