//! One proof, judged by itself (RFC 9449, section 4.3).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use url::Url;

use super::target::Target;
use crate::authenticate::jwk::{Thumbprint, read_key};
use crate::authenticate::jws::Jws;
use crate::config::Algorithm;
use crate::domain::secret::Sha256;

/// An RSA key of 8192 bits with its signature takes 3 KB.
const MOST: usize = 4 * 1024;
const MOST_ID: usize = 256;
/// Seconds by which a caller's clock may be ahead.
pub(super) const AHEAD: u64 = 10;
/// Header parameters that name a key in another way. A proof's key is in `jwk` alone.
const OTHER_KEYS: [&str; 5] = ["jku", "x5u", "x5c", "x5t", "x5t#S256"];

/// A proof with a good signature of the wanted key. What it was made for has not been looked at.
pub(super) struct Proof {
    key: Thumbprint,
    claims: Map<String, Value>,
}

/// What a proof must have been made for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) target: &'a Target,
    pub(super) public_url: Option<&'a Url>,
    pub(super) token: &'a str,
    /// Seconds since 1970.
    pub(super) now: u64,
    pub(super) window: u64,
}

/// What is wrong with a proof: for the operator, callers are not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadProof {
    #[error("there is none")]
    Missing,
    #[error("it is no JWT of type dpop+jwt, signed with an accepted algorithm and holding its public key")]
    Malformed,
    #[error("its signature is wrong")]
    Signature,
    #[error("htm is not the method of the request")]
    Method,
    #[error("htu is not the URL of the request; behind a proxy, check server.public_url")]
    Url,
    #[error("iat is not within the window: it is too old, or a clock is wrong")]
    Time,
    #[error("ath is not the hash of this token")]
    Token,
    #[error("it has no usable jti")]
    Id,
    #[error("it is made with another key than the token's")]
    Key,
    #[error("it was used before")]
    Used,
}

impl Proof {
    /// A signature is verified only when it can be the right one: verifying costs, and a caller chooses the key.
    pub(super) fn read(text: &str, wanted: Thumbprint, accepted: &[Algorithm]) -> Result<Self, BadProof> {
        let jws = Jws::parse(text, MOST).ok_or(BadProof::Malformed)?;
        let is_proof = jws.header.get("typ").is_some_and(|typ| typ == "dpop+jwt");
        let names_other_key = OTHER_KEYS.iter().any(|name| jws.header.contains_key(*name));
        if !is_proof || names_other_key || !accepted.contains(&jws.algorithm) {
            return Err(BadProof::Malformed);
        }
        let jwk = jws.header.get("jwk").filter(|jwk| jwk.is_object()).cloned().ok_or(BadProof::Malformed)?;
        let (verifier, key) = read_key(jwk, jws.algorithm).ok_or(BadProof::Malformed)?;
        if key != wanted {
            return Err(BadProof::Key);
        }
        if !verifier.verifies(jws.algorithm, jws.signed.as_bytes(), &jws.signature) {
            return Err(BadProof::Signature);
        }
        Ok(Self { key, claims: jws.payload })
    }

    /// Whether it was made for this request and this token, and lately.
    pub(super) fn is_for(&self, wanted: &Wanted<'_>) -> Result<(), BadProof> {
        let Wanted { target, public_url, token, now, window } = *wanted;
        if self.text("htm") != Some(&target.method) {
            return Err(BadProof::Method);
        }
        if !self.text("htu").is_some_and(|htu| target.is_at(htu, public_url)) {
            return Err(BadProof::Url);
        }
        let made = self.claims.get("iat").and_then(Value::as_u64).ok_or(BadProof::Time)?;
        if made > now.saturating_add(AHEAD) || made < now.saturating_sub(window) {
            return Err(BadProof::Time);
        }
        let hash = URL_SAFE_NO_PAD.encode(Sha256::of(token.as_bytes()).0);
        if self.text("ath") == Some(&hash) { Ok(()) } else { Err(BadProof::Token) }
    }

