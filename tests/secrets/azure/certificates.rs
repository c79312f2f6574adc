//! Applications with a certificate.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;

use super::refusals::refusal;
use super::{expect_mint, with_two_keys};
use crate::support::azure::{Azure, CLIENT_ID, Part, TENANT, aadsts};
use crate::support::certificate::{Certificate, kept};
use crate::support::{Config, secrets};

fn with_certificate(azure: &Azure, reference: &str, config: Config) -> Config {
    application(azure, config).entra("certificate", reference)
}

fn application(azure: &Azure, config: Config) -> Config {
    config
        .entra("kind", "client_certificate")
        .entra("authority", &azure.origin())
        .entra("tenant_id", TENANT)
        .entra("client_id", CLIENT_ID)
}

fn with_password(config: Config) -> Config {
    config.entra("certificate_password", "env://PFX_PASSWORD").env("PFX_PASSWORD", secrets::AZURE_PFX_PASSWORD)
}

/// A fake that knows one certificate, which is made for it.
fn prepared() -> (Azure, Certificate, TempDir) {
    let (azure, certificate) = (Azure::start(), Certificate::new());
    azure.trusts(certificate.uploaded());
    (azure, certificate, TempDir::new().expect("a folder"))
}

/// The fake looks into each assertion: header, claims and signature.
#[tokio::test]
async fn an_application_reads_the_key_with_a_certificate_as_pem() {
    let (azure, certificate, folder) = prepared();
    let stranger = Certificate::new();
    let pkcs1 = certificate.key_as(&["rsa", "-traditional"]);
    assert!(pkcs1.starts_with("-----BEGIN RSA PRIVATE KEY-----"), "{}", &pkcs1[..30]);
    for (name, pem) in [
        ("key-first.pem", certificate.key() + &certificate.certificate()),
        ("key-last.pem", certificate.certificate() + &certificate.key()),
        ("pkcs1.pem", certificate.certificate() + &pkcs1),
        ("chain.pem", certificate.key() + &stranger.certificate() + &certificate.certificate()),
    ] {
        let reference = kept(folder.path(), name, &pem);
        expect_mint(&azure, |config| with_certificate(&azure, &reference, config)).await;
    }
    let pem = certificate.key() + &certificate.certificate();
    expect_mint(&azure, |config| with_certificate(&azure, "env://PEM", config).env("PEM", &pem)).await;
    assert_eq!(azure.asked(Part::Entra).len(), 5);
}

#[tokio::test]
async fn an_application_reads_the_key_with_a_certificate_as_pfx() {
    let (azure, certificate, folder) = prepared();
    let old = ["-certpbe", "PBE-SHA1-3DES", "-keypbe", "PBE-SHA1-3DES", "-macalg", "sha1"];
    for (name, more) in [("aes.pfx", &[][..]), ("3des.pfx", &old)] {
        let reference = kept(folder.path(), name, certificate.pfx(secrets::AZURE_PFX_PASSWORD, more));
        expect_mint(&azure, |config| with_password(with_certificate(&azure, &reference, config))).await;
        let open = kept(folder.path(), name, certificate.pfx("", more));
        expect_mint(&azure, |config| with_certificate(&azure, &open, config)).await;
    }
    let text = STANDARD.encode(certificate.pfx(secrets::AZURE_PFX_PASSWORD, &[]));
    expect_mint(&azure, |config| with_password(with_certificate(&azure, "env://PFX", config)).env("PFX", &text)).await;
    assert_eq!(azure.asked(Part::Entra).len(), 5);
}

