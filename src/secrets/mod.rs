//! Where secrets come from: the environment, files, and secret managers. One variant of a reference, one file.

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "gcp")]
mod gcp;
mod local;
#[cfg(feature = "vault")]
mod vault;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Client;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use crate::config::load::Environ;
use crate::config::secrets::{Entra, Secrets};
use crate::domain::clock::SharedClock;
use crate::domain::secret::Secret;
use crate::domain::secret_ref::SecretRef;
use crate::entra::Identity;
use crate::outbound::{Outbound, Unbuildable};
pub(crate) use local::{is_open_to_others, read};

/// Largest secret, in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// Of one reading, whatever it takes: a login, a token, the secret itself.
const DEADLINE: Duration = Duration::from_secs(10);
/// Readings of this machine at once.
const AT_ONCE: usize = 16;
/// Between two looks at a file.
const LOOK: Duration = Duration::from_secs(1);
const A_DAY: Duration = Duration::from_hours(24);
/// A file that is being written is read again after so long.
const SETTLE: Duration = Duration::from_millis(50);
/// Most readings until a file is taken for written.
const READINGS: usize = 10;
/// At the start nothing is tried any more after so long: together with the last attempt, within half a minute.
const LATEST: Duration = Duration::from_secs(15);
/// Before the second and the third attempt at the start.
pub(crate) const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// A secret as it is where the reference names it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) secret: Secret,
    /// When this value was put there, seconds since 1970, where that is known.
    pub(crate) made_at: Option<u64>,
}

/// Why a secret cannot be had. The sentence is for the operator: it says what to do, and holds nothing of a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// A name, a permission or a setting has to be changed.
    #[error("{0}")]
    Wrong(String),
    /// Whoever has it does not answer, or not now. Worth another attempt.
    #[error("{0}")]
    Away(String),
}

/// Everything that references can name.
pub(crate) struct Sources {
    environ: Arc<Environ>,
    poll: Duration,
    /// For readings of this machine, of which those of a file system that hangs never end.
    turns: Arc<Semaphore>,
    #[cfg(feature = "vault")]
    vault: vault::Vault,
    #[cfg(feature = "aws")]
    aws: aws::Aws,
    #[cfg(feature = "azure")]
    azure: azure::KeyVault,
    #[cfg(feature = "gcp")]
    gcp: gcp::SecretManager,
}

