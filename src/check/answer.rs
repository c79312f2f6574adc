//! What an upstream's answer says of a key, a project or `base_url`.
//!
//! Codes: `OpenAI`'s error-codes guide, its help pages, and bodies seen in the field. They are not a closed list, so what a code is made
//! of counts: its words.

use super::fault::{self, Fault};
use super::finding::Outcome;
use crate::provider::{BILLING, Blame, Probed};

/// What is wrong. `None`: it was accepted.
pub(super) fn fault_of(probed: &Probed) -> Option<(Outcome, &'static Fault)> {
    let code = probed.code.as_deref().unwrap_or_default();
    let failed = |fault| Some((Outcome::Failed, fault));
    if let Some(blame) = probed.blame {
        return failed(blamed(blame));
    }
    match probed.status.as_u16() {
        200..=299 => None,
        300..=399 => failed(&fault::REDIRECTED),
        status @ (401 | 403) => Some(refusal(status, code, probed.phrase.unwrap_or_default())),
        404 | 405 => failed(&fault::NO_SUCH_PATH),
        429 if code.contains("spend_limit") || code.contains("usage_limit") => failed(&fault::SPEND_LIMIT),
        429 if BILLING.contains(&code) => failed(&fault::NO_CREDIT),
        429 => Some((Outcome::Warning, &fault::RATE_LIMITED)),
        408 | 409 | 500..=599 => failed(&fault::UPSTREAM_DOWN),
        _ => failed(&fault::REJECTED),
    }
}

/// What Azure's text tells.
fn blamed(blame: Blame) -> &'static Fault {
    match blame {
        Blame::KeyOrEndpoint => &fault::AZURE_KEY,
        Blame::Role => &fault::AZURE_ROLE,
        Blame::Tenant => &fault::AZURE_TENANT,
        Blame::KeysOff => &fault::AZURE_KEYS_OFF,
        Blame::Network => &fault::AZURE_NETWORK,
        Blame::Deployment => &fault::AZURE_DEPLOYMENT,
        Blame::Path => &fault::AZURE_PATH,
        Blame::Token => &fault::AZURE_TOKEN,
        Blame::Model => &fault::UNKNOWN_MODEL,
    }
}

fn refusal(status: u16, code: &str, phrase: &str) -> (Outcome, &'static Fault) {
    let has = |word: &str| code.contains(word);
    let says = |words: &str| phrase.contains(words);
    let fault = match status {
        _ if has("scope") || has("permission") => return (Outcome::Warning, &fault::RESTRICTED),
        _ if has("ip_") || says("ip not authorized") || says("ip address") => &fault::ADDRESS_REFUSED,
        _ if has("country") || has("region") => &fault::COUNTRY,
        _ if has("deactivated") || says("deactivated") => &fault::ACCOUNT_DEACTIVATED,
        _ if has("archived") || says("archived") => &fault::PROJECT_ARCHIVED,
        _ if says("member of an organization") => &fault::NO_MEMBER,
        _ if has("organization") || says("organization header") => &fault::OTHER_ORGANIZATION,
        _ if has("project") || says("project header") => &fault::OTHER_PROJECT,
        _ if has("expired") => &fault::KEY_EXPIRED,
        401 => &fault::KEY_REFUSED,
        _ => &fault::FORBIDDEN,
    };
    (Outcome::Failed, fault)
}

/// What was answered, in few words.
pub(super) fn said(probed: &Probed) -> String {
    let status = probed.status.as_u16();
    probed.code.as_ref().map_or_else(|| format!("status {status}"), |code| format!("status {status}, {code}"))
}
