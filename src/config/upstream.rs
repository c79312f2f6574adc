//! Upstreams, checked.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use url::Url;

use super::raw::Verify;
use crate::domain::secret::Secret;
use crate::domain::secret_ref::SecretRef;

pub(crate) struct Upstream {
    pub(crate) name: String,
    /// Without a slash at its end.
    pub(crate) base_url: String,
    pub(crate) organization: Option<String>,
    pub(crate) project: Option<String>,
    pub(crate) credential: Credential,
    pub(crate) timeout: Duration,
    pub(crate) max_attempts: u32,
}

/// How Ephemint proves itself to an upstream.
pub(crate) enum Credential {
    Keys(Keys),
    Workload(Box<Workload>),
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

impl Upstream {
    /// Its permanent keys.
    pub(crate) fn keys(&self) -> &[FirstKey] {
        match &self.credential {
            Credential::Keys(keys) => &keys.keys,
            Credential::Workload(_) => &[],
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
