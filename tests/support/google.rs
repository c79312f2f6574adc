//! Google as far as a secret needs it: Secret Manager, and everyone who makes access tokens. Speaks the documented REST, checks every proof,
//! and records what it is asked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::canary::secrets;
use super::lock;
use super::reply::Reply;
use super::token::now;
use super::wire::{Request, Responder};

pub(crate) const ROBOT: &str = "voice@my-project.iam.gserviceaccount.com";
/// Paths of the fake.
pub(crate) const TOKEN: &str = "/token";
pub(crate) const STS: &str = "/v1/token";
pub(crate) const IAM: &str = "/v1/projects/-/serviceAccounts/voice@my-project.iam.gserviceaccount.com:generateAccessToken";
pub(crate) const METADATA: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
pub(crate) const ACCESS: &str = ":access";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const AUDIENCE: &str = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/cluster";
const KEY_ID: &str = "0123456789abcdef";

/// What Google knows.
#[derive(Default)]
struct State {
    /// Payloads by `project/name`, the first of them version 1.
    secrets: BTreeMap<String, Vec<Vec<u8>>>,
    /// Answers to requests whose target contains a text, once.
    next: VecDeque<(String, Reply)>,
    /// The same, always.
    always: Vec<(String, Reply)>,
    /// Access tokens handed out so far.
    tokens: Vec<String>,
    /// Whether who may read a secret may also see its versions.
    shows_versions: bool,
}

/// The fake.
pub(crate) struct Google {
    responder: Responder,
    state: Arc<Mutex<State>>,
}