impl Sources {
    /// Asks nobody yet.
    #[cfg_attr(
        not(feature = "vault"),
        expect(
            unused_variables,
            clippy::needless_pass_by_value,
            reason = "Vault's tokens are what ages, and without managers nothing is sent"
        )
    )]
    #[cfg_attr(
        not(any(feature = "vault", feature = "aws", feature = "azure", feature = "gcp")),
        expect(clippy::unnecessary_wraps, reason = "managers need a client, which may be unbuildable")
    )]
    pub(crate) fn new(
        settings: &Secrets,
        environ: &Arc<Environ>,
        outbound: &Outbound,
        clock: SharedClock,
    ) -> Result<Self, Unbuildable> {
        Ok(Self {
            environ: environ.clone(),
            poll: settings.poll,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            #[cfg(feature = "vault")]
            vault: vault::Vault::new(&settings.vault, environ, outbound.client(DEADLINE)?, clock),
            #[cfg(feature = "aws")]
            aws: aws::Aws::new(&settings.aws, environ, outbound.client(DEADLINE)?),
            #[cfg(feature = "azure")]
            azure: azure::KeyVault::new(&settings.azure, environ, outbound.client(DEADLINE)?),
            #[cfg(feature = "gcp")]
            gcp: gcp::SecretManager::new(&settings.gcp, environ, outbound.client(DEADLINE)?),
        })
    }

    /// Reads the secret that `reference` names, within ten seconds. White space at its end is cut.
    pub(crate) async fn read(&self, reference: &SecretRef) -> Result<Found, Unreadable> {
        let late = |_| Unreadable::Away(format!("no answer within {} seconds", DEADLINE.as_secs()));
        timeout(DEADLINE, self.read_at_leisure(reference)).await.map_err(late)?
    }

    async fn read_at_leisure(&self, reference: &SecretRef) -> Result<Found, Unreadable> {
        match reference {
            SecretRef::Env(_) | SecretRef::File(_) | SecretRef::Unit(_) => {
                // The semaphore is never closed. The turn goes with the reading, however long that takes.
                let turn = self.turns.clone().acquire_owned().await;
                read_local(reference, &self.environ, turn.ok()).await
            }
            #[cfg(feature = "vault")]
            SecretRef::Vault { mount, path, field } => self.vault.read(mount, path, field).await,
            #[cfg(feature = "aws")]
            SecretRef::Aws { id, field } => self.aws.read(id, field.as_deref()).await,
            #[cfg(feature = "azure")]
            SecretRef::Azure { vault, name } => self.azure.read(vault, name).await,
            #[cfg(feature = "gcp")]
            SecretRef::Gcp { project, name, version } => self.gcp.read(project, name, version).await,
            #[cfg(not(all(feature = "vault", feature = "aws", feature = "azure", feature = "gcp")))]
            _ => Err(Unreadable::Wrong("this build leaves out that secret manager; take one with all features".into())),
        }
    }

    /// Whoever proves themselves to Entra ID so, with what is on this machine.
    pub(crate) fn identity(&self, settings: &Entra, client: Client, clock: SharedClock) -> Identity {
        let read = |reference: &SecretRef, environ: &Environ| local::read(reference, environ).map(|found| found.secret);
        Identity::new(settings, &self.environ, client, read, clock)
    }

    /// How long until it is worth another look.
    pub(crate) fn interval(&self, reference: &SecretRef) -> Duration {
        match reference {
            // The environment of a process does not change.
            SecretRef::Env(_) => A_DAY,
            SecretRef::File(_) | SecretRef::Unit(_) => LOOK,
            _ => self.poll.mul_f64(0.9 + 0.2 * fastrand::f64()),
        }
    }

    /// What stays of a new value. A file may have been read while it was being written: what it holds twice in a row counts.
    pub(crate) async fn settled(&self, reference: &SecretRef, mut found: Found) -> Option<Found> {
        if reference.is_remote() {
            return Some(found);
        }
        for _ in 0..READINGS {
            sleep(SETTLE).await;
            let Ok(again) = self.read(reference).await else { continue };
            if again.secret.fingerprint() == found.secret.fingerprint() {
                return Some(again);
            }
            found = again;
        }
        None
    }

    /// Reads what managers have of these: all at the same time, and again after each pause where nobody answers.
    pub(crate) async fn gather(
        &self,
        references: &BTreeSet<SecretRef>,
        pauses: &[Duration],
    ) -> BTreeMap<SecretRef, Result<Found, Unreadable>> {
        let remote = references.iter().filter(|reference| reference.is_remote());
        let readings = remote.map(async |reference| (reference.clone(), self.read_again(reference, pauses).await));
        join_all(readings).await.into_iter().collect()
    }

    async fn read_again(&self, reference: &SecretRef, pauses: &[Duration]) -> Result<Found, Unreadable> {
        let start = Instant::now();
        let mut outcome = self.read(reference).await;
        for &pause in pauses {
            if !matches!(outcome, Err(Unreadable::Away(_))) || start.elapsed() > LATEST {
                break;
            }
            sleep(pause).await;
            outcome = self.read(reference).await;
        }
        outcome
    }
}

/// Reads a secret of this machine, off the runtime: a file system may hang.
async fn read_local(
    reference: &SecretRef,
    environ: &Arc<Environ>,
    turn: Option<OwnedSemaphorePermit>,
) -> Result<Found, Unreadable> {
    let (reference, environ) = (reference.clone(), environ.clone());
    let reading = spawn_blocking(move || {
        let _turn = turn;
        local::read(&reference, &environ)
    });
    reading.await.map_err(|_| Unreadable::Away("the reading was cut off".into()))?.map_err(Unreadable::Wrong)
}

/// A secret from the text that its place holds. The error says what is wrong with it.
fn secret_in(text: &str) -> Result<Secret, &'static str> {
    match text.trim_end() {
        "" => Err("is empty"),
        text if text.len() > MAX_BYTES => Err("is larger than 64 KiB; name what holds the secret alone"),
        text => Ok(Secret::from(text.to_owned())),
    }
}
