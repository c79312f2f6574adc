//! A fake of Azure: Entra ID's token endpoint, both endpoints for managed identities, and Key Vault. Everything that it is asked has to be
//! exactly as documented, and is recorded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::canary::secrets;
use super::certificate::Uploaded;
use super::config::Config;
use super::lock;
use super::reply::Reply;
use super::wire::{Request, Responder};

pub(crate) const TENANT: &str = "11111111-2222-3333-4444-555555555555";
pub(crate) const CLIENT_ID: &str = "99999999-8888-7777-6666-555555555555";
pub(crate) const OBJECT_ID: &str = "77777777-8888-9999-aaaa-bbbbbbbbbbbb";
pub(crate) const RESOURCE_ID: &str = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/my-group/providers/Microsoft.ManagedIdentity/userAssignedIdentities/ephemint";
/// Where the service's first key is.
pub(crate) const KEY: &str = "azure-kv://my-vault/openai-key";
const VAULT: &str = "https://vault.azure.net";
const ON_BEHALF: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// One of the servers, by how its paths begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Entra,
    Imds,
    AppService,
    KeyVault,
}

struct State {
    /// By "vault/name".
    kept: BTreeMap<String, Value>,
    scripts: BTreeMap<Part, VecDeque<Reply>>,
    always: BTreeMap<Part, Reply>,
    /// Those that are good.
    tokens: Vec<String>,
    given: usize,
    /// What tokens are asked for.
    resource: &'static str,
    /// Seconds.
    lifetime: i64,
    federated_token: String,
    /// A file that gets another federated token as soon as the first was used.
    renewed: Option<PathBuf>,
    certificates: Vec<Uploaded>,
    /// `jti` of assertions, each good once.
    shown: BTreeSet<String>,
    /// A file that gets other content as soon as an application has got a token.
    replaced: Option<(PathBuf, String)>,
}

/// The fake.
pub(crate) struct Azure {
    responder: Responder,
    state: Arc<Mutex<State>>,
}

impl Azure {
    /// Keeps the primary key as `my-vault/openai-key` and the fallback key as `my-vault/openai-key-2`.
    pub(crate) fn start() -> Self {
        let state = State {
            kept: BTreeMap::new(),
            scripts: BTreeMap::new(),
            always: BTreeMap::new(),
            tokens: Vec::new(),
            given: 0,
            resource: VAULT,
            lifetime: 3599,
            federated_token: secrets::AZURE_FEDERATED_TOKEN.into(),
            renewed: None,
            certificates: Vec::new(),
            shown: BTreeSet::new(),
            replaced: None,
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let azure = Self { responder: Responder::start(move |request| lock(&shared).answer(request)), state };
        azure.keeps("my-vault/openai-key", secret(secrets::PRIMARY_KEY));
        azure.keeps("my-vault/openai-key-2", secret(secrets::FALLBACK_KEY));
        azure
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.place())
    }

    /// Host and port.
    pub(crate) fn place(&self) -> String {
        self.responder.address().to_string()
    }

    /// What the vault answers for `place`, "vault/name".
    pub(crate) fn keeps(&self, place: &str, bundle: Value) {
        lock(&self.state).kept.insert(place.into(), bundle);
    }

    /// The next answers of one part.
    pub(crate) fn next(&self, part: Part, replies: impl IntoIterator<Item = Reply>) {
        lock(&self.state).scripts.entry(part).or_default().extend(replies);
    }

    /// All answers of one part.
    pub(crate) fn always(&self, part: Part, reply: Reply) {
        lock(&self.state).always.insert(part, reply);
    }

    /// What [`Azure::always`] said of one part is over.
    pub(crate) fn never_again(&self, part: Part) {
        lock(&self.state).always.remove(&part);
    }

    /// Tokens are asked for this, in place of Key Vault.
    pub(crate) fn gives_tokens_for(&self, resource: &'static str) {
        lock(&self.state).resource = resource;
    }

    /// How long tokens live from now on, in seconds.
    pub(crate) fn tokens_live(&self, seconds: i64) {
        lock(&self.state).lifetime = seconds;
    }

    /// As soon as the federated token was used, `file` holds another one, and only that is good.
    pub(crate) fn renews(&self, file: PathBuf) {
        lock(&self.state).renewed = Some(file);
    }

    /// From now on assertions are good that the key of this certificate has signed.
    pub(crate) fn trusts(&self, certificate: Uploaded) {
        lock(&self.state).certificates.push(certificate);
    }

    /// As soon as an application has got a token, `file` holds `text`.
    pub(crate) fn replaces(&self, file: PathBuf, text: String) {
        lock(&self.state).replaced = Some((file, text));
    }

    /// From now on connections are refused.
    pub(crate) fn refuse(&self) {
        self.responder.refuse();
    }

