//! Configuration: raw (as written) -> load (file < environment) -> check (every problem at once) -> [`Config`].

pub(crate) mod check;
mod follow;
mod identity;
mod literal;
pub(crate) mod load;
mod login;
pub(crate) mod problem;
pub(crate) mod raw;
pub(crate) mod secrets;
mod upstream;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use serde_json::Value;
use url::Url;

use crate::domain::live::Live;
use crate::domain::network::Network;
use crate::domain::secret::{Secret, Sha256};
use crate::domain::secret_ref::SecretRef;
use crate::domain::ttl::Ttl;
use check::{ReadSecret, Tries};
pub(crate) use follow::Followed;
pub(crate) use identity::{
    Algorithm, ApiKey, ApiKeys, ClaimMapping, ClaimPath, ClaimRule, Dpop, Guest, Identity, Introspection, Jwt, PerAddress, Proof,
};
use load::Loaded;
pub(crate) use login::{Client, Login};
pub(crate) use problem::{Problem, Problems};
pub(crate) use raw::{Api, ClientAuth, Environment, ForwardedHeader, IdentifyUsers, LogFormat, Verify};
use secrets::Secrets;
pub(crate) use upstream::{Credential, Dialect, EntraToken, FirstKey, Keys, NamedSecret, Route, Subject, Upstream, Workload};

/// Checks what was loaded, reads its secrets with `read_secret` and tries what later stages make of it. All problems at once.
pub(crate) fn finish(loaded: &Loaded, read_secret: ReadSecret<'_>, tries: Tries<'_>) -> Result<Config, Problems> {
    let mut list = loaded.problems.clone();
    match check::check(&loaded.raw, read_secret, tries) {
        Ok(config) if list.is_empty() => return Ok(config),
        Ok(_) => {}
        // What could not be read was left at its default; a complaint about that default would only repeat the first one.
        Err(found) => {
            let repeats = |problem: &Problem| loaded.problems.iter().any(|known| problem.is_within(&known.key));
            list.extend(found.into_iter().filter(|problem| !repeats(problem)));
        }
    }
    Err(Problems { origins: loaded.origins.clone(), list })
}

/// Everything that names a secret, whether or not it can be read.
pub(crate) fn references(loaded: &Loaded) -> BTreeSet<SecretRef> {
    let seen: RefCell<BTreeSet<SecretRef>> = RefCell::default();
    let see = |reference: &SecretRef| {
        seen.borrow_mut().insert(reference.clone());
        Err(String::new())
    };
    let _ = check::check(&loaded.raw, &see, Tries { sink: &|_| Ok(()), redis: &|_| Ok(false) });
    seen.into_inner()
}

/// How secret managers are reached, if all of that is written as it should be: [`finish`] says what is not.
pub(crate) fn secrets(loaded: &Loaded) -> Option<Secrets> {
    let is_read = !loaded.problems.iter().any(|problem| problem.is_within("secrets"));
    check::secrets(&loaded.raw).filter(|_| is_read)
}

/// A configuration that can be run: every value checked, every secret read.
pub(crate) struct Config {
    pub(crate) server: Server,
    pub(crate) admin: Admin,
    /// Absent outside prod: pseudonyms then change with every start.
    pub(crate) pseudonym_key: Option<Secret>,
    pub(crate) identity: Identity,
    pub(crate) upstreams: BTreeMap<String, Arc<Upstream>>,
    pub(crate) profiles: BTreeMap<String, Profile>,
    pub(crate) ceilings: Ceilings,
    /// Present where `OpenAI`'s webhook is taken.
    pub(crate) webhook: Option<Webhook>,
    pub(crate) store: Store,
    /// Secrets that are replaced while the process runs; permanent keys are among the upstreams.
    pub(crate) followed: Vec<Followed>,
    pub(crate) audit: Audit,
    pub(crate) telemetry: Telemetry,
    /// The web demo, if it is to be served.
    pub(crate) demo: Option<Demo>,
}

/// The profile that a request without `?profile=` asks for.
pub(crate) const DEFAULT_PROFILE: &str = "default";

/// What the web demo offers.
#[derive(Clone, Debug)]
pub(crate) struct Demo {
    pub(crate) profiles: Vec<String>,
    pub(crate) sign_in: SignIn,
}

/// How a user of the web demo signs in.
#[derive(Clone, Debug)]
pub(crate) enum SignIn {
    /// With an access token of their own.
    Token,
    /// At the OpenID provider of `identity.login`.
    Login,
    /// As whoever they like: `ephemint dev` alone has this.
    Development { users: Vec<String>, scenarios: Vec<String> },
}

pub(crate) struct Server {
    pub(crate) listen: SocketAddr,
    pub(crate) public_url: Option<Url>,
    /// As browsers send them; `public_url`'s own origin is among them.
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) forwarded_header: ForwardedHeader,
    pub(crate) max_in_flight: usize,
    pub(crate) workers: usize,
    pub(crate) drain: Duration,
    pub(crate) grace: Duration,
}

pub(crate) struct Admin {
    pub(crate) listen: SocketAddr,
    /// SHA-256 of the token.
    pub(crate) token: Option<Live<Sha256>>,
    pub(crate) open_metrics: bool,
}

pub(crate) struct Profile {
    /// In the order in which they are tried; at least one.
    pub(crate) routes: Vec<Route>,
    pub(crate) api: Api,
    pub(crate) ttl: Ttl,
    pub(crate) max_ttl: Ttl,
    pub(crate) allow_groups: Vec<String>,
    pub(crate) allow_claims: Vec<ClaimRule>,
    pub(crate) client_may_set: Vec<MaySet>,
    pub(crate) limits: Limits,
    /// Of all users of the profile together.
    pub(crate) total_limits: Option<Limits>,
}

/// A place in the session that the client may write.
pub(crate) struct MaySet {
    /// Reference tokens of the JSON pointer, unescaped; at least one.
    pub(crate) path: Vec<String>,
    /// Absent: any value.
    pub(crate) one_of: Option<Vec<Value>>,
}

/// How much at most.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) mints_per_minute: Option<u64>,
    pub(crate) concurrent_calls: Option<u64>,
    pub(crate) monthly_mints: Option<u64>,
}

/// Limits across profiles. Absent: nothing is counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ceilings {
    pub(crate) per_user: Option<Limits>,
    pub(crate) per_tenant: Option<Limits>,
    pub(crate) per_address: Option<Limits>,
    pub(crate) global: Option<Limits>,
}

/// The webhook that `OpenAI` calls.
pub(crate) struct Webhook {
    /// What its deliveries are signed with: one key, or two while it is rotated.
    pub(crate) keys: Vec<Live<hmac::Key>>,
    /// Seconds for which it blocks a user. Absent: until the block is lifted.
    pub(crate) block_seconds: Option<u64>,
}

/// Where counts, sessions and blocks are kept.
pub(crate) enum Store {
    /// `is_meant`: nobody expects more.
    Memory {
        is_meant: bool,
    },
    File(PathBuf),
    Redis(RedisStore),
}

pub(crate) struct RedisStore {
    pub(crate) url: Secret,
    pub(crate) key_prefix: String,
    pub(crate) timeout: Duration,
    /// With `on_outage = "local"`: how many replicas share the limits.
    pub(crate) alone_among: Option<u64>,
}

pub(crate) struct Audit {
    pub(crate) sinks: Vec<Sink>,
    pub(crate) required: bool,
    pub(crate) identify_users: IdentifyUsers,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sink {
    Stdout,
    File(PathBuf),
}

pub(crate) struct Telemetry {
    pub(crate) log: String,
    pub(crate) format: LogFormat,
}
