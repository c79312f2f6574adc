//! A fake of the documented REST of HashiCorp Vault and OpenBao: both versions of the key-value engine, logins, leases, namespaces, refusals.
//! Every refusal repeats what it was sent: none of it may show up anywhere.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::canary::secrets;
use super::config::Config;
use super::lock;
use super::reply::Reply;
use super::wire::{Request, Responder};

pub(crate) const ROLE: &str = "ephemint-pod";
const LOOKUP: &str = "/v1/auth/token/lookup-self";
const RENEW: &str = "/v1/auth/token/renew-self";

/// How Ephemint logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    Token,
    AppRole,
    Kubernetes,
}

/// What happens between a question and its answer; it is handed the tokens that are good.
type Hook = Box<dyn FnOnce(&mut Vec<String>) + Send>;

struct State {
    /// By path, what a good GET of it is answered with.
    kept: BTreeMap<String, Value>,
    /// By method and target, what the next such requests are answered with instead.
    scripted: BTreeMap<String, VecDeque<(Reply, Hook)>>,
    tokens: Vec<String>,
    issued: usize,
    /// Seconds, of every token; 0: without end.
    life: u64,
    namespace: Option<String>,
    may_look_at_itself: bool,
}

/// The fake Vault.
pub(crate) struct Vault {
    responder: Responder,
    state: Arc<Mutex<State>>,
}

impl Vault {
    /// Knows the one token that is given, the one pair of ids, and the one service account.
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State {
            kept: BTreeMap::new(),
            scripted: BTreeMap::new(),
            tokens: vec![secrets::VAULT_TOKEN.to_owned()],
            issued: 0,
            life: 3600,
            namespace: None,
            may_look_at_itself: true,
        }));
        let shared = Arc::clone(&state);
        Self { responder: Responder::start(move |request| lock(&shared).answer(request)), state }
    }

    pub(crate) fn address(&self) -> String {
        format!("http://{}", self.responder.address())
    }

    /// Keeps this in version 1 of the engine. `path` has the mount in it.
    pub(crate) fn keep_v1(&self, path: &str, fields: &Value) {
        self.keep(path, &json!({"auth": null, "data": fields, "lease_duration": 2_764_800, "lease_id": "", "renewable": false}));
    }

    /// The same in version 2.
    pub(crate) fn keep_v2(&self, mount: &str, path: &str, fields: &Value) {
        self.keep(&format!("{mount}/data/{path}"), &version_2(fields, ""));
    }

    /// Answers a GET of `path` with this.
    pub(crate) fn keep(&self, path: &str, answer: &Value) {
        lock(&self.state).kept.insert(format!("/v1/{path}"), answer.clone());
    }

    /// A GET of `path` finds nothing any more.
    pub(crate) fn forget(&self, path: &str) {
        lock(&self.state).kept.remove(&format!("/v1/{path}"));
    }

    /// The next request that is `asked` (method and target) is answered with `reply`, once.
    pub(crate) fn script(&self, asked: &str, reply: Reply) {
        self.script_after(asked, reply, |_| {});
    }

    /// The same, and `hook` runs before that. It is handed the tokens that are good.
    pub(crate) fn script_after(&self, asked: &str, reply: Reply, hook: impl FnOnce(&mut Vec<String>) + Send + 'static) {
        lock(&self.state).scripted.entry(asked.to_owned()).or_default().push_back((reply, Box::new(hook)));
    }

    /// Tokens live for this many seconds; 0: without end.
    pub(crate) fn tokens_live(&self, seconds: u64) {
        lock(&self.state).life = seconds;
    }

    /// Another token that is good.
    pub(crate) fn knows_token(&self, token: &str) {
        lock(&self.state).tokens.push(token.to_owned());
    }

    /// Tokens have no policy that lets them look at themselves.
    pub(crate) fn no_token_may_look_at_itself(&self) {
        lock(&self.state).may_look_at_itself = false;
    }

    /// Everything is in this namespace.
    pub(crate) fn namespace(&self, name: &str) {
        lock(&self.state).namespace = Some(name.to_owned());
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.responder.requests()
    }

    /// Methods and targets of what was asked, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.requests().iter().map(asked).collect()
    }

    /// What was asked first. A running service looks again as soon as it runs, so there may be more.
    #[track_caller]
    pub(crate) fn expect_asked(&self, expected: &[&str]) {
        let asked = self.asked();
        let is_so = asked.len() >= expected.len() && asked.iter().zip(expected).all(|(asked, expected)| asked == expected);
        assert!(is_so, "asked {asked:#?}\nexpected {expected:#?}");
    }

    /// From now on connections are refused.
    pub(crate) fn refuse(&self) {
        self.responder.refuse();
    }

    pub(crate) fn up(&self) {
        self.responder.open();
    }

    /// Takes back every token that there is.
    pub(crate) fn revoke_all(&self) {
        lock(&self.state).tokens.clear();
    }

    /// The permanent key is `reference`, and Ephemint logs in here.
    pub(crate) fn configure(&self, config: Config, auth: Auth, reference: &str) -> Config {
        let config = config
            .set("secrets.vault.address", &format!("{:?}", self.address()))
            .set("upstreams.openai.credential", &format!("{{ keys = [{reference:?}] }}"));
        let set =
            |config: Config, name: &str, value: &str| config.set(&format!("secrets.vault.auth.{name}"), &format!("{value:?}"));
        match auth {
            Auth::Token => config.env("VAULT_TOKEN", secrets::VAULT_TOKEN),
            Auth::AppRole => {
                let config = config
                    .env("TEST_VAULT_ROLE_ID", secrets::VAULT_ROLE_ID)
                    .env("TEST_VAULT_SECRET_ID", secrets::VAULT_SECRET_ID);
                let config = set(config, "kind", "approle");
                set(set(config, "role_id", "env://TEST_VAULT_ROLE_ID"), "secret_id", "env://TEST_VAULT_SECRET_ID")
            }
            Auth::Kubernetes => {
                let config = config.env("TEST_VAULT_JWT", secrets::VAULT_JWT);
                let config = set(set(config, "kind", "kubernetes"), "role", ROLE);
                set(config, "service_account_token", "env://TEST_VAULT_JWT")
            }
        }
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        if let Some((reply, hook)) = self.scripted.get_mut(&asked(request)).and_then(VecDeque::pop_front) {
            hook(&mut self.tokens);
            return reply;
        }
        if request.header("x-vault-request") != Some("true") {
            return refusal(412, request, "required 'X-Vault-Request' header is missing");
        }
        if request.header("x-vault-namespace").map(str::to_owned) != self.namespace {
            return refusal(404, request, "namespace not found");
        }
        if request.method == "POST" && request.target.ends_with("/login") {
            return self.log_in(request);
        }
        let token = request.header("x-vault-token").unwrap_or_default();
        if !self.tokens.iter().any(|known| known == token) {
            return refusal(403, request, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n");
        }
        match (request.method.as_str(), request.target.as_str()) {
            ("GET", LOOKUP) if !self.may_look_at_itself => refusal(403, request, "1 error occurred:\n\t* permission denied\n\n"),
            ("GET", LOOKUP) => {
                let data =
                    json!({"id": token, "accessor": "a", "ttl": self.life, "renewable": self.life > 0, "policies": ["ephemint"]});
                Reply::json(200, &json!({"data": data, "auth": null, "warnings": null}))
            }
            ("POST", RENEW) => lease(token, self.life),
            ("GET", path) => match self.kept.get(path) {
                Some(answer) => Reply::json(200, answer),
                None => Reply::json(404, &json!({"errors": []})),
            },
            _ => refusal(405, request, "1 error occurred:\n\t* unsupported operation\n\n"),
        }
    }

    fn log_in(&mut self, request: &Request) -> Reply {
        let good = match request.target.as_str() {
            "/v1/auth/approle/login" => json!({"role_id": secrets::VAULT_ROLE_ID, "secret_id": secrets::VAULT_SECRET_ID}),
            "/v1/auth/kubernetes/login" => json!({"role": ROLE, "jwt": secrets::VAULT_JWT}),
            _ => return refusal(403, request, "permission denied"),
        };
        if request.json() != good {
            return refusal(400, request, "invalid role or secret ID");
        }
        self.issued += 1;
        let token = format!("hvs.{}-issued-{:04}", secrets::VAULT, self.issued);
        self.tokens.push(token.clone());
        lease(&token, self.life)
    }
}

