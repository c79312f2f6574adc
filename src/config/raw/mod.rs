//! The configuration as it is written: every key, its default, its meaning. Nothing here is checked yet.

mod identity;
mod limits;
mod login;
mod secrets;
mod store;
mod upstream;
mod webhooks;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use identity::{
    ClientAuth, ProofKind, RawApiKey, RawApiKeys, RawClaims, RawDpop, RawGuest, RawIdentity, RawIntrospection, RawJwt,
    RawMapping, RawPerAddress, RawProof,
};
pub(crate) use limits::{DEFAULT_RATE, RawCeiling, RawCeilings, RawLimits};
pub(crate) use login::RawLogin;
pub(crate) use secrets::{EntraKind, RawAws, RawAzure, RawEntra, RawSecrets, RawVault, RawVaultAuth, VaultAuthKind};
pub(crate) use store::{OnOutage, RawStore, StoreKind};
pub(crate) use upstream::{CredentialKind, RawCredential, RawSubject, RawUpstream, RotateOn, SubjectKind, UpstreamKind, Verify};
pub(crate) use webhooks::{RawOpenaiWebhook, RawWebhooks};

/// How careful the checks of the configuration are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Environment {
    /// A developer's machine: plain HTTP is accepted, drain is immediate.
    Dev,
    /// Like production, but plain HTTP is accepted.
    Staging,
    /// Refuses plain-HTTP upstreams and issuers, a missing pseudonym key, an open admin listener.
    #[default]
    Prod,
}

/// The whole file.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawConfig {
    /// dev, staging or prod.
    pub(crate) environment: Environment,
    /// The public listener.
    pub(crate) server: RawServer,
    /// The operators' listener.
    pub(crate) admin: RawAdmin,
    /// How users are named to others.
    pub(crate) privacy: RawPrivacy,
    /// Who may call.
    pub(crate) identity: RawIdentity,
    /// Where client secrets come from, by name.
    pub(crate) upstreams: BTreeMap<String, RawUpstream>,
    /// What a session may be, by name.
    pub(crate) profiles: BTreeMap<String, RawProfile>,
    /// Limits across all profiles.
    pub(crate) limits: RawCeilings,
    /// Whose events are taken.
    pub(crate) webhooks: RawWebhooks,
    /// Where counts, sessions and blocks are kept.
    pub(crate) store: RawStore,
    /// Secret managers.
    pub(crate) secrets: RawSecrets,
    /// Where every mint and refusal is written down.
    pub(crate) audit: RawAudit,
    /// Logs.
    pub(crate) telemetry: RawTelemetry,
    /// The web demo.
    pub(crate) demo: RawDemo,
}

/// Where proxies write whom a request comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ForwardedHeader {
    #[default]
    XForwardedFor,
    Forwarded,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawServer {
    /// IP address and port. Port 0 takes a free one and logs it.
    pub(crate) listen: String,
    /// The URL under which browsers reach the service; its origin is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public_url: Option<String>,
    /// Web origins that may call, exactly as browsers send them. Never `*`.
    pub(crate) allowed_origins: Vec<String>,
    /// Addresses and networks of the proxies that may say, in `forwarded_header`, whom a request comes from. Nobody else is believed.
    pub(crate) trusted_proxies: Vec<String>,
    /// The header that they add the client's address to: x-forwarded-for or forwarded (RFC 7239). The other one is never read.
    pub(crate) forwarded_header: ForwardedHeader,
    /// Requests handled at once; more are refused with 503 `overloaded`. 1..=100000.
    pub(crate) max_in_flight: u64,
    /// Worker threads. 0: one per core.
    pub(crate) workers: u64,
    /// Seconds for which requests are still served after SIGTERM, while /readyz is 503. Default 5, in dev 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) drain_seconds: Option<u64>,
    /// Seconds for what is in flight to finish after the listener has closed.
    pub(crate) shutdown_grace_seconds: u64,
}

impl Default for RawServer {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            public_url: None,
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            max_in_flight: 2048,
            workers: 0,
            drain_seconds: None,
            shutdown_grace_seconds: 25,
        }
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawAdmin {
    /// IP address and port.
    pub(crate) listen: String,
    /// Reference to the bearer token, at least 16 characters. Without it every admin request is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// Serves /metrics without the token.
    pub(crate) open_metrics: bool,
}

impl Default for RawAdmin {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9090".into(), token: None, open_metrics: false }
    }
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawPrivacy {
    /// Reference to the HMAC key that turns users into pseudonyms, at least 16 characters. Required in prod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pseudonym_key: Option<String>,
}

