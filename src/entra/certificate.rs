//! Certificates of applications with their keys, as PEM or as PFX (PKCS #12).

use std::time::Duration;

use aws_lc_rs::signature::{KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error;
use rustls::pki_types::pem::{self, PemObject, SectionKind};
use secrecy::zeroize::Zeroizing;
use x509_cert::Certificate as X509;
use x509_cert::der::Decode;

use crate::config::load::Environ;
use crate::domain::secret::{Secret, Sha256};
use crate::domain::secret_ref::SecretRef;
use crate::files::{self, Links, Place};

/// Of the file. A PFX with its whole chain has some thousand bytes.
const MAX_BYTES: usize = 64 * 1024;
/// Shorter keys are refused by Entra ID.
const MIN_MODULUS: usize = 2048 / 8;
/// What DER of a certificate or a PFX begins with.
const SEQUENCE: u8 = 0x30;

/// What an application proves itself with: the key, and the certificate that Entra ID knows it by.
pub(super) struct Certificate {
    der: Vec<u8>,
    pub(super) key: RsaKeyPair,
}

impl Certificate {
    /// SHA-256 of the whole.
    pub(super) fn thumbprint(&self) -> [u8; 32] {
        Sha256::of(&self.der).0
    }

    /// The error says what the operator has to do. Takes milliseconds: a PFX is encrypted with many rounds.
    pub(super) fn read(bytes: &[u8], password: Option<&Secret>, now: Duration) -> Result<Self, String> {
        let (key, certificates) = if bytes.windows(BEGIN.len()).any(|window| window == BEGIN) {
            of_pem(bytes)?
        } else if bytes.first() == Some(&SEQUENCE) {
            of_pfx(bytes, password)?
        } else {
            let text: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
            let decoded = STANDARD.decode(Zeroizing::new(text)).ok().map(Zeroizing::new);
            of_pfx(&decoded.filter(|bytes| bytes.first() == Some(&SEQUENCE)).ok_or(NEITHER)?, password)?
        };
        if key.public_modulus_len() < MIN_MODULUS {
            return Err(UNFIT_KEY.into());
        }
        let der = fitting(&key, certificates, now)?;
        Ok(Self { der, key })
    }
}

const BEGIN: &[u8] = b"-----BEGIN ";
const NEITHER: &str = "is neither PEM with a certificate and its key nor a PFX";
const NO_KEY: &str = "holds no private key; put the certificate and its key into it";
const TWO_KEYS: &str = "holds more than one private key; keep the one of the certificate";
const UNFIT_KEY: &str = "has a private key that is not an RSA key of 2048 to 8192 bits";
const ENCRYPTED: &str = "has an encrypted private key; write it without encryption, or make a PFX and set certificate_password";
const PASSWORD: &str = "is a PFX that does not open with certificate_password";
const NO_PASSWORD: &str = "is a PFX with a password; set certificate_password";
const STRANGE: &str = "is damaged, or a PFX in a form that is not supported; write it anew, with AES-256 or 3DES";
const DAMAGED: &str = "holds a certificate that cannot be read";
const NO_CERTIFICATE: &str = "holds no certificate; put the certificate and its key into it";
const OF_ANOTHER: &str = "holds a private key that is not the certificate's; put the certificate and its key into it";

/// The bytes that a reference names. The error says what the operator has to do.
pub(super) fn load(reference: &SecretRef, environ: &Environ) -> Result<Zeroizing<Vec<u8>>, String> {
    match files::place(reference, environ)? {
        Place::Variable(text) => Ok(Zeroizing::new(text.as_bytes().to_vec())),
        Place::File(path) => {
            files::read(&path, MAX_BYTES, Links::Followed).map(|(bytes, _)| bytes).map_err(|error| error.to_string())
        }
        Place::Manager => Err("must be env:// or file://".into()),
    }
}

type Material = (RsaKeyPair, Vec<Vec<u8>>);

fn of_pem(bytes: &[u8]) -> Result<Material, String> {
    if bytes.windows(9).any(|window| window == b"ENCRYPTED") {
        return Err(ENCRYPTED.into());
    }
    let (mut keys, mut certificates) = (Vec::new(), Vec::new());
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
        let (kind, der) = section.map_err(|_: pem::Error| "is PEM that is damaged")?;
        match kind {
            SectionKind::Certificate => certificates.push(der),
            SectionKind::PrivateKey => keys.push(RsaKeyPair::from_pkcs8(&Zeroizing::new(der)).map_err(|_| UNFIT_KEY)?),
            SectionKind::RsaPrivateKey => keys.push(RsaKeyPair::from_der(&Zeroizing::new(der)).map_err(|_| UNFIT_KEY)?),
            SectionKind::EcPrivateKey => return Err(UNFIT_KEY.into()),
            _ => {}
        }
    }
    Ok((only(keys)?, certificates))
}

/// What it decrypts is not wiped: p12-keystore holds it in plain vectors.
fn of_pfx(bytes: &[u8], password: Option<&Secret>) -> Result<Material, String> {
    let archive = Pkcs12Archive::from_pkcs12(bytes, password.map_or("", Secret::reveal)).map_err(|error| match error {
        Error::MacError(_) | Error::Pkcs5Error(_) | Error::UnpadError => {
            if password.is_some() {
                PASSWORD
            } else {
                NO_PASSWORD
            }
        }
        _ => STRANGE,
    })?;
    let keys = archive.keys.iter().map(|bag| RsaKeyPair::from_pkcs8(bag.key.as_der()).map_err(|_| UNFIT_KEY.to_owned()));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    Ok((only(keys)?, archive.certs.iter().map(|bag| bag.cert.as_der().to_vec()).collect()))
}

fn only(mut keys: Vec<RsaKeyPair>) -> Result<RsaKeyPair, String> {
    let key = keys.pop().ok_or(NO_KEY)?;
    if keys.is_empty() { Ok(key) } else { Err(TWO_KEYS.into()) }
}

/// The one of a chain that the key belongs to, if it is valid now.
fn fitting(key: &RsaKeyPair, certificates: Vec<Vec<u8>>, now: Duration) -> Result<Vec<u8>, String> {
    if certificates.is_empty() {
        return Err(NO_CERTIFICATE.into());
    }
    for der in certificates {
        let parsed = X509::from_der(&der).map_err(|_| DAMAGED)?;
        let certificate = parsed.tbs_certificate();
        if certificate.subject_public_key_info().subject_public_key.as_bytes() != Some(key.public_key().as_ref()) {
            continue;
        }
        let (from, to) = (certificate.validity().not_before, certificate.validity().not_after);
        return match (from.to_unix_duration(), to.to_unix_duration()) {
            (from, _) if now < from => Err(format!("holds a certificate that is not valid before {}", date(from))),
            (_, to) if now > to => Err(format!("holds a certificate that has expired on {}; renew it", date(to))),
            _ => Ok(der),
        };
    }
    Err(OF_ANOTHER.into())
}

/// In UTC, as RFC 3339 writes it.
fn date(unix: Duration) -> String {
    let seconds = i64::try_from(unix.as_secs()).ok();
    seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()).map_or_else(|| "an unknown day".into(), |at| at.to_string())
}