#[tokio::test]
async fn a_certificate_is_found_where_the_tools_of_azure_look() {
    let (azure, certificate, folder) = prepared();
    let reference = kept(folder.path(), "it.pfx", certificate.pfx(secrets::AZURE_PFX_PASSWORD, &[]));
    let path = reference.trim_start_matches("file://").to_owned();
    let change = |config: Config| {
        let config = application(&azure, config).env("AZURE_CLIENT_CERTIFICATE_PATH", &path);
        config.env("AZURE_CLIENT_CERTIFICATE_PASSWORD", secrets::AZURE_PFX_PASSWORD)
    };
    expect_mint(&azure, change).await;
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_up_with_the_next_question() {
    let (azure, first, folder) = prepared();
    let second = Certificate::new();
    azure.trusts(second.uploaded());
    let reference = kept(folder.path(), "it.pem", first.key() + &first.certificate());
    azure.tokens_live(300);
    azure.replaces(folder.path().join("it.pem"), second.key() + &second.certificate());
    expect_mint(&azure, |config| with_two_keys(with_certificate(&azure, &reference, config))).await;
    let asked = azure.asked(Part::Entra);
    let shown: Vec<_> = asked.iter().map(|request| thumbprint(&request.form()["client_assertion"])).collect();
    assert_eq!(shown[..2], [first.uploaded().thumbprint, second.uploaded().thumbprint]);
}

fn thumbprint(jwt: &str) -> String {
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(jwt.split('.').next().expect("a header"));
    let header: Value = serde_json::from_slice(&header.expect("base64url")).expect("JSON");
    header["x5t#S256"].as_str().expect("a thumbprint").to_owned()
}

#[test]
fn a_certificate_that_does_not_do_is_told_before_anybody_is_asked() {
    let (azure, certificate, folder) = prepared();
    let other = Certificate::new();
    let (key, own) = (certificate.key(), certificate.certificate());
    let expired = Certificate::valid("20200101000000Z", "20200201000000Z");
    let early = Certificate::valid("20980101000000Z", "20990101000000Z");
    let short = Certificate::of(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]);
    let curve = Certificate::of(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let sealed = certificate.key_as(&["pkcs8", "-topk8", "-passout", &format!("pass:{}", secrets::AZURE_PFX_PASSWORD)]);
    let pfx = |password: &str| certificate.pfx(password, &[]);
    let unfit = "has a private key that is not an RSA key of 2048 to 8192 bits";
    let of_another = "holds a private key that is not the certificate's; put the certificate and its key into it";
    let table: Vec<(Vec<u8>, &str)> = vec![
        (other.key().into_bytes(), "holds no certificate; put the certificate and its key into it"),
        (own.clone().into(), "holds no private key; put the certificate and its key into it"),
        ((other.key() + &own).into(), of_another),
        ((key.clone() + &other.key() + &own).into(), "holds more than one private key; keep the one of the certificate"),
        (
            (sealed + &own).into(),
            "has an encrypted private key; write it without encryption, or make a PFX and set certificate_password",
        ),
        (
            (expired.key() + &expired.certificate()).into(),
            "holds a certificate that has expired on 2020-02-01T00:00:00Z; renew it",
        ),
        ((early.key() + &early.certificate()).into(), "holds a certificate that is not valid before 2098-01-01T00:00:00Z"),
        ((short.key() + &short.certificate()).into(), unfit),
        ((curve.key() + &curve.certificate()).into(), unfit),
        (curve.pfx("", &[]), unfit),
        ((key.clone() + &own[..200]).into(), "is PEM that is damaged"),
        (
            (key + "-----BEGIN CERTIFICATE-----\nY2FuYXJ5LWF6dXJl\n-----END CERTIFICATE-----\n").into(),
            "holds a certificate that cannot be read",
        ),
        (pfx(secrets::AZURE_PFX_PASSWORD), "is a PFX with a password; set certificate_password"),
        (pfx("")[..900].into(), "is damaged, or a PFX in a form that is not supported; write it anew, with AES-256 or 3DES"),
        (secrets::AZURE.into(), "is neither PEM with a certificate and its key nor a PFX"),
        (b"".into(), "is neither PEM with a certificate and its key nor a PFX"),
        (vec![b'x'; 65 * 1024], "is larger than 65536 bytes"),
    ];
    for (bytes, sentence) in table {
        let reference = kept(folder.path(), "it", bytes);
        let said = refusal(&azure, |config| with_certificate(&azure, &reference, config));
        assert_eq!(said, format!("{reference}: {sentence}"));
    }
    let reference = kept(folder.path(), "it", pfx("another"));
    let said = refusal(&azure, |config| with_password(with_certificate(&azure, &reference, config)));
    assert_eq!(said, format!("{reference}: is a PFX that does not open with certificate_password"));
    let said = refusal(&azure, |config| application(&azure, config));
    assert_eq!(said, "certificate is not set, and neither is the environment variable AZURE_CLIENT_CERTIFICATE_PATH");
    assert_eq!(azure.asked(Part::Entra).len(), 0);
}

#[test]
fn a_certificate_that_entra_id_does_not_know_is_told_with_its_cure() {
    let (azure, certificate, folder) = prepared();
    let reference = kept(folder.path(), "it.pem", certificate.key() + &certificate.certificate());
    azure.next(Part::Entra, [aadsts(401, "invalid_client", 700_027)]);
    let said = refusal(&azure, |config| with_certificate(&azure, &reference, config));
    let sentence = "refuses (AADSTS700027): the directory does not know the certificate; upload it in the app registration";
    assert_eq!(said, format!("Entra ID (AZURE) {sentence}"));
}
