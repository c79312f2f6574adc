//! The canary: every secret of a test is a fixed marker, and everything the service lets out is searched for all of them.

use std::fmt::Write as _;
use std::sync::Mutex;

use serde_json::Value;

use super::lock;

/// The fixed markers.
pub(crate) mod secrets {
    pub(crate) const PRIMARY_KEY: &str = "sk-proj-canary-permanent-key-0001";
    pub(crate) const FALLBACK_KEY: &str = "sk-proj-canary-permanent-key-0002";
    /// What both permanent keys contain.
    pub(crate) const PERMANENT: &str = "canary-permanent-key";
    /// What every secret minted by the fake upstream contains.
    pub(crate) const MINTED: &str = "canary_minted_secret";
    pub(crate) const ADMIN_TOKEN: &str = "canary-admin-token-0123456789abcdef0123456789";
    pub(crate) const PSEUDONYM_KEY: &str = "canary-pseudonym-key-0123456789abcdef0123456789";
    /// Ephemint's own at the fake introspection endpoint; with characters that a form must encode.
    pub(crate) const INTROSPECTION_SECRET: &str = "canary-introspection-secret/0001 +:%";
    /// What it contains, also when it is encoded for a form.
    pub(crate) const INTROSPECTION: &str = "canary-introspection-secret";
    /// What every API key of a test contains.
    pub(crate) const API_KEY: &str = "canary-api-key";
    /// In the upstream's echo: the credential of an MCP server.
    pub(crate) const MCP_AUTHORIZATION: &str = "canary-mcp-authorization-0001";
    pub(crate) const INSTRUCTIONS: &str = "canary-instructions: speak kindly, sell nothing.";
    /// A tool of the profile.
    pub(crate) const TOOL: &str = "canary_tool_refund";
    /// In every error body of the fake upstream.
    pub(crate) const UPSTREAM_MESSAGE: &str = "canary-upstream-message";
    /// What every user's name contains.
    pub(crate) const USER: &str = "canary-user";
    /// The service's own secret at the issuer of browser sign-in.
    pub(crate) const LOGIN_SECRET: &str = "canary-login:secret%0001";
    pub(crate) const COOKIE_KEY: &str = "canary-cookie-key-0123456789abcdef0123456789";
    /// In base64, of the webhook: what its deliveries are signed with, and what they were signed with before.
    pub(crate) const WEBHOOK_SECRET: &str = "Y2FuYXJ5LXdlYmhvb2stc2VjcmV0LTAxMjM0NTY3ODk=";
    pub(crate) const FORMER_WEBHOOK_SECRET: &str = "Y2FuYXJ5LXdlYmhvb2stZm9ybWVyLTAxMjM0NTY3ODk=";
    /// What both contain.
    pub(crate) const WEBHOOK: &str = "Y2FuYXJ5LXdlYmhvb2st";
    /// What every authorization code of the fake issuer begins with.
    pub(crate) const CODE: &str = "canary-authorization-code";
    /// What every access token that the fake issuer's token endpoint gives begins with.
    pub(crate) const ACCESS_TOKEN: &str = "canary-access-token";
    /// What every refresh token of the fake issuer begins with.
    pub(crate) const REFRESH_TOKEN: &str = "canary-refresh-token";
    /// What every secret access key, session token and web identity token of AWS begins with.
    pub(crate) const AWS: &str = "canary-aws";
    /// Key 1 and key 2 of an Azure resource.
    pub(crate) const AZURE_KEY: &str = "canary0azure0resource0key0000001";
    pub(crate) const AZURE_KEY_2: &str = "canary0azure0resource0key0000002";
    /// What both contain.
    pub(crate) const AZURE_KEYS: &str = "canary0azure0resource0key";
    /// What every secret of the fake Azure contains, but for what is kept in its vault.
    pub(crate) const AZURE: &str = "canary-azure";
    /// With characters that a form must encode.
    pub(crate) const AZURE_CLIENT_SECRET: &str = "canary-azure-client-secret~0001/+ &=%";
    pub(crate) const AZURE_FEDERATED_TOKEN: &str = "canary-azure-federated.token.0001";
    pub(crate) const AZURE_PFX_PASSWORD: &str = "canary-azure-pfx-password-0001";
    /// What every assertion begins with that the key of a certificate has signed: `{"alg":"PS256","typ":"JWT","x5t`.
    pub(crate) const AZURE_ASSERTION: &str = "eyJhbGciOiJQUzI1NiIsInR5cCI6IkpXVCIsIng1d";
    /// How PEM of a private key goes on after its beginning, of PKCS #8 and of PKCS #1.
    pub(crate) const PRIVATE_KEY: &str = "PRIVATE KEY-----";
    pub(crate) const AZURE_IDENTITY_HEADER: &str = "canary-azure-identity-header-0001";
    /// What every access token of the fake Google contains.
    pub(crate) const GOOGLE_TOKEN: &str = "canary-google-token";
    pub(crate) const GOOGLE_CLIENT_SECRET: &str = "canary-google-client-secret";
    pub(crate) const GOOGLE_REFRESH_TOKEN: &str = "1//canary-google-refresh-token";
    /// Of the cluster, where a workload's identity is federated.
    pub(crate) const GOOGLE_SUBJECT_TOKEN: &str = "canary-google-subject-token";
    /// In every error of the fake Google.
    pub(crate) const GOOGLE_MESSAGE: &str = "canary-google-message";
    /// What all of these contain.
    pub(crate) const GOOGLE: &str = "canary-google";
    /// What everything contains that Ephemint proves itself with to a Vault, and every token of the fake one.
    pub(crate) const VAULT: &str = "canary-vault";
    pub(crate) const VAULT_TOKEN: &str = "hvs.canary-vault-token-0001";
    pub(crate) const VAULT_ROLE_ID: &str = "canary-vault-role-id-0001";
    pub(crate) const VAULT_SECRET_ID: &str = "canary-vault-secret-id-0001";
    /// Of a service account.
    pub(crate) const VAULT_JWT: &str = "canary-vault-jwt.eyJhdWQiOlsidmF1bHQiXX0.c2lnbmF0dXJl";
}

