//! The configuration file of the service under test, changed key by key.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::canary::secrets;
use super::introspector::{self, Introspector};
use super::issuer::Issuer;
use super::redis::RedisServer;
use super::sign_in::{CLIENT_ID, PUBLIC_URL};
use super::store;
use super::upstream::Upstream;

/// A configuration in the making: tables of TOML values, plus the environment of the process.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    tables: BTreeMap<String, BTreeMap<String, String>>,
    appended: String,
    environment: BTreeMap<String, String>,
    shell: Option<String>,
    /// What the keys of a shared store begin with.
    key_prefix: String,
}

impl Config {
    /// One issuer, one upstream, the profile `default` with generous limits.
    pub(crate) fn new(issuer: &Issuer, upstream: &Upstream) -> Self {
        Self::bare()
            .issuer("main", &issuer.url())
            .set("upstreams.openai.base_url", &format!("{:?}", upstream.base_url()))
            .set("upstreams.openai.kind", r#""openai""#)
            .set("upstreams.openai.organization", r#""org-test""#)
            .set("upstreams.openai.project", r#""proj_test""#)
            .keys(&["TEST_OPENAI_KEY"])
            .profile("default")
            .set("profiles.default.client_may_set", r#"["/audio/output/voice"]"#)
    }

    /// Listeners and secrets; no identity, upstream or profile.
    pub(crate) fn bare() -> Self {
        Self {
            tables: BTreeMap::new(),
            appended: String::new(),
            environment: BTreeMap::new(),
            shell: None,
            key_prefix: store::prefix(),
        }
        .env("TEST_OPENAI_KEY", secrets::PRIMARY_KEY)
        .env("TEST_OPENAI_KEY_FALLBACK", secrets::FALLBACK_KEY)
        .env("TEST_ADMIN_TOKEN", secrets::ADMIN_TOKEN)
        .env("TEST_PSEUDONYM_KEY", secrets::PSEUDONYM_KEY)
        .env("TEST_INTROSPECTION_SECRET", secrets::INTROSPECTION_SECRET)
        .env("TEST_REDIS_URL", store::url())
        .set("environment", r#""dev""#)
        .set("server.listen", r#""127.0.0.1:0""#)
        .set("server.workers", "2")
        .set("server.allowed_origins", r#"["https://app.example.com", "https://second.example.com:8443"]"#)
        .set("admin.listen", r#""127.0.0.1:0""#)
        .set("admin.token", r#""env://TEST_ADMIN_TOKEN""#)
        .set("privacy.pseudonym_key", r#""env://TEST_PSEUDONYM_KEY""#)
        .set("telemetry.log", r#""debug""#)
    }

    /// Sets the value at `path` (the last name is the key, the names before it the table) to a TOML value.
    pub(crate) fn set(mut self, path: &str, value: &str) -> Self {
        let (table, key) = path.rsplit_once('.').unwrap_or(("", path));
        self.tables.entry(table.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds members to the inline table at `path`.
    pub(crate) fn amend(self, path: &str, members: &str) -> Self {
        self.replace(path, " }", &format!(", {members} }}"))
    }

    /// Replaces text in the value at `path`.
    pub(crate) fn replace(mut self, path: &str, from: &str, to: &str) -> Self {
        let (table, key) = path.rsplit_once('.').unwrap_or(("", path));
        let value = self.tables.get_mut(table).and_then(|table| table.get_mut(key)).expect("a value");
        *value = value.replace(from, to);
        self
    }

    /// Removes the value at `path`.
    pub(crate) fn unset(mut self, path: &str) -> Self {
        let (table, key) = path.rsplit_once('.').unwrap_or(("", path));
        if let Some(table) = self.tables.get_mut(table) {
            table.remove(key);
        }
        self
    }

    /// Removes a table and every table below it.
    pub(crate) fn without(mut self, table: &str) -> Self {
        let below = format!("{table}.");
        self.tables.retain(|name, _| name != table && !name.starts_with(&below));
        self
    }

    /// TOML that is written after everything else.
    pub(crate) fn append(mut self, toml: &str) -> Self {
        self.appended.push_str(toml);
        self.appended.push('\n');
        self
    }

    /// An environment variable of the service's process.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The process does not have this variable.
    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// Shell commands that the service's process runs before it becomes the service, for example `ulimit -n 64`.
    pub(crate) fn shell(mut self, commands: &str) -> Self {
        self.shell = Some(commands.to_owned());
        self
    }

    /// An issuer whose keys are found by discovery.
    pub(crate) fn issuer(self, name: &str, url: &str) -> Self {
        let table = format!("identity.jwt.{name}");
        self.set(&format!("{table}.issuer"), &format!("{url:?}"))
            .set(&format!("{table}.audience"), r#"["voice"]"#)
            .set(&format!("{table}.algorithms"), r#"["RS256", "ES256", "EdDSA"]"#)
    }

    /// A server that is asked about opaque tokens.
    pub(crate) fn introspection(self, name: &str, server: &Introspector) -> Self {
        let table = format!("identity.introspection.{name}");
        self.set(&format!("{table}.endpoint"), &format!("{:?}", server.url()))
            .set(&format!("{table}.client_id"), &format!("{:?}", introspector::CLIENT_ID))
            .set(&format!("{table}.client_secret"), r#""env://TEST_INTROSPECTION_SECRET""#)
            .set(&format!("{table}.audience"), r#"["voice"]"#)
    }

    /// Browser sign-in at an issuer, over https as browsers believe.
    pub(crate) fn login(self, issuer: &Issuer) -> Self {
        self.login_at(&issuer.url())
    }

    /// The same at the issuer of this URL.
    pub(crate) fn login_at(self, url: &str) -> Self {
        self.env("TEST_LOGIN_SECRET", secrets::LOGIN_SECRET)
            .env("TEST_COOKIE_KEY", secrets::COOKIE_KEY)
            .set("server.public_url", &format!("{PUBLIC_URL:?}"))
            .set("identity.login.issuer", &format!("{url:?}"))
            .set("identity.login.client_id", &format!("{CLIENT_ID:?}"))
            .set("identity.login.client_secret", r#""env://TEST_LOGIN_SECRET""#)
            .set("identity.login.cookie_keys", r#"["env://TEST_COOKIE_KEY"]"#)
    }

    /// With OpenAI's webhook.
    pub(crate) fn webhook(self) -> Self {
        self.env("TEST_WEBHOOK_SECRET", &format!("whsec_{}", secrets::WEBHOOK_SECRET))
            .env("TEST_FORMER_WEBHOOK_SECRET", &format!("whsec_{}", secrets::FORMER_WEBHOOK_SECRET))
            .set("webhooks.openai.secret", r#""env://TEST_WEBHOOK_SECRET""#)
    }

    /// With a store at this Redis.
    pub(crate) fn redis(self, server: &RedisServer) -> Self {
        self.env("TEST_STORE_URL", &server.url()).set("store.kind", r#""redis""#).set("store.url", r#""env://TEST_STORE_URL""#)
    }

    /// The permanent keys of the upstream, by environment variable.
    pub(crate) fn keys(self, variables: &[&str]) -> Self {
        let references: Vec<_> = variables.iter().map(|it| format!("env://{it}")).collect();
        self.set("upstreams.openai.credential", &format!(r#"{{ kind = "api_key", keys = {references:?} }}"#))
    }

    /// A realtime profile with instructions, a tool, a voice and generous limits.
    pub(crate) fn profile(self, name: &str) -> Self {
        let profile = format!("profiles.{name}");
        let session = format!("{profile}.session");
        self.set(&format!("{profile}.upstream"), r#""openai""#)
            .set(&format!("{profile}.api"), r#""realtime""#)
            .set(&format!("{profile}.ttl_seconds"), "120")
            .set(&format!("{profile}.max_ttl_seconds"), "600")
            .set(&format!("{profile}.limits.mints_per_minute"), "1000000")
            .set(&format!("{profile}.limits.concurrent_calls"), "1000000")
            .set(&format!("{session}.type"), r#""realtime""#)
            .set(&format!("{session}.model"), r#""gpt-realtime-2.1""#)
            .set(&format!("{session}.instructions"), &format!("{:?}", secrets::INSTRUCTIONS))
            .set(&format!("{session}.output_modalities"), r#"["audio"]"#)
            .set(
                &format!("{session}.tools"),
                &format!(r#"[{{ type = "function", name = "{}", parameters = {{ type = "object" }} }}]"#, secrets::TOOL),
            )
            .set(&format!("{session}.audio.output.voice"), r#""marin""#)
    }

    /// A profile of another API with this session; generous limits.
    pub(crate) fn other_profile(self, name: &str, api: &str, session: &str) -> Self {
        let profile = format!("profiles.{name}");
        self.set(&format!("{profile}.upstream"), r#""openai""#)
            .set(&format!("{profile}.api"), &format!("{api:?}"))
            .set(&format!("{profile}.session"), session)
            .set(&format!("{profile}.limits.mints_per_minute"), "1000000")
            .set(&format!("{profile}.limits.concurrent_calls"), "1000000")
    }

    /// A limit of the profile `default`.
    pub(crate) fn limit(self, name: &str, value: u32) -> Self {
        self.set(&format!("profiles.default.limits.{name}"), &value.to_string())
    }

    /// The file's text; the audit goes to a file in `directory` unless the test named other sinks.
    pub(crate) fn toml(&self, directory: &Path) -> String {
        let mut config = self.clone();
        let sinks_are_set = config.tables.get("audit").is_some_and(|audit| audit.contains_key("sinks"));
        if !sinks_are_set {
            let sink = format!("file://{}", directory.join("audit.jsonl").display());
            config = config.set("audit.sinks", &format!("[{sink:?}]"));
        }
        if !config.tables.contains_key("store") {
            for (key, value) in store::settings(directory, &config.key_prefix) {
                config = config.set(key, &value);
            }
        }
        let mut toml = String::new();
        for (table, values) in &config.tables {
            if !table.is_empty() {
                let _ = writeln!(toml, "[{table}]");
            }
            for (key, value) in values {
                let _ = writeln!(toml, "{key} = {value}");
            }
        }
        toml + &config.appended
    }

    pub(crate) fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    pub(super) fn shell_commands(&self) -> Option<&str> {
        self.shell.as_deref()
    }
}
