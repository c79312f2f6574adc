//! Cookies: what they hold is encrypted and authenticated, and browsers are told to keep them to themselves.

use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::secret::Secret;

/// Of what follows it in a cookie. Another form gets another number.
const VERSION: u8 = 1;
const KEY_LEN: usize = 32;

/// What browsers keep of one cookie at least, attributes included (RFC 6265, section 6.1).
pub(super) const MOST_BYTES: usize = 4096;

/// What a cookie is for. One that was made for another purpose does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Session,
    SignIn,
}

/// Encrypts what cookies hold. AES-256-GCM with random nonces: a key is good for four thousand million cookies.
///
/// A cookie is base64url without padding of: version (1 byte), nonce (12), ciphertext, tag (16).
pub(super) struct Sealer {
    keys: Vec<RandomizedNonceKey>,
    /// Cookies of another issuer or client do not open, whatever their key.
    context: String,
}

/// What an authentic cookie held.
pub(super) struct Opened {
    pub(super) plain: Vec<u8>,
    /// Sealed with the key that new cookies get.
    pub(super) is_current: bool,
}

impl Sealer {
    pub(super) fn new(secrets: &[Secret], issuer: &str, client_id: &str) -> Result<Self, Unspecified> {
        let keys = secrets.iter().map(derived).collect::<Result<_, _>>()?;
        Ok(Self { keys, context: format!("{issuer}\n{client_id}") })
    }

    pub(super) fn seal(&self, purpose: Purpose, plain: &[u8]) -> Result<String, Unspecified> {
        let mut text = plain.to_vec();
        let nonce = self.keys.first().ok_or(Unspecified)?.seal_in_place_append_tag(self.bound_to(purpose), &mut text)?;
        Ok(URL_SAFE_NO_PAD.encode([&[VERSION][..], nonce.as_ref(), &text].concat()))
    }

    pub(super) fn open(&self, purpose: Purpose, cookie: &str) -> Option<Opened> {
        if cookie.len() > MOST_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let (version, sealed) = bytes.split_first()?;
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).filter(|_| *version == VERSION)?;
        self.keys.iter().enumerate().find_map(|(i, key)| {
            let mut text = text.to_vec();
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let length = key.open_in_place(nonce, self.bound_to(purpose), &mut text).ok()?.len();
            text.truncate(length);
            Some(Opened { plain: text, is_current: i == 0 })
        })
    }

    fn bound_to(&self, purpose: Purpose) -> Aad<Vec<u8>> {
        let purpose = match purpose {
            Purpose::Session => "session",
            Purpose::SignIn => "sign-in",
        };
        Aad::from(format!("{VERSION}\n{purpose}\n{}", self.context).into_bytes())
    }
}

/// A key of full strength from a text that may be longer than one.
fn derived(secret: &Secret) -> Result<RandomizedNonceKey, Unspecified> {
    let mut key = [0; KEY_LEN];
    let extracted = Salt::new(HKDF_SHA256, b"ephemint").extract(secret.reveal().as_bytes());
    extracted.expand(&[b"cookies"], &AES_256_GCM)?.fill(&mut key)?;
    RandomizedNonceKey::new(&AES_256_GCM, &key)
}

/// How cookies are called and kept: out of reach of scripts, sent to this host alone, and by other sites' pages only when they lead
/// the browser here.
#[derive(Clone, Copy)]
pub(super) struct Keeping {
    /// Over https. Browsers take the prefix `__Host-` and `Secure` from nowhere else; plain http is for one's own machine.
    pub(super) secure: bool,
}

impl Keeping {
    pub(super) fn session_name(self) -> &'static str {
        if self.secure { "__Host-ephemint" } else { "ephemint" }
    }

    /// Each sign-in has a cookie of its own, so that several tabs may sign in at once.
    pub(super) fn sign_in_name(self, state: &str) -> String {
        const TELLING: usize = 10;
        format!("{}{}", self.sign_in_prefix(), state.get(..TELLING).unwrap_or(state))
    }

    pub(super) fn sign_in_prefix(self) -> &'static str {
        if self.secure { "__Host-ephemint-login-" } else { "ephemint-login-" }
    }

    /// The `Set-Cookie` header.
    pub(super) fn keep(self, name: &str, value: &str, seconds: u64) -> Secret {
        let secure = if self.secure { "; Secure" } else { "" };
        Secret::from(format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"))
    }

    pub(super) fn remove(self, name: &str) -> Secret {
        self.keep(name, "", 0)
    }
}