/// Where a marker must not show up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Everywhere,
    /// Logs, audit and metrics.
    Records,
    /// Answers, audit and metrics; an operator may find it in the logs.
    Answers,
}

/// What a sighting was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Answer,
    Log,
    Audit,
    Metrics,
}

#[derive(Debug)]
struct Marker {
    name: String,
    value: String,
    scope: Scope,
}

impl Marker {
    fn is_banned_from(&self, place: Place) -> bool {
        match self.scope {
            Scope::Everywhere => true,
            Scope::Records => place != Place::Answer,
            Scope::Answers => place != Place::Log,
        }
    }
}

/// Collects markers and everything that was let out.
#[derive(Debug, Default)]
pub(crate) struct Canary {
    markers: Mutex<Vec<Marker>>,
    seen: Mutex<Vec<(Place, String, String)>>,
    complaints: Mutex<Vec<String>>,
}

impl Canary {
    /// Knows the fixed markers.
    pub(crate) fn new() -> Self {
        let canary = Self::default();
        for (name, value) in [
            ("a permanent key", secrets::PERMANENT),
            ("a minted secret", secrets::MINTED),
            ("the admin token", secrets::ADMIN_TOKEN),
            ("the pseudonym key", secrets::PSEUDONYM_KEY),
            ("the client secret for introspection", secrets::INTROSPECTION),
            ("an API key", secrets::API_KEY),
            ("the MCP authorization", secrets::MCP_AUTHORIZATION),
            ("the profile's instructions", secrets::INSTRUCTIONS),
            ("the profile's tool", secrets::TOOL),
            ("the secret of sign-in", secrets::LOGIN_SECRET),
            ("the cookie key", secrets::COOKIE_KEY),
            ("a webhook's secret", secrets::WEBHOOK),
            ("an authorization code", secrets::CODE),
            ("a secret of Azure", secrets::AZURE),
            ("a key of Azure", secrets::AZURE_KEYS),
            ("an assertion for Entra ID", secrets::AZURE_ASSERTION),
            ("a private key", secrets::PRIVATE_KEY),
            ("an access token of sign-in", secrets::ACCESS_TOKEN),
            ("a refresh token", secrets::REFRESH_TOKEN),
            ("a credential of AWS", secrets::AWS),
            ("a secret of Google", secrets::GOOGLE),
            ("a way into Vault", secrets::VAULT),
        ] {
            canary.guard(name, value, Scope::Everywhere);
        }
        canary.guard("an upstream's message", secrets::UPSTREAM_MESSAGE, Scope::Answers);
        canary.guard("a user's name", secrets::USER, Scope::Records);
        canary
    }

