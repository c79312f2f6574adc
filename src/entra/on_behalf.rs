//! On behalf of a user: their own access token, which is for this application, is traded for one that is for another resource. "Microsoft
//! identity platform and OAuth 2.0 On-Behalf-Of flow".

use reqwest::StatusCode;
use serde_json::{Map, Value};

use super::application::granted;
use super::exchange::place;
use super::refusal::{Problem, refusal};
use super::{Granted, Identity, Trouble};
use crate::config::raw::EntraKind;
use crate::domain::secret::Secret;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Bytes of a claims challenge that is handed on.
const MAX_CLAIMS: usize = 4096;
const OF_A_MACHINE: &str =
    "a managed identity asks on behalf of nobody; set kind to client_secret, client_certificate or workload_identity";

/// More than a token can give: another factor, a compliant device, the user's or an administrator's consent.
const INTERACTION: [u64; 8] = [50_072, 50_074, 50_076, 50_079, 50_158, 53_000, 65_001, 90_094];

/// What of the user does not do (AADSTS).
const OF_THE_USER: [(&[u64], &str); 7] = [
    (&[50_013, 50_027], "the user's token is not one of this directory, or is damaged"),
    (&[500_131], "the user's token is for another application; its audience has to be client_id"),
    (&[500_133], "the user's token has expired"),
    (&[7_000_114], "the token is that of an application; there is no user to ask for"),
    (&[50_133, 50_173, 70_043, 70_044, 700_082, 700_084], "the user's sign-in has ended or was revoked"),
    (&[50_020, 50_034, 50_105], "the user has no account in the directory, or is not assigned to the application"),
    (&[50_053, 50_055, 50_057], "the user's account is locked or disabled, or its password has expired"),
];

/// Why there is no token on behalf of a user. The sentences are for the operator, like those of [`Trouble`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotOnBehalf {
    /// The user has to sign in interactively, and to be asked for these claims, a JSON object, where there are any. They come from Entra
    /// ID as they are.
    Interaction { claims: Option<String> },
    /// The user's token or account does not do.
    User(String),
    /// It is not for the user to change.
    Trouble(Trouble),
}

impl From<Trouble> for NotOnBehalf {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Identity {
    /// A token for `scope` that speaks for the user whose access token `assertion` is: one that is for this application, and was verified.
    /// `tenant` is theirs where that is not the configured one.
    pub(crate) async fn on_behalf(&self, scope: &str, assertion: &Secret, tenant: Option<&str>) -> Result<Granted, NotOnBehalf> {
        if self.settings.kind == EntraKind::ManagedIdentity {
            return Err(Trouble::Wrong(OF_A_MACHINE.into()).into());
        }
        // It is a step of the path where the application's secret goes.
        if tenant.is_some_and(|tenant| !is_id(tenant)) {
            return Err(NotOnBehalf::User("the user's tenant is not an id".into()));
        }
        let url = self.endpoint_of_tenant(tenant)?;
        let name = format!("Entra ID ({})", place(&url));
        let what =
            [("grant_type", GRANT), ("assertion", assertion.reveal()), ("scope", scope), ("requested_token_use", "on_behalf_of")];
        let (status, body) = self.prove(url, &name, &what).await?;
        if status == StatusCode::OK { Ok(granted(&name, &body)?) } else { Err(refused(&name, status, &body)) }
    }
}

/// As directories have them: a GUID or a domain.
fn is_id(text: &str) -> bool {
    let is_of_it = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    text.len() <= 253 && text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.bytes().all(is_of_it)
}

fn refused(name: &str, status: StatusCode, body: &[u8]) -> NotOnBehalf {
    let problem = Problem::of(body);
    if problem.is_passing(status) {
        return refusal(name, status, body).into();
    }
    let is_one_of = |codes: &[u64]| problem.error_codes.iter().find(|code| codes.contains(code)).copied();
    for (codes, cause) in OF_THE_USER {
        if let Some(code) = is_one_of(codes) {
            return NotOnBehalf::User(format!("{name} refuses (AADSTS{code}): {cause}"));
        }
    }
    let is_interaction = problem.error == "interaction_required" || problem.suberror == "consent_required";
    if is_interaction || is_one_of(&INTERACTION).is_some() {
        return NotOnBehalf::Interaction { claims: problem.claims.filter(|claims| are_claims(claims)) };
    }
    refusal(name, status, body).into()
}

fn are_claims(text: &str) -> bool {
    text.len() <= MAX_CLAIMS && serde_json::from_str::<Map<String, Value>>(text).is_ok()
}
