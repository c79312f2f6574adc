//! Secrets that do not print.

use std::fmt;
use std::hash::{Hash, Hasher};

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{constant_time, digest, rand};
use secrecy::{ExposeSecret, SecretString};

use super::ids::hex;

/// A secret of Ephemint's own: a permanent key, the admin token, the pseudonym key. Wiped when dropped, never printed.
#[derive(Clone)]
pub(crate) struct Secret(SecretString);

impl Secret {
    /// The plain text, for the one place that puts it on the wire or into a key.
    #[expect(
        clippy::disallowed_methods,
        reason = "permanent keys leave only through provider, secrets of sign-in only to the token endpoint or sealed, those of a secret manager only to it, all others only into a MAC or a digest"
    )]
    pub(crate) fn reveal(&self) -> &str {
        self.0.expose_secret()
    }

    /// First 8 hex digits of the SHA-256: names a key in logs, audit and metrics.
    pub(crate) fn fingerprint(&self) -> String {
        hex(&Sha256::of(self.reveal().as_bytes()).0[..4])
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A secret of 256 random bits in hexadecimal, after `prefix`.
pub(crate) fn random_secret(prefix: &str) -> Result<Secret, Unspecified> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes)?;
    Ok(Secret::from(format!("{prefix}{}", hex(&bytes))))
}

/// The short-lived client secret (`ek_…`) that a caller came for. It is written into one answer and kept nowhere.
pub(crate) struct EphemeralToken(SecretString);

impl EphemeralToken {
    #[expect(clippy::disallowed_methods, reason = "the answer to its owner is the one place where a client secret is written")]
    pub(crate) fn reveal_to_owner(&self) -> &str {
        self.0.expose_secret()
    }

    pub(crate) fn digest(&self) -> Sha256 {
        Sha256::of(self.reveal_to_owner().as_bytes())
    }
}

impl From<String> for EphemeralToken {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for EphemeralToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EphemeralToken(…)")
    }
}

/// What a caller presented to prove who they are.
pub(crate) struct Credential(SecretString);

impl Credential {
    #[expect(clippy::disallowed_methods, reason = "the authenticate stage reads the user's token, nothing else does")]
    pub(crate) fn reveal(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<&str> for Credential {
    fn from(text: &str) -> Self {
        Self(text.to_owned().into())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

/// A SHA-256 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sha256(pub(crate) [u8; 32]);

/// Half of a digest is as evenly spread as all of it; two that share it still differ in `==`.
impl Hash for Sha256 {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [start, ..] = self.0.as_chunks::<16>().0 else { return };
        state.write(start);
    }
}

impl Sha256 {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut out = [0; 32];
        out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Self(out)
    }

    /// From 64 hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text.chars().map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect::<Option<_>>()?;
        let (pairs, []) = digits.as_chunks::<2>() else { return None };
        let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        bytes.try_into().ok().map(Self)
    }

    /// Takes the same time whether or not the two are equal.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{Credential, EphemeralToken, Secret};

    #[test]
    fn secrets_do_not_print() {
        let secret = "sk-canary-never-printed";
        let printed = format!(
            "{:?} {:?} {:?}",
            Secret::from(secret.to_owned()),
            EphemeralToken::from(secret.to_owned()),
            Credential::from(secret)
        );
        assert!(!printed.contains("canary"), "{printed}");
    }
}
