//! Secrets that are not permanent keys: what is new where they come from is put in use.

use std::sync::Arc;

use tokio::sync::watch::Receiver;
use tokio::time::timeout;

use crate::config::Followed;
use crate::secrets::Sources;

/// For as long as the process lives. `reload` changes when somebody wants it looked at once.
pub(super) async fn follow(followed: Followed, sources: Arc<Sources>, mut reload: Receiver<u64>) {
    let Followed { key, reference, replace } = followed;
    let Ok(first) = sources.read(&reference).await else { return };
    // What the configuration was read with cannot be older by much, and is put in use again if it is.
    let mut known = first.secret.fingerprint();
    let _ = replace(&first.secret);
    let mut told = None;
    loop {
        let _ = timeout(sources.interval(&reference), reload.changed()).await;
        let cause = match sources.read(&reference).await {
            Ok(found) if found.secret.fingerprint() == known => None,
            Ok(found) => match sources.settled(&reference, found).await {
                None => continue,
                Some(found) => match replace(&found.secret) {
                    Ok(()) => {
                        known = found.secret.fingerprint();
                        tracing::info!(key, %reference, "a new value is in use");
                        None
                    }
                    Err(cause) => Some(cause),
                },
            },
            Err(unreadable) => Some(unreadable.to_string()),
        };
        if let Some(cause) = cause.as_ref().filter(|cause| told.as_ref() != Some(*cause)) {
            tracing::error!(key, %reference, cause, "a new value is not used; the one before stays");
        }
        told = cause;
    }
}
