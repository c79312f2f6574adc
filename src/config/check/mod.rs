//! From what is written to what can be run. Every problem is found in one pass.

mod azure;
mod identity;
mod limits;
mod profile;
mod proxies;
mod route;
mod secrets;
mod store;
mod upstream;
mod webhooks;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use url::Url;

use super::problem::Problem;
use super::raw::{RawAdmin, RawAudit, RawConfig, RawServer};
use super::secrets::Secrets;
use super::{Admin, Audit, Config, DEFAULT_PROFILE, Demo, Environment, Followed, NamedSecret, Server, SignIn, Sink, Telemetry};
use crate::domain::live::Live;
use crate::domain::secret::{Secret, Sha256};
use crate::domain::secret_ref::SecretRef;
use crate::domain::ttl::Ttl;

pub(crate) use upstream::{is_legacy_key, malformed_key};

/// Reads the secret that a reference names. The error is a cause for the operator and holds nothing of the secret.
pub(crate) type ReadSecret<'a> = &'a dyn Fn(&SecretRef) -> Result<Secret, String>;

/// What only later stages know.
#[derive(Clone, Copy)]
pub(crate) struct Tries<'a> {
    /// Whether entries can be written to a file.
    pub(crate) sink: &'a dyn Fn(&Path) -> std::io::Result<()>,
    /// Whether a URL names a Redis, and then whether what is sent there could be read on its way. The error says nothing of the URL.
    pub(crate) redis: &'a dyn Fn(&Secret) -> Result<bool, String>,
}

const MIN_SECRET: usize = 16;

/// Checks everything. `Err` holds all problems.
pub(crate) fn check(raw: &RawConfig, read_secret: ReadSecret<'_>, tries: Tries<'_>) -> Result<Config, Vec<Problem>> {
    let mut check = Check { environment: raw.environment, read_secret, tries, problems: Vec::new(), followed: Vec::new() };
    let config = check.config(raw);
    match config {
        Some(config) if check.problems.is_empty() => Ok(config),
        _ => Err(check.problems),
    }
}

/// The secret managers alone: they are asked before anything that needs a secret can be checked.
pub(crate) fn secrets(raw: &RawConfig) -> Option<Secrets> {
    let nothing = |_: &SecretRef| Err(String::new());
    let tries = Tries { sink: &|_| Ok(()), redis: &|_| Ok(false) };
    let (problems, followed) = (Vec::new(), Vec::new());
    let mut check = Check { environment: raw.environment, read_secret: &nothing, tries, problems, followed };
    check.secrets(&raw.secrets).filter(|_| check.problems.is_empty())
}

struct Check<'a> {
    environment: Environment,
    read_secret: ReadSecret<'a>,
    tries: Tries<'a>,
    problems: Vec<Problem>,
    followed: Vec<Followed>,
}