impl Google {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        Self { responder: Responder::start(move |request| lock(&shared).answer(request)), state }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.host())
    }

    /// For `GCE_METADATA_HOST`.
    pub(crate) fn host(&self) -> String {
        self.responder.address().to_string()
    }

    /// Adds a version to `project/name`.
    pub(crate) fn add(&self, secret: &str, payload: impl Into<Vec<u8>>) {
        lock(&self.state).secrets.entry(secret.to_owned()).or_default().push(payload.into());
    }

    /// The next request whose target contains `part` is answered with `reply`.
    pub(crate) fn script(&self, part: &str, reply: Reply) {
        lock(&self.state).next.push_back((part.to_owned(), reply));
    }

    /// Every request whose target contains `part` is answered with `reply`.
    pub(crate) fn breaks(&self, part: &str, reply: Reply) {
        lock(&self.state).always.push((part.to_owned(), reply));
    }

    /// From now on when a version was made is told, too.
    pub(crate) fn shows_versions(&self) {
        lock(&self.state).shows_versions = true;
    }

    /// From now on connections are refused.
    pub(crate) fn refuse(&self) {
        self.responder.refuse();
    }

    /// Requests whose target ends so.
    pub(crate) fn asked(&self, end: &str) -> Vec<Request> {
        let mut requests = self.responder.requests();
        requests.retain(|request| request.target.ends_with(end));
        requests
    }

    /// The JSON of a service account's key, as the console hands it out.
    pub(crate) fn service_account(&self) -> Value {
        json!({
            "type": "service_account", "project_id": "my-project", "private_key_id": KEY_ID, "private_key": private_key(),
            "client_email": ROBOT, "client_id": "1", "token_uri": format!("{}{TOKEN}", self.origin()),
        })
    }

    /// What `gcloud auth application-default login` writes.
    pub(crate) fn user(&self) -> Value {
        json!({
            "type": "authorized_user", "client_id": "gcloud", "client_secret": secrets::GOOGLE_CLIENT_SECRET,
            "refresh_token": secrets::GOOGLE_REFRESH_TOKEN, "token_uri": format!("{}{TOKEN}", self.origin()),
        })
    }

    /// Workload identity federation: the token in `file` stands for a Google identity.
    pub(crate) fn federated(&self, file: &str) -> Value {
        json!({
            "type": "external_account", "audience": AUDIENCE, "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": format!("{}{STS}", self.origin()), "credential_source": { "file": file },
        })
    }

    /// Whoever `source` is acts for [`ROBOT`].
    pub(crate) fn impersonated(&self, source: &Value) -> Value {
        let url = self.impersonation_url();
        json!({"type": "impersonated_service_account", "service_account_impersonation_url": url, "source_credentials": source})
    }

    pub(crate) fn impersonation_url(&self) -> String {
        format!("{}{IAM}", self.origin())
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        if let Some(at) = self.next.iter().position(|(part, _)| request.target.contains(part)) {
            return self.next.remove(at).map(|(_, reply)| reply).expect("it is there");
        }
        if let Some((_, reply)) = self.always.iter().find(|(part, _)| request.target.contains(part)) {
            return reply.clone();
        }
        match (request.method.as_str(), request.target.as_str()) {
            ("POST", TOKEN) => self.refreshed(request),
            ("POST", STS) => self.exchanged(request),
            ("POST", IAM) => self.acted_for(request),
            ("GET", METADATA) if request.header("metadata-flavor") == Some("Google") => {
                Reply::json(200, &json!({"access_token": self.token(), "expires_in": 3599, "token_type": "Bearer"}))
            }
            ("GET", target) if target.starts_with("/v1/projects/") => self.secret(request),
            _ => Reply::new(404),
        }
    }

    fn token(&mut self) -> String {
        let token = format!("ya29.{}-{}", secrets::GOOGLE_TOKEN, self.tokens.len());
        self.tokens.push(token.clone());
        token
    }

    /// RFC 6749, section 6, as JSON, which Google takes too.
    fn refreshed(&mut self, request: &Request) -> Reply {
        let (body, expected) = (request.json(), json!({"grant_type": "refresh_token", "client_id": "gcloud"}));
        let fits = |key: &str| body[key] == expected[key];
        let proves =
            body["client_secret"] == secrets::GOOGLE_CLIENT_SECRET && body["refresh_token"] == secrets::GOOGLE_REFRESH_TOKEN;
        if !(fits("grant_type") && fits("client_id") && proves) {
            return Reply::json(400, &json!({"error": "invalid_grant", "error_description": secrets::GOOGLE_MESSAGE}));
        }
        Reply::json(200, &json!({"access_token": self.token(), "expires_in": 3599, "token_type": "Bearer", "scope": SCOPE}))
    }

    /// RFC 8693, section 2.
    fn exchanged(&mut self, request: &Request) -> Reply {
        let form = request.form();
        let expected = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
            ("subject_token", secrets::GOOGLE_SUBJECT_TOKEN),
            ("audience", AUDIENCE),
        ];
        if !expected.iter().all(|(name, value)| form.get(*name).is_some_and(|it| it == value)) {
            return Reply::json(400, &json!({"error": "invalid_grant", "error_description": secrets::GOOGLE_MESSAGE}));
        }
        let kind = "urn:ietf:params:oauth:token-type:access_token";
        let answer = json!({"access_token": self.token(), "issued_token_type": kind, "token_type": "Bearer", "expires_in": 3599});
        Reply::json(200, &answer)
    }

    /// IAM Credentials API, `projects.serviceAccounts.generateAccessToken`.
    fn acted_for(&mut self, request: &Request) -> Reply {
        if !self.tokens.iter().any(|token| token == request.bearer()) || request.json()["scope"] != json!([SCOPE]) {
            return error(403, "PERMISSION_DENIED", "IAM_PERMISSION_DENIED");
        }
        Reply::json(200, &json!({"accessToken": self.token(), "expireTime": "2999-01-01T00:00:00Z"}))
    }

    fn secret(&self, request: &Request) -> Reply {
        if !self.tokens.iter().any(|token| token == request.bearer()) && !is_of_robot(request.bearer()) {
            return error(401, "UNAUTHENTICATED", "ACCESS_TOKEN_TYPE_UNSUPPORTED");
        }
        let path: Vec<_> = request.target.split('/').collect();
        let ["", "v1", "projects", project, "secrets", name, "versions", version] = path.as_slice() else {
            return error(404, "NOT_FOUND", "");
        };
        let (version, is_access) = version.strip_suffix(ACCESS).map_or((*version, false), |version| (version, true));
        let payloads = self.secrets.get(&format!("{project}/{name}")).map(Vec::as_slice).unwrap_or_default();
        let number = if version == "latest" { payloads.len() } else { version.parse().unwrap_or(0) };
        let Some(payload) = number.checked_sub(1).and_then(|index| payloads.get(index)) else {
            return error(404, "NOT_FOUND", "");
        };
        let full = format!("projects/1/secrets/{name}/versions/{number}");
        if is_access {
            return accessed(&full, payload, crc32c(payload));
        }
        if !self.shows_versions {
            return error(403, "PERMISSION_DENIED", "IAM_PERMISSION_DENIED");
        }
        Reply::json(200, &json!({"name": full, "createTime": "2026-01-02T03:04:05.678901Z", "state": "ENABLED"}))
    }
}

