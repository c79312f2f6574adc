//! Signed JSON in compact form (RFC 7515, section 7.1): taken apart, not believed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::config::Algorithm;
use crate::domain::json::parse_strict;

/// Header and payload of one object, and what was signed. Its signature has not been looked at.
pub(super) struct Jws<'t> {
    pub(super) algorithm: Algorithm,
    pub(super) header: Map<String, Value>,
    pub(super) payload: Map<String, Value>,
    pub(super) signed: &'t str,
    pub(super) signature: Vec<u8>,
}

impl<'t> Jws<'t> {
    /// Takes a text of at most `most` bytes apart. Every deviation from the one canonical form is refused.
    pub(super) fn parse(text: &'t str, most: usize) -> Option<Self> {
        if text.len() > most {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let decode = |segment: &str| URL_SAFE_NO_PAD.decode(segment).ok().filter(|bytes| !bytes.is_empty());
        let header = object(&decode(header)?)?;
        // Extensions that must be understood (`crit`) are not, and an unencoded payload (RFC 7797) is none of ours.
        if header.contains_key("crit") || header.contains_key("b64") {
            return None;
        }
        Some(Self {
            algorithm: Algorithm::parse(header.get("alg")?.as_str()?)?,
            header,
            payload: object(&decode(payload)?)?,
            signed,
            signature: decode(signature)?,
        })
    }
}

fn object(text: &[u8]) -> Option<Map<String, Value>> {
    match parse_strict(text).ok()? {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}
