//! Names of requests, sessions and users.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use aws_lc_rs::hmac;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::network::Network;
use super::secret::Secret;

const MAX_NAME: usize = 256;

/// Whether a text can name a user or a tenant: 1 to 256 bytes, without control characters.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Names one session at Ephemint: a version 7 UUID. It is a name, not a credential: every look-up also asks whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId(Uuid);

impl SessionId {
    pub(crate) fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// `None` unless `text` is a UUID in its usual hyphenated lower-case form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text).ok()?;
        (Self(id).to_string() == text).then_some(Self(id))
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// Names one call at the provider: the last segment of the `Location` of the SDP answer, `rtc_…` (OpenAI, "Realtime API with WebRTC").
/// Nothing in it can end a path segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CallId(Box<str>);

impl CallId {
    /// Characters at most.
    const MOST: usize = 128;

    /// `None` unless `text` is `rtc_` and letters, digits, `_` or `-`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("rtc_").filter(|rest| !rest.is_empty() && text.len() <= Self::MOST)?;
        rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)).then(|| Self(text.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for CallId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Names one HTTP request: the caller's own (1..=128 of `A-Za-z0-9._-`) or a version 7 UUID.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(Box<str>);

impl RequestId {
    /// Keeps what the caller sent when it has the allowed form.
    pub(crate) fn from_caller(sent: Option<&[u8]>) -> Self {
        let kept =
            sent.filter(|id| (1..=128).contains(&id.len()) && id.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b)));
        match kept.and_then(|id| std::str::from_utf8(id).ok()) {
            Some(id) => Self(id.into()),
            None => Self(Uuid::now_v7().as_hyphenated().to_string().into()),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A user as everything but the identity check sees them: HMAC-SHA256 under `privacy.pseudonym_key`.
///
/// It is the `OpenAI-Safety-Identifier` (as 64 hex digits), the user's name in logs and audit, and the key of every per-user count.
/// One user is one triple of tenant, issuer and subject: two issuers that share a subject are two users.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pseudonym {
    /// ASCII: it is written more often than it is made.
    digits: [u8; 64],
}

impl Pseudonym {
    /// `None` unless `text` is 64 hexadecimal digits in lower case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = <[u8; 64]>::try_from(text.as_bytes()).ok()?;
        digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).then_some(Self { digits })
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.digits).unwrap_or_default()
    }
}

/// Part of an HMAC is as evenly spread as all of it, and nobody can choose it.
impl Hash for Pseudonym {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [start, ..] = self.digits.as_chunks::<16>().0 else { return };
        state.write(start);
    }
}

impl Serialize for Pseudonym {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Turns users into pseudonyms.
#[derive(Clone)]
pub(crate) struct Pseudonymizer {
    key: hmac::Key,
    keeps_names: bool,
}

impl Pseudonymizer {
    /// Keeps no names.
    pub(crate) fn new(key: &Secret) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.reveal().as_bytes()), keeps_names: false }
    }

    /// Whether names are kept beside pseudonyms, for an audit trail that is to name users in plain.
    pub(crate) fn keeping_names(self, keeps_names: bool) -> Self {
        Self { keeps_names, ..self }
    }

    /// The subject, if names are kept.
    pub(crate) fn kept_name(&self, subject: &str) -> Option<Box<str>> {
        self.keeps_names.then(|| subject.into())
    }

    /// The name that limits of an address are kept under: of IPv6 the /64.
    pub(crate) fn network(&self, from: IpAddr) -> Pseudonym {
        self.pseudonym("", "address", &Network::of_client(from).to_string())
    }

    /// A key for another purpose, the same wherever `privacy.pseudonym_key` is. A label in ASCII never begins like a pseudonym's input:
    /// read as a length, its first eight bytes exceed every tenant's name.
    pub(crate) fn key_for(&self, label: &'static str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&self.key, label.as_bytes()).as_ref())
    }

    /// Each part is preceded by its length, so that no two triples share an input.
    pub(crate) fn pseudonym(&self, tenant: &str, issuer: &str, subject: &str) -> Pseudonym {
        let mut mac = hmac::Context::with_key(&self.key);
        for part in [tenant, issuer, subject] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        let mut digits = [0; 64];
        digits.copy_from_slice(hex(mac.sign().as_ref()).as_bytes());
        Pseudonym { digits }
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 0xf)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{CallId, Pseudonymizer, RequestId, Secret, SessionId};

    #[test]
    fn tenant_issuer_and_subject_never_run_together() {
        let names = Pseudonymizer::new(&Secret::from("a key of more than sixteen bytes".to_owned()));
        let one = names.pseudonym("a", "bc", "d");
        assert_ne!(one, names.pseudonym("ab", "c", "d"));
        assert_ne!(one, names.pseudonym("a", "b", "cd"));
        assert_eq!(one, names.pseudonym("a", "bc", "d"));
        assert_eq!(one.to_string().len(), 64);
    }

    #[test]
    fn a_callers_request_id_is_kept_only_in_its_allowed_form() {
        assert_eq!(RequestId::from_caller(Some(b"a.B-9_")).as_str(), "a.B-9_");
        for refused in [&b""[..], b"a b", b"a\n", "\u{e9}".as_bytes(), &[b'a'; 129]] {
            assert_eq!(RequestId::from_caller(Some(refused)).as_str().len(), 36);
        }
    }

    #[test]
    fn a_call_id_is_one_segment_of_a_path() {
        assert_eq!(CallId::parse("rtc_u0_9d3-A").map(|id| id.as_str().to_owned()).as_deref(), Some("rtc_u0_9d3-A"));
        let long = format!("rtc_{}", "a".repeat(125));
        for refused in ["", "rtc_", "sess_1", "rtc_a/hangup", "rtc_a/../b", "rtc_%2e", "rtc_a?b", "rtc_a b", "rtc_\u{e9}", &long]
        {
            assert_eq!(CallId::parse(refused), None, "{refused}");
        }
    }

    #[test]
    fn a_session_id_has_one_spelling() {
        let id = SessionId::new();
        assert_eq!(SessionId::parse(&id.to_string()), Some(id));
        assert_eq!(SessionId::parse(&id.to_string().to_uppercase()), None);
        assert_eq!(SessionId::parse(&id.to_string().replace('-', "")), None);
    }
}