/// The answer to `:access`.
pub(crate) fn accessed(name: &str, payload: &[u8], checksum: u32) -> Reply {
    let payload = json!({"data": STANDARD.encode(payload), "dataCrc32c": checksum.to_string()});
    Reply::json(200, &json!({"name": name, "payload": payload}))
}

/// An error as Google's services write it. Its message must not be repeated.
pub(crate) fn error(code: u16, status: &str, reason: &str) -> Reply {
    let info = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"});
    let details = if reason.is_empty() { json!([]) } else { json!([info]) };
    let error = json!({"code": code, "message": secrets::GOOGLE_MESSAGE, "status": status, "details": details});
    Reply::json(code, &json!({ "error": error }))
}

/// CRC-32C by its polynomial, highest bit first, as RFC 3720 defines it; the service computes it the other way round.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for bit in bytes.iter().flat_map(|byte| (0..8).map(move |at| u32::from(byte >> at & 1))) {
        let carry = (crc >> 31) ^ bit;
        crc = (crc << 1) ^ (carry * 0x1edc_6f41);
    }
    !crc.reverse_bits()
}

fn robot() -> &'static RsaKeyPair {
    static KEY: OnceLock<RsaKeyPair> = OnceLock::new();
    KEY.get_or_init(|| RsaKeyPair::generate(KeySize::Rsa2048).expect("a key pair"))
}

/// The service account's key, in PEM (PKCS #8).
pub(crate) fn private_key() -> String {
    pem(robot())
}

/// A key that Google does not know.
pub(crate) fn strange_key() -> String {
    pem(&RsaKeyPair::generate(KeySize::Rsa2048).expect("a key pair"))
}

fn pem(key: &RsaKeyPair) -> String {
    let der: Pkcs8V1Der<'_> = key.as_der().expect("PKCS #8");
    let text = STANDARD.encode(der.as_ref());
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

/// A token that the service account signed for itself: developers.google.com/identity/protocols/oauth2/service-account#jwt-auth.
fn is_of_robot(token: &str) -> bool {
    let Some((message, signature)) = token.rsplit_once('.') else { return false };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, robot().public_key().as_ref());
    if public.verify(message.as_bytes(), &decode(signature)).is_err() {
        return false;
    }
    let part = |at: usize| message.split('.').nth(at).map(decode).and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    let (header, claims) = (part(0).unwrap_or_default(), part(1).unwrap_or_default());
    let time = |name: &str| claims[name].as_i64().unwrap_or_default();
    header == json!({"alg": "RS256", "typ": "JWT", "kid": KEY_ID})
        && claims["iss"] == ROBOT
        && claims["sub"] == ROBOT
        && claims["scope"] == SCOPE
        && time("iat") <= now()
        && now() < time("exp")
        && time("exp") - time("iat") <= 3620
}