fn asked(request: &Request) -> String {
    format!("{} {}", request.method, request.target)
}

/// The answer to a login and to a renewal.
pub(crate) fn lease(token: &str, life: u64) -> Reply {
    let auth = json!({
        "client_token": token, "accessor": "a", "policies": ["default", "ephemint"], "token_policies": ["default", "ephemint"],
        "metadata": null, "lease_duration": life, "renewable": life > 0, "entity_id": "e", "token_type": "service", "orphan": true,
        "mfa_requirement": null, "num_uses": 0,
    });
    Reply::json(
        200,
        &json!({"request_id": "r", "lease_id": "", "renewable": false, "lease_duration": 0, "data": null, "wrap_info": null, "warnings": null, "auth": auth}),
    )
}

/// What version 2 of the engine answers a read with. `fields` is null when the version was deleted.
pub(crate) fn version_2(fields: &Value, deleted_at: &str) -> Value {
    let metadata = json!({
        "created_time": "2018-03-22T02:24:06.945319214Z", "custom_metadata": null, "deletion_time": deleted_at, "destroyed": false,
        "version": 2,
    });
    json!({"request_id": "r", "lease_id": "", "renewable": false, "lease_duration": 0, "data": {"data": fields, "metadata": metadata}, "wrap_info": null, "warnings": null, "auth": null})
}

/// A refusal as Vault writes it, with everything in it that was sent.
fn refusal(status: u16, request: &Request, error: &str) -> Reply {
    let sent = format!("{} {:?} {:?}", request.target, request.header("x-vault-token"), String::from_utf8_lossy(&request.body));
    Reply::json(status, &json!({"errors": [error, sent]}))
}