    pub(crate) fn up(&self) {
        self.responder.open();
    }

    /// Tokens that were given are good no more.
    pub(crate) fn revokes_tokens(&self) {
        lock(&self.state).tokens.clear();
    }

    /// What one part was asked.
    pub(crate) fn asked(&self, part: Part) -> Vec<Request> {
        self.responder.requests().into_iter().filter(|request| part_of(&request.target) == Some(part)).collect()
    }
}

impl Config {
    /// With the first key at the fake's Key Vault, and a machine's managed identity to read it with.
    pub(crate) fn azure(self, azure: &Azure) -> Self {
        self.set("upstreams.openai.credential", &format!("{{ kind = \"api_key\", keys = [{KEY:?}] }}"))
            .set("secrets.azure.vault_url", &format!("\"{}/vaults/{{vault}}\"", azure.origin()))
            .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &azure.origin())
    }

    /// A key of `secrets.azure.credential`.
    pub(crate) fn entra(self, key: &str, value: &str) -> Self {
        self.set(&format!("secrets.azure.credential.{key}"), &format!("{value:?}"))
    }
}

/// A secret as the vault shows it.
pub(crate) fn secret(value: &str) -> Value {
    json!({
        "value": value,
        "id": "https://my-vault.vault.azure.net/secrets/openai-key/4387e9f3d6e14c459867679a90fd0f79", // ephemint:allow
        "attributes": {"enabled": true, "created": 1_493_938_410, "updated": 1_493_938_410, "recoveryLevel": "Recoverable+Purgeable"},
    })
}

/// A refusal as Entra ID writes it, with a secret in its description.
pub(crate) fn aadsts(status: u16, error: &str, code: u64) -> Reply {
    let description = format!("AADSTS{code}: {} was sent. Trace ID: x", secrets::AZURE_CLIENT_SECRET);
    Reply::json(status, &json!({"error": error, "error_description": description, "error_codes": [code], "trace_id": "x"}))
}

/// A refusal as Key Vault writes it.
pub(crate) fn vault_error(status: u16, code: &str, inner: Option<&str>) -> Reply {
    let message = format!("Caller: appid={CLIENT_ID}; {} AKV10000", secrets::AZURE);
    let inner = inner.map(|code| json!({"code": code}));
    Reply::json(status, &json!({"error": {"code": code, "message": message, "innererror": inner}}))
}

