//! Secrets that are not permanent keys: what is new where they come from is put in use.

use std::sync::Arc;

use tokio::sync::watch::Receiver;
use tokio::time::{sleep, timeout};

use super::AGAIN;
use crate::config::Followed;
use crate::secrets::Sources;

/// For as long as the process lives. `reload` changes when somebody wants it looked at once.
pub(super) async fn follow(followed: Followed, sources: Arc<Sources>, mut reload: Receiver<u64>) {
    let (mut known, mut told) = (None, None);
    loop {
        let cause = look(&followed, &sources, &mut known).await.err();
        if let Some(cause) = cause.as_ref().filter(|cause| told.as_ref() != Some(*cause)) {
            let Followed { key, reference, .. } = &followed;
            tracing::error!(key, %reference, cause, "a new value is not used; the one before stays");
        }
        told = cause;
        // However often it is asked for.
        sleep(AGAIN).await;
        let _ = timeout(sources.interval(&followed.reference).saturating_sub(AGAIN), reload.changed()).await;
    }
}

/// Puts what is new in use. `known` is the fingerprint of what is; the first value is that of the configuration.
async fn look(followed: &Followed, sources: &Sources, known: &mut Option<String>) -> Result<(), String> {
    let Followed { key, reference, replace } = followed;
    let found = sources.read(reference).await.map_err(|unreadable| unreadable.to_string())?;
    if known.as_ref() == Some(&found.secret.fingerprint()) {
        return Ok(());
    }
    let found = sources.settled(reference, found).await.ok_or("it changes while it is read")?;
    replace(&found.secret)?;
    if known.replace(found.secret.fingerprint()).is_some() {
        tracing::info!(key, %reference, "a new value is in use");
    }
    Ok(())
}
