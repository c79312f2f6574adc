//! What an application with a certificate signs: "Microsoft identity platform application authentication certificate credentials".

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::RSA_PSS_SHA256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Url;
use serde_json::json;
use uuid::Uuid;

use super::certificate::Certificate;
use crate::domain::secret::Secret;

/// Seconds. Entra ID recommends five to ten minutes.
const LIFETIME: u64 = 600;

/// A JWT that says to the token endpoint `audience` that it comes from `client_id`. `None` where there is no randomness.
pub(super) fn assertion(certificate: &Certificate, audience: &Url, client_id: &str, now: u64) -> Option<Secret> {
    let thumbprint = URL_SAFE_NO_PAD.encode(certificate.thumbprint());
    let header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint});
    let claims = json!({
        "aud": audience.as_str(),
        "iss": client_id,
        "sub": client_id,
        "jti": Uuid::now_v7().to_string(),
        "nbf": now,
        "iat": now,
        "exp": now + LIFETIME,
    });
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mut signature = vec![0; certificate.key.public_modulus_len()];
    certificate.key.sign(&RSA_PSS_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
    Some(Secret::from(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
}
