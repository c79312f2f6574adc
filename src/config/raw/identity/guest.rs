//! `[identity.guest]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who vouches that a visitor is no machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProofKind {
    /// Cloudflare Turnstile.
    Turnstile,
    /// hCaptcha.
    Hcaptcha,
    /// Google reCAPTCHA v2 or v3.
    Recaptcha,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawGuest {
    /// What a visitor shows to become a guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proof: Option<RawProof>,
    /// References to the keys of guest tokens, at least 32 characters each: the first signs, all verify.
    pub(crate) token_keys: Vec<String>,
    /// Lifetime of a guest token. 300..=86400.
    pub(crate) token_seconds: u64,
    /// The only profiles that a guest may use.
    pub(crate) profiles: Vec<String>,
    /// Limits of each client address (IPv6: each /64), whoever is behind it. Required in prod.
    pub(crate) per_address: RawPerAddress,
}

impl Default for RawGuest {
    fn default() -> Self {
        Self {
            proof: None,
            token_keys: Vec::new(),
            token_seconds: 3600,
            profiles: Vec::new(),
            per_address: RawPerAddress::default(),
        }
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawProof {
    /// turnstile, hcaptcha or recaptcha.
    pub(crate) kind: ProofKind,
    /// Reference to the secret key that belongs to the widget's site key.
    pub(crate) secret: String,
    /// Where proofs are checked. Default: the provider's own siteverify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) verify_url: Option<String>,
    /// Names of the hosts whose pages may show the widget. Required in prod.
    #[serde(default)]
    pub(crate) hostnames: Vec<String>,
    /// The action that the widget must name (turnstile, recaptcha v3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) action: Option<String>,
    /// The least score (recaptcha v3: 0.0 is a machine, 1.0 a person).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) min_score: Option<f64>,
    /// The greatest score (hcaptcha Enterprise: 0.0 is no risk, 1.0 a confirmed threat).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_score: Option<f64>,
    /// Tells the provider the visitor's address.
    #[serde(default)]
    pub(crate) send_address: bool,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawPerAddress {
    /// Proofs that are checked within a minute. Default 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proofs_per_minute: Option<u64>,
    /// Mints of all guests together within a minute. Default 120.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mints_per_minute: Option<u64>,
    /// Client secrets of all guests together that are neither expired nor given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) concurrent_calls: Option<u64>,
    /// Mints of all guests together within a calendar month, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) monthly_mints: Option<u64>,
}
