//! Secrets that are replaced while the process runs, when their sources are.

use crate::domain::secret::Secret;
use crate::domain::secret_ref::SecretRef;

/// Puts a new value in use, or says why it cannot be one.
type Replace = Box<dyn Fn(&Secret) -> Result<(), String> + Send + Sync>;

/// A secret that is followed.
pub(crate) struct Followed {
    /// Of the configuration.
    pub(crate) key: String,
    pub(crate) reference: SecretRef,
    pub(crate) replace: Replace,
}