    /// `Err` when it is there and no text.
    pub(super) fn nonce(&self) -> Result<Option<&str>, BadProof> {
        match self.claims.get("nonce") {
            None => Ok(None),
            Some(nonce) => nonce.as_str().map(Some).ok_or(BadProof::Malformed),
        }
    }

    /// Names this proof among all of all keys.
    pub(super) fn id(&self) -> Result<Sha256, BadProof> {
        let id = self.text("jti").filter(|id| (1..=MOST_ID).contains(&id.len())).ok_or(BadProof::Id)?;
        Ok(Sha256::of(&[&self.key.0.0, id.as_bytes()].concat()))
    }

    fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim)?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, BadProof, Proof, Target, Thumbprint, Url, Wanted};

    /// RFC 9449, figure 2 (to the token endpoint, without `ath`).
    const AT_TOKEN_ENDPOINT: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
    /// RFC 9449, figure 13.
    const AT_RESOURCE: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
    const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    const MADE: u64 = 1_562_262_618;

    /// RFC 9449, section 6.1.
    fn key() -> Thumbprint {
        Thumbprint::parse("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I").unwrap()
    }

    fn target(method: &str, path: &str) -> Target {
        Target { method: method.into(), authority: None, path: path.into() }
    }

    #[test]
    fn the_proofs_of_the_standard_are_good_for_what_they_were_made_for() {
        let (resource, server) =
            (Url::parse("https://resource.example.org/").unwrap(), Url::parse("https://server.example.com").unwrap());
        let here = target("GET", "/protectedresource");
        let wanted = Wanted { target: &here, public_url: Some(&resource), token: TOKEN, now: MADE + 5, window: 60 };
        let proof = Proof::read(AT_RESOURCE, key(), &[Algorithm::Es256]).unwrap();
        assert_eq!((proof.is_for(&wanted), proof.nonce()), (Ok(()), Ok(None)));

        let (post, elsewhere) = (target("POST", "/protectedresource"), target("GET", "/other"));
        for (wanted, fault) in [
            (Wanted { target: &post, ..wanted }, BadProof::Method),
            (Wanted { target: &elsewhere, ..wanted }, BadProof::Url),
            (Wanted { public_url: Some(&server), ..wanted }, BadProof::Url),
            (Wanted { token: "another", ..wanted }, BadProof::Token),
            (Wanted { now: MADE + 61, ..wanted }, BadProof::Time),
            (Wanted { now: MADE - 11, ..wanted }, BadProof::Time),
        ] {
            assert_eq!(proof.is_for(&wanted), Err(fault));
        }
        for now in [MADE - 10, MADE + 60] {
            assert_eq!(proof.is_for(&Wanted { now, ..wanted }), Ok(()));
        }

        let token_request = target("POST", "/token");
        let wanted = Wanted { target: &token_request, public_url: Some(&server), token: TOKEN, now: MADE, window: 60 };
        let other = Proof::read(AT_TOKEN_ENDPOINT, key(), &[Algorithm::Es256]).unwrap();
        assert_eq!(other.is_for(&wanted), Err(BadProof::Token), "it has no ath");
        assert_ne!(other.id().unwrap(), proof.id().unwrap());
    }

    #[test]
    fn a_proof_is_read_with_an_accepted_algorithm_the_wanted_key_and_its_own_signature_alone() {
        let swapped = AT_RESOURCE.rsplit_once('.').unwrap().0.to_owned() + "." + AT_TOKEN_ENDPOINT.rsplit_once('.').unwrap().1;
        assert_eq!(Proof::read(&swapped, key(), &[Algorithm::Es256]).err(), Some(BadProof::Signature));
        assert_eq!(Proof::read(AT_RESOURCE, key(), &[Algorithm::Ps256]).err(), Some(BadProof::Malformed));
        let other = Thumbprint::parse("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs").unwrap();
        assert_eq!(Proof::read(AT_RESOURCE, other, &[Algorithm::Es256]).err(), Some(BadProof::Key));
        assert_eq!(Proof::read(TOKEN, key(), &[Algorithm::Es256]).err(), Some(BadProof::Malformed));
    }
}