fn part_of(target: &str) -> Option<Part> {
    match target.split('?').next()? {
        "/metadata/identity/oauth2/token" => Some(Part::Imds),
        "/msi/token" => Some(Part::AppService),
        path if path.starts_with("/vaults/") => Some(Part::KeyVault),
        path if path.ends_with("/oauth2/v2.0/token") => Some(Part::Entra),
        _ => None,
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        let Some(part) = part_of(&request.target) else { return Reply::new(404) };
        let scripted = self.scripts.get_mut(&part).and_then(VecDeque::pop_front);
        if let Some(reply) = scripted.or_else(|| self.always.get(&part).cloned()) {
            return reply;
        }
        match part {
            Part::Entra => self.token_of_application(request),
            Part::Imds => self.token_of_machine(request),
            Part::AppService => self.token_of_container(request),
            Part::KeyVault => self.kept(request),
        }
    }

    /// For the application itself, or on behalf of the user whose token is shown with it.
    fn token_of_application(&mut self, request: &Request) -> Reply {
        let scope = format!("{}/.default", self.resource);
        let users = request.form().get("assertion").cloned();
        let mut common = BTreeMap::from([("client_id", CLIENT_ID), ("scope", scope.as_str())]);
        match &users {
            None => drop(common.insert("grant_type", "client_credentials")),
            Some(token) => {
                common.extend([
                    ("grant_type", ON_BEHALF),
                    ("assertion", token.as_str()),
                    ("requested_token_use", "on_behalf_of"),
                ]);
            }
        }
        let mut with_secret = common.clone();
        with_secret.insert("client_secret", secrets::AZURE_CLIENT_SECRET);
        let form = request.form();
        let shown = form.get("client_assertion").filter(|jwt| self.is_signed(request, jwt));
        let assertion = shown.cloned().unwrap_or_else(|| self.federated_token.clone());
        common.extend([("client_assertion_type", JWT_BEARER), ("client_assertion", &assertion)]);
        let form: BTreeMap<_, _> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let is_form = request.header("content-type") == Some("application/x-www-form-urlencoded");
        let is_here = request.method == "POST" && request.target == format!("/{TENANT}/oauth2/v2.0/token");
        if !is_here || !is_form || (form != with_secret && form != common) {
            return aadsts(400, "invalid_request", 900_144);
        }
        if let Some(file) = self.renewed.take() {
            self.federated_token = format!("{}-renewed", self.federated_token);
            std::fs::write(file, format!("{}\n", self.federated_token)).expect("the renewed token");
        }
        if let Some((file, text)) = self.replaced.take() {
            std::fs::write(file, text).expect("the renewed file");
        }
        let token = self.new_token();
        let answer =
            json!({"token_type": "Bearer", "expires_in": self.lifetime, "ext_expires_in": self.lifetime, "access_token": token});
        Reply::json(200, &answer)
    }

    /// Whether the key of a certificate that it knows has signed this assertion, for here and now and not shown before: "Microsoft identity
    /// platform application authentication certificate credentials".
    fn is_signed(&mut self, request: &Request, jwt: &str) -> bool {
        let [header, claims, _] = jwt.split('.').collect::<Vec<_>>()[..] else { return false };
        let (message, signature) = jwt.rsplit_once('.').unwrap_or_default();
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
        let json = |part: &str| serde_json::from_slice::<Value>(&decoded(part)).unwrap_or_default();
        let (header, claims) = (json(header), json(claims));
        let known = |it: &&Uploaded| header == json!({"alg": "PS256", "typ": "JWT", "x5t#S256": it.thumbprint});
        let Some(certificate) = self.certificates.iter().find(known) else { return false };
        let audience = format!("http://{}/{TENANT}/oauth2/v2.0/token", request.header("host").unwrap_or_default());
        let (begin, id) = (claims["nbf"].as_i64().unwrap_or_default(), claims["jti"].as_str().unwrap_or_default());
        let expected = json!({
            "aud": audience, "iss": CLIENT_ID, "sub": CLIENT_ID, "jti": id, "nbf": begin, "iat": begin, "exp": begin + 600,
        });
        let is_of_now = (begin - super::token::now()).abs() < 60;
        let is_signed = certificate.has_signed(message.as_bytes(), &decoded(signature));
        is_signed && claims == expected && is_of_now && id.len() == 36 && self.shown.insert(id.into())
    }

    fn token_of_machine(&mut self, request: &Request) -> Reply {
        let names = ["client_id", "object_id", "msi_res_id"];
        let asks = request.header("metadata") == Some("true") && is_asked_for(request, "2018-02-01", self.resource, names);
        if !asks {
            return Reply::json(400, &json!({"error": "invalid_request", "error_description": secrets::AZURE}));
        }
        let token = self.new_token();
        let lives = self.lifetime.to_string();
        Reply::json(200, &json!({"access_token": token, "expires_in": lives, "resource": self.resource, "token_type": "Bearer"}))
    }

    fn token_of_container(&mut self, request: &Request) -> Reply {
        let names = ["client_id", "principal_id", "mi_res_id"];
        let is_inside = request.header("x-identity-header") == Some(secrets::AZURE_IDENTITY_HEADER);
        if !is_inside || !is_asked_for(request, "2019-08-01", self.resource, names) {
            return Reply::json(400, &json!({"statusCode": 400, "message": secrets::AZURE}));
        }
        let token = self.new_token();
        let expires = (super::token::now() + self.lifetime).to_string();
        Reply::json(
            200,
            &json!({"access_token": token, "expires_on": expires, "resource": self.resource, "token_type": "Bearer"}),
        )
    }

    fn kept(&self, request: &Request) -> Reply {
        if request.method != "GET" || !self.tokens.iter().any(|token| token == request.bearer()) {
            return vault_error(401, "Unauthorized", None);
        }
        let place = request.target.strip_prefix("/vaults/").and_then(|it| it.strip_suffix("?api-version=7.4"));
        let place = place.map(|it| it.replacen("/secrets/", "/", 1)).unwrap_or_default();
        self.kept.get(&place).map_or_else(|| vault_error(404, "SecretNotFound", None), |bundle| Reply::json(200, bundle))
    }

    fn new_token(&mut self) -> String {
        self.given += 1;
        let token = format!("{}-access-token-{:04}", secrets::AZURE, self.given);
        self.tokens.push(token.clone());
        token
    }
}

/// Whether a question to an endpoint for managed identities has these parameters, and at most one user-assigned identity beside them.
fn is_asked_for(request: &Request, version: &str, resource: &str, names: [&str; 3]) -> bool {
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let expected = vec![("api-version", version), ("resource", resource)];
    let (common, more) = pairs.split_at(pairs.len().min(2));
    let is_identity = |(name, value): &(String, String)| {
        names.into_iter().zip([CLIENT_ID, OBJECT_ID, RESOURCE_ID]).any(|pair| pair == (name.as_str(), value.as_str()))
    };
    request.method == "GET"
        && common.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(expected)
        && more.len() <= 1
        && more.iter().all(is_identity)
}