impl Check<'_> {
    fn config(&mut self, raw: &RawConfig) -> Option<Config> {
        let server = self.server(&raw.server);
        let admin = self.admin(&raw.admin);
        let pseudonym_key = raw.privacy.pseudonym_key.as_ref().and_then(|text| self.long_secret("privacy.pseudonym_key", text));
        if raw.privacy.pseudonym_key.is_none() && self.environment == Environment::Prod {
            self.problem(
                "privacy.pseudonym_key",
                "prod needs a key that turns users into pseudonyms, for example pseudonym_key = \"env://EPHEMINT_PSEUDONYM_KEY\"",
            );
        }
        let mut identity = self.identity(&raw.identity, &raw.profiles, server.as_ref());
        let upstreams = self.upstreams(&raw.upstreams);
        let is_on_behalf = upstreams.values().any(|upstream| upstream.is_on_behalf());
        match &mut identity.login {
            Some(login) => login.keeps_access_tokens = is_on_behalf,
            None if is_on_behalf && identity.jwt.is_empty() => {
                self.problem(
                    "identity",
                    "nobody has an access token to trade (on_behalf_of); add identity.jwt or identity.login at Entra ID",
                );
            }
            None => {}
        }
        let profiles = self.profiles(&raw.profiles, &raw.upstreams, &upstreams);
        let ceilings = self.ceilings(&raw.limits);
        let webhook = raw.webhooks.openai.as_ref().and_then(|raw| self.openai_webhook(raw));
        let store = self.store(&raw.store);
        // They were asked already; what is wrong with them is said here.
        let managers = self.secrets(&raw.secrets);
        let audit = self.audit(&raw.audit);
        if !is_log_filter(&raw.telemetry.log) {
            self.problem(
                "telemetry.log",
                "write error, warn, info, debug, trace or a filter such as \"info,ephemint::provider=debug\"",
            );
        }
        let telemetry = Telemetry { log: raw.telemetry.log.clone(), format: raw.telemetry.log_format };
        let demo = self.demo(raw, server.as_ref());
        managers?;
        Some(Config {
            server: server?,
            admin: admin?,
            pseudonym_key,
            identity,
            upstreams,
            profiles,
            ceilings,
            webhook,
            store: store?,
            followed: std::mem::take(&mut self.followed),
            audit,
            telemetry,
            demo,
        })
    }

    fn demo(&mut self, raw: &RawConfig, server: Option<&Server>) -> Option<Demo> {
        for (i, name) in raw.demo.profiles.iter().enumerate().filter(|(_, name)| !raw.profiles.contains_key(*name)) {
            self.problem(format!("demo.profiles[{i}]"), format!("there is no profile \"{name}\""));
        }
        if raw.demo.enabled && server.is_some_and(|server| !server.listen.ip().is_loopback() && server.allowed_origins.is_empty())
        {
            self.problem(
                "demo.enabled",
                "the page may only call from an origin that is known: set server.public_url to where browsers reach the service",
            );
        }
        let profiles = match (raw.demo.profiles.as_slice(), raw.profiles.contains_key(DEFAULT_PROFILE)) {
            ([], true) => vec![DEFAULT_PROFILE.to_owned()],
            ([], false) => raw.profiles.keys().cloned().collect(),
            (named, _) => named.to_vec(),
        };
        let sign_in = if raw.identity.login.is_some() { SignIn::Login } else { SignIn::Token };
        raw.demo.enabled.then_some(Demo { profiles, sign_in })
    }

    fn server(&mut self, raw: &RawServer) -> Option<Server> {
        let listen = self.address("server.listen", &raw.listen);
        let public_url = raw.public_url.as_ref().and_then(|text| self.url("server.public_url", text));
        let mut allowed_origins: Vec<String> = public_url.iter().map(|url| url.origin().ascii_serialization()).collect();
        for (i, origin) in raw.allowed_origins.iter().enumerate() {
            match exact_origin(origin) {
                Ok(()) => allowed_origins.push(origin.clone()),
                Err(cause) => self.problem(format!("server.allowed_origins[{i}]"), cause),
            }
        }
        let default_drain = if self.environment == Environment::Dev { 0 } else { 5 };
        Some(Server {
            listen: listen?,
            public_url,
            allowed_origins,
            trusted_proxies: self.trusted_proxies(&raw.trusted_proxies),
            forwarded_header: raw.forwarded_header,
            max_in_flight: usize::try_from(self.range("server.max_in_flight", raw.max_in_flight, 1, 100_000)).ok()?,
            workers: usize::try_from(self.range("server.workers", raw.workers, 0, 256)).ok()?,
            drain: Duration::from_secs(self.range("server.drain_seconds", raw.drain_seconds.unwrap_or(default_drain), 0, 300)),
            grace: Duration::from_secs(self.range("server.shutdown_grace_seconds", raw.shutdown_grace_seconds, 1, 600)),
        })
    }

    fn admin(&mut self, raw: &RawAdmin) -> Option<Admin> {
        let listen = self.address("admin.listen", &raw.listen);
        let digest = |token: &Secret| long_enough(token, MIN_SECRET).map(|()| Sha256::of(token.reveal().as_bytes()));
        let token = raw.token.as_ref().and_then(|text| self.live("admin.token", text, digest));
        let beyond_loopback = listen.is_some_and(|listen| !listen.ip().is_loopback());
        if beyond_loopback && raw.token.is_none() && self.environment == Environment::Prod {
            self.problem("admin.token", "an admin listener beyond loopback needs a token in prod, for example token = \"file:///run/secrets/ephemint/admin-token\"");
        }
        Some(Admin { listen: listen?, token, open_metrics: raw.open_metrics })
    }

    fn audit(&mut self, raw: &RawAudit) -> Audit {
        if raw.sinks.is_empty() && raw.required {
            self.problem(
                "audit.sinks",
                "entries are required but go nowhere; add \"stdout\" or \"file:///path\", or set audit.required = false",
            );
        }
        let mut sinks = Vec::new();
        for (i, text) in raw.sinks.iter().enumerate() {
            match (text.as_str(), text.strip_prefix("file://")) {
                ("stdout", _) => sinks.push(Sink::Stdout),
                (_, Some(path)) if path.len() > 1 && path.starts_with('/') => {
                    let path = PathBuf::from(path);
                    if let Err(cause) = (self.tries.sink)(&path) {
                        self.problem(
                            format!("audit.sinks[{i}]"),
                            format!(
                                "{} cannot be opened: {cause}; its folder must exist and the service's user must be able to write there",
                                path.display()
                            ),
                        );
                    }
                    sinks.push(Sink::File(path));
                }
                _ => self.problem(format!("audit.sinks[{i}]"), "write \"stdout\" or \"file:///absolute/path\""),
            }
        }
        Audit { sinks, required: raw.required, identify_users: raw.identify_users }
    }

    fn problem(&mut self, key: impl Into<String>, cause: impl Into<String>) {
        self.problems.push(Problem::new(key, cause));
    }

    fn range(&mut self, key: &str, value: u64, least: u64, most: u64) -> u64 {
        if !(least..=most).contains(&value) {
            self.problem(key, format!("must be from {least} to {most}"));
        }
        value
    }

    fn ttl(&mut self, key: &str, seconds: u64) -> Option<Ttl> {
        let ttl = Ttl::from_seconds(seconds);
        if ttl.is_none() {
            self.problem(key, format!("must be from {} to {}", Ttl::MIN, Ttl::MAX));
        }
        ttl
    }

    fn name(&mut self, key: &str, name: &str) {
        let valid = (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        if !valid {
            self.problem(key, "a name has 1 to 64 letters, digits, '_', '-' or '.'");
        }
    }

    fn address(&mut self, key: &str, text: &str) -> Option<SocketAddr> {
        let address = text.parse().ok();
        if address.is_none() {
            self.problem(key, "must be an IP address and a port, for example \"0.0.0.0:8080\" or \"[::]:8080\"");
        }
        address
    }

    fn url(&mut self, key: &str, text: &str) -> Option<Url> {
        let url = self.any_url(key, text)?;
        if url.scheme() == "http" && self.environment == Environment::Prod && key != "server.public_url" {
            self.problem(key, "plain http is refused in prod; use https (or environment = \"dev\" on your own machine)");
            return None;
        }
        Some(url)
    }

    fn any_url(&mut self, key: &str, text: &str) -> Option<Url> {
        let Ok(url) = Url::parse(text) else {
            self.problem(key, "must be a URL, for example \"https://login.example.com/\"");
            return None;
        };
        let has_user = !url.username().is_empty() || url.password().is_some();
        let cause = match url.scheme() {
            "https" | "http" if url.host().is_none() => Some("has no host"),
            "https" | "http" if has_user => Some("must not hold a user name or password"),
            "https" | "http" if url.query().is_some() || url.fragment().is_some() => Some("must not have a query or a fragment"),
            "https" | "http" => None,
            _ => Some("must begin with https://"),
        };
        match cause {
            None => Some(url),
            Some(cause) => {
                self.problem(key, cause);
                None
            }
        }
    }

    pub(super) fn secret(&mut self, key: &str, text: &str) -> Option<NamedSecret> {
        let reference = SecretRef::parse(text).map_err(|cause| self.problem(key, cause)).ok()?;
        let secret = (self.read_secret)(&reference).map_err(|cause| self.problem(key, format!("{reference}: {cause}"))).ok()?;
        Some(NamedSecret { reference, secret })
    }

    fn long_secret(&mut self, key: &str, text: &str) -> Option<Secret> {
        self.secret_of(MIN_SECRET, key, text)
    }

    /// A secret of at least `least` characters.
    fn secret_of(&mut self, least: usize, key: &str, text: &str) -> Option<Secret> {
        let named = self.secret(key, text)?;
        if let Err(cause) = long_enough(&named.secret, least) {
            self.problem(key, format!("{}: {cause}", named.reference));
        }
        Some(named.secret)
    }

    /// What is made of a secret, made anew whenever that is replaced.
    fn live<T: Send + Sync + 'static>(
        &mut self,
        key: &str,
        text: &str,
        make: impl Fn(&Secret) -> Result<T, String> + Send + Sync + 'static,
    ) -> Option<Live<T>> {
        let NamedSecret { reference, secret } = self.secret(key, text)?;
        match make(&secret) {
            Ok(value) => {
                let live = Live::new(value);
                let same = live.clone();
                let replace = Box::new(move |secret: &Secret| make(secret).map(|value| same.set(value)));
                self.followed.push(Followed { key: key.to_owned(), reference, replace });
                Some(live)
            }
            Err(cause) => {
                self.problem(key, format!("{reference}: {cause}"));
                None
            }
        }
    }
}