    /// Adds a marker.
    pub(crate) fn guard(&self, name: &str, value: &str, scope: Scope) {
        let mut markers = lock(&self.markers);
        if !markers.iter().any(|marker| marker.value == value) {
            markers.push(Marker { name: name.to_owned(), value: value.to_owned(), scope });
        }
    }

    /// A user's credential: the signature of a token, or the whole of something else.
    pub(crate) fn guard_credential(&self, credential: &str) {
        const TELLING: usize = 20;
        let signature = credential.rsplit('.').next().unwrap_or_default();
        let telling = if signature.len() >= TELLING { signature } else { credential };
        if telling.len() >= TELLING {
            let end = telling.floor_char_boundary(200);
            self.guard("a user's credential", &telling[..end.min(telling.len())], Scope::Everywhere);
        }
    }

    /// Something the service let out.
    pub(crate) fn saw(&self, place: Place, name: &str, bytes: &[u8]) {
        let sighting = (place, name.to_owned(), String::from_utf8_lossy(bytes).into_owned());
        lock(&self.seen).push(sighting);
    }

    /// An answer of the service; a minted value may be in two places of a 200 to a mint, nowhere else.
    pub(crate) fn saw_answer(&self, name: &str, status: u16, headers: &[(String, String)], body: &[u8]) {
        let mut text = String::new();
        for (key, value) in headers {
            let _ = writeln!(text, "{key}: {value}");
            if key == "set-cookie" && may_set_cookie(name, value) {
                let value = value.split(';').next().and_then(|pair| pair.split_once('=')).map_or("", |(_, value)| value);
                if !value.is_empty() {
                    self.guard("a cookie", value, Scope::Records);
                }
            } else if !ALLOWED_HEADERS.contains(&key.as_str()) {
                let complaint = format!("the answer to {name} has the header {key}: {value}");
                lock(&self.complaints).push(complaint);
            }
        }
        self.saw(Place::Answer, &format!("the headers of the answer to {name}"), text.as_bytes());
        let hands_out = status == 200 && (name.contains("client_secrets") || name.contains("/auth/guest"));
        let body = if hands_out { without_secret(body) } else { body.to_vec() };
        self.saw(Place::Answer, &format!("the body of the answer to {name}"), &body);
    }

    /// Every place where something was let out that must not be.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let mut complaints = lock(&self.complaints).clone();
        let markers = lock(&self.markers);
        for (place, name, text) in lock(&self.seen).iter() {
            for marker in markers.iter().filter(|it| it.is_banned_from(*place)) {
                if let Some(at) = text.find(&marker.value) {
                    let from = text.floor_char_boundary(at.saturating_sub(120));
                    let around = &text[from..text.ceil_char_boundary(at + 200)];
                    complaints.push(format!("{} is in {name}: ...{around}...", marker.name));
                }
            }
        }
        complaints.sort();
        complaints.dedup();
        complaints
    }
}

/// Headers that an answer may have. Anything else is a leak until it is listed here on purpose.
const ALLOWED_HEADERS: &[&str] = &[
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "allow",
    "cache-control",
    "connection",
    "content-length",
    "content-security-policy",
    "content-type",
    "date",
    "dpop-nonce",
    "ephemint-session",
    "location",
    "permissions-policy",
    "ratelimit",
    "ratelimit-policy",
    "referrer-policy",
    "retry-after",
    "strict-transport-security",
    "transfer-encoding",
    "vary",
    "www-authenticate",
    "x-content-type-options",
    "x-frame-options",
    "x-request-id",
    "x-should-retry",
];

/// Cookies of ours, where browsers sign in or out or have sent one.
fn may_set_cookie(name: &str, value: &str) -> bool {
    let ours = ["ephemint=", "ephemint-login-", "__Host-ephemint=", "__Host-ephemint-login-"];
    (name.contains(" /auth/") || name.ends_with(WITH_COOKIES)) && ours.iter().any(|begin| value.starts_with(begin))
}

/// At the end of the name of a request that was sent with cookies.
pub(super) const WITH_COOKIES: &str = " with cookies";

/// The answer without what it was asked for: the minted value, or a guest token.
fn without_secret(body: &[u8]) -> Vec<u8> {
    let Ok(mut answer) = serde_json::from_slice::<Value>(body) else {
        return body.to_vec();
    };
    for secret in ["value", "access_token"] {
        answer.as_object_mut().map(|it| it.remove(secret));
    }
    if let Some(repeated) = answer.get_mut("client_secret").and_then(Value::as_object_mut) {
        repeated.remove("value");
    }
    answer.to_string().into_bytes()
}
