//! Certificates of applications, made with openssl.

use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use tempfile::TempDir;

use super::token::base64url;

/// A self-signed one and its key. Files of it are removed with it.
pub(crate) struct Certificate(TempDir);

/// What Entra ID knows of one.
#[derive(Clone)]
pub(crate) struct Uploaded {
    /// As `x5t#S256` has it.
    pub(crate) thumbprint: String,
    spki: Vec<u8>,
}

const RSA: [&str; 2] = ["-algorithm", "RSA"];
const CA: &str = "[ca]\ndefault_ca=it\n[it]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=names\n[names]\ncommonName=supplied\n";

impl Certificate {
    /// With an RSA key of 2048 bits, valid from 2020 to 2099.
    pub(crate) fn new() -> Self {
        Self::valid("20200101000000Z", "20990101000000Z")
    }

    /// From and to.
    pub(crate) fn valid(from: &str, to: &str) -> Self {
        Self::make(&[&RSA[..], &["-pkeyopt", "rsa_keygen_bits:2048"]].concat(), from, to)
    }

    /// With a key that `openssl genpkey` makes of these arguments.
    pub(crate) fn of(key: &[&str]) -> Self {
        Self::make(key, "20200101000000Z", "20990101000000Z")
    }

    fn make(key: &[&str], from: &str, to: &str) -> Self {
        let made = Self(TempDir::new().expect("a folder"));
        for (name, text) in [("ca.cnf", CA), ("index", ""), ("serial", "01\n")] {
            std::fs::write(made.file(name), text).expect("a file");
        }
        made.openssl(&[&["genpkey", "-out", "key.pem"], key].concat());
        made.openssl(&["req", "-new", "-key", "key.pem", "-subj", "/CN=ephemint", "-out", "request.pem"]);
        let signing = ["ca", "-selfsign", "-batch", "-notext", "-config", "ca.cnf", "-keyfile", "key.pem", "-in", "request.pem"];
        made.openssl(&[&signing[..], &["-startdate", from, "-enddate", to, "-out", "certificate.pem"]].concat());
        made
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).expect("a file")
    }

    /// The certificate, as PEM.
    pub(crate) fn certificate(&self) -> String {
        self.text("certificate.pem")
    }

    /// The key, as PEM of PKCS #8.
    pub(crate) fn key(&self) -> String {
        self.text("key.pem")
    }

    /// The key, as `openssl` writes it with these arguments.
    pub(crate) fn key_as(&self, arguments: &[&str]) -> String {
        self.openssl(&[arguments, &["-in", "key.pem", "-out", "other.pem"]].concat());
        self.text("other.pem")
    }

    /// A PFX, with what `openssl pkcs12` is told beside it.
    pub(crate) fn pfx(&self, password: &str, more: &[&str]) -> Vec<u8> {
        let out = ["pkcs12", "-export", "-in", "certificate.pem", "-inkey", "key.pem", "-out", "it.pfx", "-passout"];
        self.openssl(&[&out[..], &[&format!("pass:{password}")], more].concat());
        std::fs::read(self.file("it.pfx")).expect("the PFX")
    }

    pub(crate) fn uploaded(&self) -> Uploaded {
        self.openssl(&["x509", "-in", "certificate.pem", "-outform", "DER", "-out", "certificate.der"]);
        self.openssl(&["pkey", "-in", "key.pem", "-pubout", "-outform", "DER", "-out", "public.der"]);
        let der = |name: &str| std::fs::read(self.file(name)).expect("DER");
        Uploaded { thumbprint: base64url(digest(&SHA256, &der("certificate.der"))), spki: der("public.der") }
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(self.0.path()).output().expect("openssl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Uploaded {
    /// Whether the key of the certificate has signed it with PS256.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, &self.spki).verify(message, signature).is_ok()
    }
}

/// A reference to a file with these bytes, which goes with the folder.
pub(crate) fn kept(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("a file");
    format!("file://{}", path.display())
}