/// The cookies that a browser sent.
pub(crate) struct Cookies<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Cookies<'a> {
    /// Reads `Cookie` headers. What is no pair of texts is none of ours: cookies of others on the same host may hold anything.
    pub(crate) fn read(headers: impl Iterator<Item = &'a [u8]>) -> Self {
        let pair = |bytes: &'a [u8]| std::str::from_utf8(bytes).ok()?.trim().split_once('=');
        Self(headers.flat_map(|header| header.split(|byte| *byte == b';')).filter_map(pair).collect())
    }

    /// The cookie of this name. `Err` when there are several: one of them is not ours, and which cannot be told.
    pub(super) fn one(&self, name: &str) -> Result<Option<&'a str>, Ambiguous> {
        let mut found = self.0.iter().filter(|(known, _)| *known == name).map(|(_, value)| *value);
        match (found.next(), found.next()) {
            (value, None) => Ok(value),
            _ => Err(Ambiguous),
        }
    }

    /// Names that begin so, the oldest cookie first (RFC 6265, section 5.4).
    pub(super) fn names(&self, prefix: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(|(name, _)| *name).filter(move |name| name.starts_with(prefix))
    }
}

/// Several cookies share one name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ambiguous;

/// `Set-Cookie` headers for the answer to one request, whatever the answer is.
#[derive(Clone, Default)]
pub(crate) struct Jar(Arc<Mutex<Vec<Secret>>>);

impl Jar {
    pub(super) fn put(&self, cookie: Secret) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(cookie);
    }

    pub(crate) fn take(&self) -> Vec<Secret> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::{Ambiguous, Cookies, Keeping, Purpose, Sealer, Secret};

    fn sealer(keys: &[&str]) -> Sealer {
        let secrets: Vec<_> =
            keys.iter().map(|key| Secret::from(format!("{key}-key-of-more-than-thirty-two-characters"))).collect();
        Sealer::new(&secrets, "https://login.example/", "voice").unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_wherever_the_key_stands() {
        let cookie = sealer(&["old"]).seal(Purpose::Session, b"content").unwrap();
        let opened = sealer(&["old"]).open(Purpose::Session, &cookie).unwrap();
        assert_eq!((opened.plain.as_slice(), opened.is_current), (&b"content"[..], true));
        let opened = sealer(&["new", "old"]).open(Purpose::Session, &cookie).unwrap();
        assert_eq!((opened.plain.as_slice(), opened.is_current), (&b"content"[..], false));
        assert!(sealer(&["new"]).open(Purpose::Session, &cookie).is_none());
    }

    #[test]
    fn a_cookie_does_not_open_for_another_purpose_issuer_or_client() {
        let cookie = sealer(&["a"]).seal(Purpose::SignIn, b"content").unwrap();
        assert!(sealer(&["a"]).open(Purpose::Session, &cookie).is_none());
        for (issuer, client) in [("https://other.example/", "voice"), ("https://login.example/", "other")] {
            let other = Sealer { context: format!("{issuer}\n{client}"), ..sealer(&["a"]) };
            assert!(other.open(Purpose::SignIn, &cookie).is_none(), "{issuer} {client}");
        }
    }

    #[test]
    fn a_changed_cookie_does_not_open() {
        let sealer = sealer(&["a", "b"]);
        let cookie = sealer.seal(Purpose::Session, b"content").unwrap();
        for (i, old) in cookie.char_indices() {
            for new in ['A', 'Z', '_', '=', '\u{e9}'].into_iter().filter(|new| *new != old) {
                let changed = format!("{}{new}{}", &cookie[..i], &cookie[i + 1..]);
                assert!(sealer.open(Purpose::Session, &changed).is_none(), "{changed}");
            }
            assert!(sealer.open(Purpose::Session, &cookie[..i]).is_none(), "cut at {i}");
        }
        assert!(sealer.open(Purpose::Session, &format!("{cookie}A")).is_none());
        assert!(sealer.open(Purpose::Session, &"A".repeat(5000)).is_none());
    }

    #[test]
    fn no_two_cookies_are_the_same() {
        let sealer = sealer(&["a"]);
        assert_ne!(sealer.seal(Purpose::Session, b"content").unwrap(), sealer.seal(Purpose::Session, b"content").unwrap());
    }

    #[test]
    fn a_name_that_is_sent_twice_is_nobodys() {
        let cookies = Cookies::read([&b"a=1; b=2;c=3; d"[..], b"other=\xff; b=4; a-x=5=6"].into_iter());
        assert_eq!(cookies.one("a"), Ok(Some("1")));
        assert_eq!(cookies.one("b"), Err(Ambiguous));
        assert_eq!(cookies.one("c"), Ok(Some("3")));
        assert_eq!(cookies.one("a-x"), Ok(Some("5=6")));
        assert_eq!(cookies.one("d"), Ok(None));
        assert_eq!(cookies.names("a").collect::<Vec<_>>(), ["a", "a-x"]);
    }

    #[test]
    fn cookies_are_kept_from_scripts_and_other_hosts() {
        let (public, own) = (Keeping { secure: true }, Keeping { secure: false });
        assert_eq!(
            public.keep(public.session_name(), "v", 9).reveal(),
            "__Host-ephemint=v; Path=/; Max-Age=9; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(own.remove(own.session_name()).reveal(), "ephemint=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
        assert_eq!(public.sign_in_name("0123456789abc"), "__Host-ephemint-login-0123456789");
    }
}
