//! Tries everything that a configuration names, before users do.
//!
//! All of it at the same time, nothing for longer than [`LIMIT`], and nobody's request: what a service asks at its start or in the
//! background is asked here once, by the same code.

mod against;
mod answer;
mod deployment;
mod fault;
mod finding;
mod identity;
mod key;
mod machine;
mod model;
mod reach;
mod store;
mod upstream;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

pub(crate) use against::Other;
pub(crate) use finding::{Finding, Outcome};

use crate::config::check::is_legacy_key;
use crate::config::{Config, FirstKey};
use crate::domain::clock::SharedClock;
use crate::domain::secret::Secret;
use crate::domain::secret_ref::SecretRef;
use crate::outbound::Outbound;
use crate::secrets::Sources;

/// Of each thing that is tried. With the ten seconds that secret managers have before, all is over within twenty.
const LIMIT: Duration = Duration::from_secs(9);
const OFFLINE: &str = "not tried: --offline";

/// What is tried, and with what.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) sources: Arc<Sources>,
    pub(crate) outbound: Outbound,
    pub(crate) clock: SharedClock,
    /// Permanent keys, as [`see`] has seen them.
    pub(crate) seen: BTreeMap<SecretRef, Seen>,
    /// References whose files everybody on this machine may read.
    pub(crate) open: Vec<SecretRef>,
    /// When secrets were made, seconds since 1970, as far as that is known.
    pub(crate) made_at: BTreeMap<SecretRef, u64>,
    /// Nothing that leaves this machine is tried. What secret managers keep is then a stand-in.
    pub(crate) offline: bool,
    /// A configuration with which secrets must not be shared.
    pub(crate) other: Option<Other>,
}

/// What can be seen of a permanent key. Whoever asks the upstream takes the key itself.
pub(crate) struct Seen {
    fingerprint: String,
    is_legacy: bool,
}

/// Looks at all permanent keys but those that are a stand-in.
pub(crate) fn see(config: &Config, offline: bool) -> BTreeMap<SecretRef, Seen> {
    let seen = |key: &FirstKey| {
        let look = |secret: &Secret| Seen { fingerprint: secret.fingerprint(), is_legacy: is_legacy_key(secret.reveal()) };
        Some((key.reference.clone(), key.look(look)?))
    };
    let keys = config.upstreams.values().flat_map(|upstream| upstream.keys());
    keys.filter(|key| !(offline && key.reference.is_remote())).filter_map(seen).collect()
}

/// Tries all of it.
pub(crate) async fn run(setup: Setup) -> Vec<Finding> {
    let setup = Arc::new(setup);
    let (upstreams, identity, store, machine, against) = tokio::join!(
        upstream::findings(&setup),
        identity::findings(&setup),
        store::findings(&setup),
        machine::findings(&setup),
        against::findings(&setup),
    );
    [upstreams, identity, store, machine, against].into_iter().flatten().collect()
}

/// The outcome of work that may take long. `None`: it took too long.
async fn in_time<T>(work: impl Future<Output = T>) -> Option<T> {
    timeout(LIMIT, work).await.ok()
}

/// The same for work that occupies a thread: of file systems, which may hang.
async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    in_time(tokio::task::spawn_blocking(work)).await?.ok()
}
