//! What Entra ID means when it refuses. Its own description is never repeated: it quotes what it was sent.

use reqwest::StatusCode;
use serde::Deserialize;

use super::Trouble;
use super::exchange::is_passing;

/// "Microsoft Entra authentication and authorization error codes" (AADSTS), and what to do.
const CAUSES: [(&[u64], &str); 9] = [
    (&[7_000_215], "the client secret is wrong; what counts is the secret's value, not its id"),
    (&[7_000_222], "the client secret has expired; make a new one in the app registration"),
    (&[700_027, 50_012], "the directory does not know the certificate; upload it in the app registration"),
    (&[700_016, 7_000_229, 700_038], "the directory has no such application; look at client_id and tenant_id"),
    (&[90_002, 900_023, 900_021], "there is no such directory; look at tenant_id"),
    (
        &[70_021, 700_211, 700_212, 700_213],
        "no federated credential fits the token; compare its issuer, subject and audience (api://AzureADTokenExchange)",
    ),
    (
        &[700_024, 700_023, 70_052],
        "the federated token has expired or is not a token; whoever writes its file has to renew it; of a certificate, this machine's clock is wrong",
    ),
    (&[500_011, 1_002_012], "the directory does not know what the token is for; authority has to be of the same cloud"),
    (&[53_003], "Conditional Access forbids it to this address or application"),
];

/// RFC 6749, section 5.2, and Microsoft's own.
const ERRORS: [(&str, &str); 6] = [
    ("invalid_client", "look at client_id and at what the application proves itself with"),
    ("unauthorized_client", "look at client_id and tenant_id"),
    ("invalid_request", "look at tenant_id and client_id"),
    ("invalid_scope", "authority has to be of the same cloud as what the token is for"),
    ("invalid_resource", "authority has to be of the same cloud as what the token is for"),
    ("invalid_grant", "look at what the application proves itself with"),
];

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    pub(super) error: String,
    pub(super) error_codes: Vec<u64>,
    pub(super) suberror: String,
    /// A text that holds JSON.
    pub(super) claims: Option<String>,
}

impl Problem {
    /// What cannot be read is a problem without a name.
    pub(super) fn of(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    pub(super) fn is_passing(&self, status: StatusCode) -> bool {
        is_passing(status) || self.error == "temporarily_unavailable"
    }
}

pub(super) fn refusal(name: &str, status: StatusCode, body: &[u8]) -> Trouble {
    let problem = Problem::of(body);
    if problem.is_passing(status) {
        return Trouble::Away(format!("{name} answers with status {}", status.as_u16()));
    }
    let code = problem.error_codes.first().copied();
    let number = code.map(|code| format!(" (AADSTS{code})")).unwrap_or_default();
    if let Some((_, cure)) = CAUSES.iter().find(|(codes, _)| code.is_some_and(|code| codes.contains(&code))) {
        return Trouble::Wrong(format!("{name} refuses{number}: {cure}"));
    }
    match ERRORS.iter().find(|(error, _)| *error == problem.error) {
        Some((error, cure)) => Trouble::Wrong(format!("{name} refuses with {error}{number}: {cure}")),
        None => {
            Trouble::Wrong(format!("{name} answers with status {}{number}; look at authority and tenant_id", status.as_u16()))
        }
    }
}
