//! A fake OIDC issuer: discovery, a key set that can rotate and fail, and the keys to sign with.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::keys::{Algorithm, Key};
use super::lock;
use super::reply::Reply;
use super::sign_in::TokenEndpoint;
use super::token::{Token, claims};
use super::wire::{Request, Responder};

const DISCOVERY: &str = "/.well-known/openid-configuration";
const KEY_SET: &str = "/jwks.json";

/// What the issuer serves now.
#[derive(Default)]
struct Served {
    jwks: Value,
    discovery: Value,
    broken_key_set: Option<Reply>,
    broken_discovery: Option<Reply>,
}

impl Served {
    fn answer(&self, request: &Request) -> Reply {
        let (broken, document) = match request.target.as_str() {
            DISCOVERY => (&self.broken_discovery, &self.discovery),
            KEY_SET => (&self.broken_key_set, &self.jwks),
            _ => return Reply::new(404),
        };
        broken.clone().unwrap_or_else(|| Reply::json(200, document).header("Cache-Control", "max-age=3600"))
    }
}

/// The fake issuer.
pub(crate) struct Issuer {
    responder: Responder,
    served: Arc<Mutex<Served>>,
    pub(super) token_endpoint: Arc<Mutex<TokenEndpoint>>,
    /// The keys it signs with; the first is used unless a test asks for another.
    pub(crate) keys: Vec<Arc<Key>>,
}

impl Issuer {
    /// Runs, with one key each for ES256, `EdDSA` and RS256.
    pub(crate) fn start() -> Self {
        let issuer = Self::down();
        issuer.up();
        issuer
    }

    /// Runs with these keys only.
    pub(crate) fn with_keys(keys: Vec<Arc<Key>>) -> Self {
        let issuer = Self { keys, ..Self::down() };
        issuer.publish(&issuer.keys);
        issuer.up();
        issuer
    }

    /// Has an address, but refuses connections until [`Issuer::up`].
    pub(crate) fn down() -> Self {
        let served = Arc::new(Mutex::new(Served::default()));
        let token_endpoint = Arc::new(Mutex::new(TokenEndpoint::default()));
        let (shared, tokens) = (Arc::clone(&served), Arc::clone(&token_endpoint));
        let responder = Responder::refusing(move |request| match request.target.as_str() {
            "/token" => lock(&tokens).answer(request),
            "/revoke" => Reply::new(200),
            _ => lock(&shared).answer(request),
        });
        let keys =
            vec![Key::new("ec-1", Algorithm::ES256), Key::new("ed-1", Algorithm::EdDSA), Key::new("rsa-1", Algorithm::RS256)];
        let issuer = Self { responder, served, token_endpoint, keys };
        issuer.publish(&issuer.keys);
        lock(&issuer.served).discovery = json!({
            "issuer": issuer.url(),
            "jwks_uri": issuer.jwks_url(),
            "authorization_endpoint": format!("{}authorize", issuer.url()),
            "token_endpoint": format!("{}token", issuer.url()),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
        });
        issuer
    }

    pub(crate) fn up(&self) {
        self.responder.open();
    }

    /// From now on connections are refused.
    pub(crate) fn refuse(&self) {
        self.responder.refuse();
    }

    /// The issuer's name, as in `iss`: with a slash at the end.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.responder.address())
    }

    pub(crate) fn jwks_url(&self) -> String {
        format!("http://{}{KEY_SET}", self.responder.address())
    }

    /// Replaces the key set by these keys.
    pub(crate) fn publish(&self, keys: &[Arc<Key>]) {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        self.publish_jwks(&keys);
    }

    /// Replaces the key set by these JWKs.
    pub(crate) fn publish_jwks(&self, keys: &[Value]) {
        lock(&self.served).jwks = json!({ "keys": keys });
    }

    /// Answers key set requests with `reply`; `None` ends it.
    pub(crate) fn break_key_set(&self, reply: Option<Reply>) {
        lock(&self.served).broken_key_set = reply;
    }

    /// Answers discovery requests with `reply`; `None` ends it.
    pub(crate) fn break_discovery(&self, reply: Option<Reply>) {
        lock(&self.served).broken_discovery = reply;
    }

    /// Changes a field of the discovery document.
    pub(crate) fn discover(&self, name: &str, value: impl Into<Value>) {
        lock(&self.served).discovery[name] = value.into();
    }

    /// How often the key set was asked for.
    pub(crate) fn key_set_fetches(&self) -> usize {
        self.fetches(KEY_SET)
    }

    /// How often the discovery document was asked for.
    pub(crate) fn discovery_fetches(&self) -> usize {
        self.fetches(DISCOVERY)
    }

    fn fetches(&self, target: &str) -> usize {
        self.responder.requests().iter().filter(|request| request.target == target).count()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.responder.requests()
    }

    /// A good token of a user, to be changed by the test; signed by the first key.
    pub(crate) fn token(&self, user: &str) -> Token {
        Token::new(&self.keys[0], claims(&self.url(), user))
    }

    /// A good token of `canary-user-NAME`, ready to be sent.
    pub(crate) fn bearer(&self, name: &str) -> String {
        self.token(&user(name)).build()
    }

    /// The issuer's key for an algorithm.
    pub(crate) fn key(&self, algorithm: Algorithm) -> &Arc<Key> {
        self.keys.iter().find(|key| key.algorithm() == algorithm).expect("the issuer has such a key")
    }
}

/// A user's name that the canary looks for.
pub(crate) fn user(name: &str) -> String {
    format!("{}-{name}", super::canary::secrets::USER)
}
