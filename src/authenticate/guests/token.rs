//! Guest tokens: `epg_`, then base64url without padding of key id (4 bytes), expiry (8), guest id (16) and HMAC-SHA256 (32). These are
//! 60 bytes, a multiple of three, so that each token has exactly one spelling.

use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::secret::Secret;

const PREFIX: &str = "epg_";
const PAYLOAD: usize = 4 + 8 + 16;
const MAC: usize = 32;

pub(super) type GuestId = [u8; 16];

/// Whether a credential has the form of a guest token. Whether it is one, its verification tells.
pub(in crate::authenticate) fn is_token(credential: &str) -> bool {
    credential.starts_with(PREFIX)
}

/// What an authentic token says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) id: GuestId,
    /// Seconds since 1970.
    pub(super) until: u64,
}

/// The first signs, all verify.
pub(super) struct Keys(Vec<Key>);

struct Key {
    id: [u8; 4],
    key: hmac::Key,
}

impl Keys {
    pub(super) fn new(secrets: &[Secret]) -> Self {
        Self(secrets.iter().map(Key::new).collect())
    }

    /// A token of a new guest. `None` when the operating system gives no random numbers.
    pub(super) fn make(&self, until: u64) -> Option<(Secret, GuestId)> {
        let mut id = [0; 16];
        rand::fill(&mut id).ok()?;
        let key = self.0.first()?;
        let payload = [&key.id[..], &until.to_be_bytes(), &id].concat();
        let mac = hmac::sign(&key.key, &signed(&payload));
        let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode([&payload, mac.as_ref()].concat()));
        Some((Secret::from(token), id))
    }

    /// `None` unless one of the keys made the token. Whether it has expired is the caller's to check.
    pub(super) fn read(&self, token: &str) -> Option<Read> {
        let mut bytes = [0; PAYLOAD + MAC];
        let written = token.strip_prefix(PREFIX).filter(|text| text.len() == bytes.len() / 3 * 4)?;
        URL_SAFE_NO_PAD.decode_slice(written, &mut bytes).ok()?;
        let (payload, mac) = bytes.split_first_chunk::<PAYLOAD>()?;
        let (key_id, rest) = payload.split_first_chunk::<4>()?;
        let (until, id) = rest.split_first_chunk::<8>()?;
        let mut keys = self.0.iter().filter(|key| key.id == *key_id);
        let is_ours = keys.any(|key| hmac::verify(&key.key, &signed(payload), mac).is_ok());
        is_ours.then_some(Read { id: id.try_into().ok()?, until: u64::from_be_bytes(*until) })
    }
}

impl Key {
    fn new(secret: &Secret) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes());
        let mut id = [0; 4];
        id.iter_mut().zip(hmac::sign(&key, b"key id").as_ref()).for_each(|(to, from)| *to = *from);
        Self { id, key }
    }
}

/// Longer than the input of a key's id, so that no id is part of a signature.
fn signed(payload: &[u8]) -> Vec<u8> {
    [b"guest token\n", payload].concat()
}

#[cfg(test)]
mod tests {
    use super::{Engine, Keys, PREFIX, Secret, URL_SAFE_NO_PAD};

    const UNTIL: u64 = 2_000_000_000;

    fn keys(names: &[&str]) -> Keys {
        let secrets: Vec<_> = names.iter().map(|name| Secret::from(format!("{name} key of thirty-two characters"))).collect();
        Keys::new(&secrets)
    }

    #[test]
    fn all_keys_verify_and_the_first_signs() {
        let (token, id) = keys(&["old"]).make(UNTIL).unwrap();
        let read = keys(&["new", "old"]).read(token.reveal()).unwrap();
        assert_eq!((read.id, read.until), (id, UNTIL));
        assert!(keys(&["new"]).read(token.reveal()).is_none());
        let (token, _) = keys(&["new", "old"]).make(UNTIL).unwrap();
        assert!(keys(&["new"]).read(token.reveal()).is_some());
    }

    #[test]
    fn a_token_with_any_bit_changed_is_none() {
        let keys = keys(&["a", "b"]);
        let (token, _) = keys.make(UNTIL).unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(token.reveal().strip_prefix(PREFIX).unwrap()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(keys.read(&format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(changed))).is_none(), "{bit}");
        }
    }

    #[test]
    fn a_token_has_one_spelling() {
        let keys = keys(&["a"]);
        let (token, _) = keys.make(UNTIL).unwrap();
        let token = token.reveal();
        assert!(keys.read(token).is_some());
        for other in [
            format!("{token}="),
            format!("{token}A"),
            format!(" {token}"),
            format!("{token}\n"),
            token.to_ascii_uppercase(),
            token.replacen(PREFIX, "EPG_", 1),
            token[..token.len() - 1].to_owned(),
            token[..token.len() - 4].to_owned(),
            PREFIX.to_owned(),
        ] {
            assert!(keys.read(&other).is_none(), "{other}");
        }
    }
}