fn long_enough(secret: &Secret, least: usize) -> Result<(), String> {
    let is_long = secret.reveal().len() >= least;
    let cause = || format!("must have at least {least} characters, for example from `openssl rand -hex 32`");
    if is_long { Ok(()) } else { Err(cause()) }
}

/// A lone word that is no level would be taken for the name of a module, and silence everything else.
fn is_log_filter(text: &str) -> bool {
    let level =
        |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word.trim().to_ascii_lowercase().as_str());
    text.split(',').all(|part| level(part) || part.contains('=')) && text.parse::<EnvFilter>().is_ok()
}

/// Checks that a text is one web origin, as browsers send it.
pub(crate) fn exact_origin(text: &str) -> Result<(), String> {
    if text.contains('*') || text == "null" {
        return Err(
            "origins are exact: a wildcard or \"null\" would let pages that are not yours use your users' sign-in; list each one"
                .into(),
        );
    }
    let url = Url::parse(text).map_err(|_| "must be an origin, for example \"https://app.example.com\"".to_owned())?;
    let origin = url.origin();
    if !matches!(url.scheme(), "http" | "https") || !origin.is_tuple() {
        return Err("must be an http(s) origin, for example \"https://app.example.com\"".into());
    }
    let exact = origin.ascii_serialization();
    if exact == text { Ok(()) } else { Err(format!("write it as browsers send it: \"{exact}\"")) }
}

#[cfg(test)]
mod tests {
    use super::exact_origin;

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        for good in ["https://app.example.com", "http://localhost:5173", "https://xn--bcher-kva.example"] {
            assert!(exact_origin(good).is_ok(), "{good}");
        }
        for bad in [
            "*",
            "null",
            "https://app.example.com/",
            "https://app.example.com:443",
            "HTTPS://app.example.com",
            "app.example.com",
            "https://*.example.com/x",
            "ftp://a.example",
            "capacitor://localhost",
            "",
        ] {
            assert!(exact_origin(bad).is_err(), "{bad}");
        }
    }
}
