//! Upstreams, checked.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use url::Url;

use super::raw::Verify;
use super::secrets::Entra;
use crate::domain::secret::Secret;
use crate::domain::secret_ref::SecretRef;

pub(crate) struct Upstream {
    pub(crate) name: String,
    pub(crate) dialect: Dialect,
    /// Without a slash at its end.
    pub(crate) base_url: String,
    pub(crate) organization: Option<String>,
    pub(crate) project: Option<String>,
    pub(crate) credential: Credential,
    pub(crate) timeout: Duration,
    pub(crate) max_attempts: u32,
}

/// Which API an upstream speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    OpenAi,
    /// Azure OpenAI, v1: `OpenAI`'s paths and bodies, headers of its own.
    Azure,
    /// Azure OpenAI, preview: `/realtimeapi/sessions`. `session_query` is `?api-version=..`; browsers connect in the region.
    AzurePreview {
        session_query: String,
        region: String,
    },
}

impl Dialect {
    pub(crate) fn is_azure(&self) -> bool {
        !matches!(self, Self::OpenAi)
    }

    pub(crate) fn is_preview(&self) -> bool {
        matches!(self, Self::AzurePreview { .. })
    }
}

/// How Ephemint proves itself to an upstream.
pub(crate) enum Credential {
    Keys(Keys),
    Workload(Box<Workload>),
    /// Access tokens of Entra ID for Ephemint itself.
    Entra(Box<EntraToken>),
    /// Access tokens of Entra ID on behalf of each user.
    OnBehalf(Box<EntraToken>),
}

/// Whose access tokens, and for what.
pub(crate) struct EntraToken {
    pub(crate) identity: Entra,
    pub(crate) scope: String,
}

/// What a profile's sessions are at one upstream.
pub(crate) struct Route {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) session: Map<String, Value>,
    /// Where a browser takes its client secret.
    pub(crate) calls_url: Arc<str>,
}

/// Permanent keys.
pub(crate) struct Keys {
    /// The primary, then fallbacks; at least one.
    pub(crate) keys: Vec<FirstKey>,
    pub(crate) rotate_on_rate_limit: bool,
    pub(crate) verify: Verify,
    /// A key that is older is warned about.
    pub(crate) warn_after: Option<Duration>,
}

/// Its name alone: the rest holds secrets.
impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({})", self.name)
    }
}

impl Upstream {
    /// Whether it is asked on behalf of each user.
    pub(crate) fn is_on_behalf(&self) -> bool {
        matches!(self.credential, Credential::OnBehalf(_))
    }

    /// Its permanent keys.
    pub(crate) fn keys(&self) -> &[FirstKey] {
        match &self.credential {
            Credential::Keys(keys) => &keys.keys,
            Credential::Workload(_) | Credential::Entra(_) | Credential::OnBehalf(_) => &[],
        }
    }
}

/// A permanent key as it is at the start of the process. It is handed over once, so that no copy outlives the key in use.
pub(crate) struct FirstKey {
    pub(crate) reference: SecretRef,
    secret: Mutex<Option<Secret>>,
}

impl FirstKey {
    pub(crate) fn new(named: NamedSecret) -> Self {
        Self { reference: named.reference, secret: Mutex::new(Some(named.secret)) }
    }

    /// What can be seen of it. `None` when it was taken before.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&Secret) -> T) -> Option<T> {
        self.secret.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(at)
    }

    /// `None` when it was taken before.
    pub(crate) fn take(&self) -> Option<Secret> {
        self.secret.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A secret and where it came from.
pub(crate) struct NamedSecret {
    pub(crate) reference: SecretRef,
    pub(crate) secret: Secret,
}

/// An identity of the platform in place of a key (`OpenAI`, workload identity federation).
pub(crate) struct Workload {
    pub(crate) auth_url: Url,
    pub(crate) identity_provider_id: String,
    pub(crate) service_account_id: String,
    pub(crate) subject: Subject,
}

/// What is traded for a short-lived credential.
pub(crate) enum Subject {
    /// A token that somebody keeps fresh.
    Token(SecretRef),
    /// Azure's metadata service.
    Azure { endpoint: Url, audience: String, client_id: Option<String> },
    /// Google's metadata service.
    Google { endpoint: Url, audience: String },
}
