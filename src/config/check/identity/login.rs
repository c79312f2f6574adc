//! Sign-in of browsers.

use std::collections::BTreeSet;
use std::time::Duration;

use url::{Host, Url};

use crate::config::check::Check;
use crate::config::raw::{ClientAuth, RawLogin};
use crate::config::{ClaimPath, Client, Environment, Jwt, Login, Server};
use crate::domain::secret::Secret;

/// Characters, at least. HKDF makes a key of any text, but not a strong one of a weak text.
const MIN_COOKIE_KEY: usize = 32;
/// A cookie may be tried with every key, so there are few.
const MOST_COOKIE_KEYS: usize = 4;
const KEYS_COOLDOWN: Duration = Duration::from_secs(30);
const KEYS_MAX_STALE: Duration = Duration::from_hours(1);

impl Check<'_> {
    /// `server` is absent when it has problems of its own.
    pub(super) fn login(&mut self, raw: &RawLogin, server: Option<&Server>) -> Option<Login> {
        let provider = self.login_provider(raw);
        let client = self.login_client(raw);
        let public_url = server.and_then(|server| self.login_public_url(server));
        let cookie_keys = self.cookie_keys(&raw.cookie_keys);
        let idle_seconds = self.range("identity.login.idle_seconds", raw.idle_seconds, 60, 86_400);
        let absolute_seconds = self.range("identity.login.absolute_seconds", raw.absolute_seconds, 300, 604_800);
        if absolute_seconds < idle_seconds {
            self.problem("identity.login.absolute_seconds", "must not be less than idle_seconds");
        }
        let scope = self.scope(&raw.scopes);
        Some(Login {
            provider: provider?,
            client_id: raw.client_id.clone(),
            client: client?,
            scope,
            public_url: public_url?,
            cookie_keys: cookie_keys?,
            idle_seconds,
            absolute_seconds,
            // Upstreams are looked at later.
            keeps_access_tokens: false,
        })
    }

    fn login_provider(&mut self, raw: &RawLogin) -> Option<Jwt> {
        let issuer = if raw.issuer.is_empty() {
            self.problem("identity.login.issuer", "write the issuer exactly as the ID tokens' iss claim has it");
            None
        } else {
            self.url("identity.login.issuer", &raw.issuer)
        };
        if raw.client_id.is_empty() || !raw.client_id.bytes().all(|b| b.is_ascii_graphic()) {
            self.problem("identity.login.client_id", "write the client id that the issuer gave this service");
        }
        let algorithms = self.algorithms("identity.login.algorithms", &raw.algorithms);
        let mapping = self.mapping("identity.login", raw.mapping());
        let leeway_seconds = self.range("identity.login.leeway_seconds", raw.leeway_seconds, 0, 60);
        issuer?;
        Some(Jwt {
            require_dpop: false,
            name: "login".into(),
            issuer: raw.issuer.clone(),
            audience: vec![raw.client_id.clone()],
            audience_claim: ClaimPath::named("aud"),
            jwks_url: None,
            algorithms,
            token_types: vec!["jwt".into()],
            mapping: mapping?,
            leeway_seconds,
            cooldown: KEYS_COOLDOWN,
            max_stale: KEYS_MAX_STALE,
        })
    }

    fn login_client(&mut self, raw: &RawLogin) -> Option<Client> {
        let Some(text) = &raw.client_secret else { return Some(Client::Public) };
        let secret = self.live("identity.login.client_secret", text, |secret| Ok(secret.clone()))?;
        Some(match raw.client_auth {
            ClientAuth::Basic => Client::Basic(secret),
            ClientAuth::Post => Client::Post(secret),
        })
    }

    /// Cookies that only HTTPS protects must not travel without it, except within this machine.
    fn login_public_url(&mut self, server: &Server) -> Option<Url> {
        let Some(url) = &server.public_url else {
            self.problem(
                "server.public_url",
                "identity.login needs it: the issuer sends browsers back to public_url + \"/auth/callback\"",
            );
            return None;
        };
        let on_this_machine = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        };
        if url.scheme() != "https" && (self.environment == Environment::Prod || !on_this_machine) {
            self.problem(
                "server.public_url",
                "identity.login needs https; outside prod, http is accepted on localhost and 127.0.0.1",
            );
        }
        Some(url.clone())
    }

    fn cookie_keys(&mut self, references: &[String]) -> Option<Vec<Secret>> {
        let key = "identity.login.cookie_keys";
        if references.is_empty() {
            self.problem(
                key,
                "name at least one key, for example [\"env://EPHEMINT_COOKIE_KEY\"], made by `openssl rand -hex 32`",
            );
        }
        if references.len() > MOST_COOKIE_KEYS {
            self.problem(
                key,
                format!("name at most {MOST_COOKIE_KEYS} keys; one for new cookies, the others until old cookies are gone"),
            );
        }
        let mut named = BTreeSet::new();
        let mut keys = Vec::new();
        for (i, text) in references.iter().enumerate() {
            let key = format!("{key}[{i}]");
            if !named.insert(text) {
                self.problem(&*key, "the same key is named twice");
            }
            keys.push(self.secret_of(MIN_COOKIE_KEY, &key, text));
        }
        keys.into_iter().collect()
    }

    /// RFC 6749, section 3.3.
    fn scope(&mut self, scopes: &[String]) -> String {
        let valid = |scope: &str| !scope.is_empty() && scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
        for (i, _) in scopes.iter().enumerate().filter(|(_, scope)| !valid(scope)) {
            self.problem(format!("identity.login.scopes[{i}]"), "write one scope, without spaces and quotes");
        }
        let others = scopes.iter().map(String::as_str).filter(|scope| *scope != "openid");
        std::iter::once("openid").chain(others).collect::<Vec<_>>().join(" ")
    }
}