/// Which sessions a profile mints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Api {
    /// Speech to speech: `POST /v1/realtime/client_secrets`, session type `realtime`.
    #[default]
    Realtime,
    /// Speech to text: the same path, session type `transcription`.
    Transcription,
    /// Speech to speech in another language: `POST /v1/realtime/translations/client_secrets`.
    Translation,
}

impl Api {
    /// Where its secrets and calls are, below an upstream's base URL.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Realtime | Self::Transcription => "realtime",
            Self::Translation => "realtime/translations",
        }
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawProfile {
    /// Name of the upstream, or names in the order in which they are tried.
    pub(crate) upstream: OneOrMore,
    /// Which sessions it mints.
    pub(crate) api: Api,
    /// Lifetime of a client secret when the caller asks for none. 60..=600; as at OpenAI, the default is 600, where Azure's preview API is
    /// among the upstreams 60.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl_seconds: Option<u64>,
    /// Longest lifetime a caller may ask for. 60..=600. Default: 600, where Azure's preview API is among the upstreams 60.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_ttl_seconds: Option<u64>,
    /// Who may use it. Default: every authenticated user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allow: Option<RawAllow>,
    /// JSON pointers into `session` that the client may set, optionally to given values only. Such a value replaces the profile's as a
    /// whole.
    pub(crate) client_may_set: Vec<RawMaySet>,
    /// What the session is. Sent upstream as it stands.
    pub(crate) session: Map<String, Value>,
    /// By upstream: what the session is there, laid over `session`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) sessions: BTreeMap<String, Map<String, Value>>,
    /// Azure: few events reach the browser, so that instructions stay unseen, and function calls too. Default: where the session has
    /// instructions or tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) webrtc_filter: Option<bool>,
    /// Limits of each user of this profile.
    pub(crate) limits: RawLimits,
    /// Limits of all users of this profile together.
    pub(crate) total_limits: RawCeiling,
}

impl Default for RawProfile {
    fn default() -> Self {
        Self {
            upstream: OneOrMore::default(),
            api: Api::Realtime,
            ttl_seconds: None,
            max_ttl_seconds: None,
            allow: None,
            client_may_set: Vec::new(),
            session: Map::new(),
            sessions: BTreeMap::new(),
            webrtc_filter: None,
            limits: RawLimits::default(),
            total_limits: RawCeiling::default(),
        }
    }
}

/// A name, or names in an order.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    pub(crate) fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::More(names) => names,
        }
    }
}

impl Default for OneOrMore {
    fn default() -> Self {
        Self::One(String::new())
    }
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawAllow {
    /// One of these groups. Empty: no group is asked for.
    pub(crate) groups: Vec<String>,
    /// All of these claims, each with the value or one of the values.
    pub(crate) claims: BTreeMap<String, Value>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum RawMaySet {
    /// Any value.
    Any(String),
    /// One of the given values.
    OneOf(RawOneOf),
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawOneOf {
    /// JSON pointer into `session`.
    pub(crate) pointer: String,
    /// The values it may have.
    pub(crate) one_of: Vec<Value>,
}

/// How entries name users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IdentifyUsers {
    /// As everywhere else: 64 hex digits that only the pseudonym key ties to a user.
    #[default]
    Pseudonym,
    /// Also as the issuer names them.
    Plain,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawAudit {
    /// `stdout` or `file:///path`. Every entry goes to all of them.
    pub(crate) sinks: Vec<String>,
    /// No entry, no token: a mint that cannot be written down is refused.
    pub(crate) required: bool,
    /// pseudonym, or plain: entries then hold the user's name as the issuer has it, beside the pseudonym. Logs and metrics never do.
    pub(crate) identify_users: IdentifyUsers,
}

impl Default for RawAudit {
    fn default() -> Self {
        Self { sinks: vec!["stdout".into()], required: true, identify_users: IdentifyUsers::Pseudonym }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    #[default]
    Json,
    Pretty,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawTelemetry {
    /// error, warn, info, debug, trace, or a filter such as `info,ephemint::provider=debug`.
    pub(crate) log: String,
    /// json or pretty; on standard error.
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawDemo {
    /// Serves the web demo at `/`.
    pub(crate) enabled: bool,
    /// Profiles that it offers. Default: the profile `default`, or all if there is none of that name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) profiles: Vec<String>,
}

impl Default for RawTelemetry {
    fn default() -> Self {
        Self { log: "info".into(), log_format: LogFormat::Json }
    }
}
