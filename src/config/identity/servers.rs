//! Opaque tokens and servers' keys, checked.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::ClaimMapping;
use crate::config::raw::ClientAuth;
use crate::domain::live::Live;
use crate::domain::secret::{Secret, Sha256};

/// A server that is asked about opaque tokens.
pub(crate) struct Introspection {
    pub(crate) name: String,
    pub(crate) endpoint: Url,
    pub(crate) client_id: String,
    pub(crate) client_secret: Live<Secret>,
    pub(crate) client_auth: ClientAuth,
    /// Who vouches for the users.
    pub(crate) issuer: String,
    /// Whether an answer that names another issuer is refused.
    pub(crate) is_issuer_strict: bool,
    /// Empty: none is asked for.
    pub(crate) audience: Vec<String>,
    /// Empty: any token.
    pub(crate) token_prefix: String,
    pub(crate) remember_good: Duration,
    pub(crate) remember_bad: Duration,
    pub(crate) timeout: Duration,
    pub(crate) mapping: ClaimMapping,
}

/// One server's keys, and what they open.
pub(crate) struct ApiKeys {
    pub(crate) name: String,
    pub(crate) owner: String,
    /// Empty: none.
    pub(crate) tenant: String,
    pub(crate) groups: Vec<String>,
    /// `None`: whatever profiles themselves allow.
    pub(crate) profiles: Option<Arc<[String]>>,
    pub(crate) may_act_for_users: bool,
    pub(crate) keys: Vec<ApiKey>,
}

pub(crate) struct ApiKey {
    pub(crate) id: String,
    pub(crate) digest: Sha256,
    /// Seconds since 1970.
    pub(crate) expires: Option<u64>,
}
