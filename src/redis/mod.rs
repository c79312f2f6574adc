//! One connection to Redis or Valkey: multiplexed, made anew by itself, every call bounded in time and number.
//!
//! A call that failed may have been applied, or may yet be: whatever is sent must bear that, and being sent again. Commands are sent once,
//! except on a cluster, whose client repeats one that a node did not take.

mod failure;
mod link;
mod origin;
mod script;
pub(crate) mod trial;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

pub(crate) use failure::Unavailable;
use failure::{describe, is_fatal};
use link::{Keeper, Link};
pub(crate) use origin::{BadUrl, Origin};
pub(crate) use script::Script;
#[cfg(test)]
pub(crate) use tests::server;

use crate::telemetry::metrics::{KindLabel, Metrics};

/// Most calls under way at once. While a server hangs, what comes beyond them waits for its turn, and no longer than its deadline.
const AT_ONCE: usize = 1024;

/// A store that replicas share.
pub(crate) struct Redis {
    prefix: String,
    deadline: Duration,
    origin: Arc<Origin>,
    keeper: Keeper,
    turns: Semaphore,
    failures: Family<KindLabel, Counter>,
    start: Instant,
    /// In which second since the start a refusal was logged last.
    told: AtomicU64,
}

impl Redis {
    /// Connects in the background, so that a server that is down does not keep the process from starting. Each call ends within
    /// `deadline`. Must run inside the process's runtime, which carries the connection.
    pub(crate) fn connect(origin: Origin, prefix: String, deadline: Duration, metrics: &Metrics) -> Self {
        let origin = Arc::new(origin);
        Self {
            prefix,
            deadline,
            keeper: Keeper::start(origin.clone(), deadline),
            origin,
            turns: Semaphore::new(AT_ONCE),
            failures: metrics.store_failures.clone(),
            start: Instant::now(),
            told: AtomicU64::new(0),
        }
    }

    /// What every key begins with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether keys with different tags may be on different nodes.
    pub(crate) fn is_cluster(&self) -> bool {
        self.origin.is_cluster()
    }

    /// Whether there is a connection.
    pub(crate) fn is_well(&self) -> bool {
        self.keeper.is_up()
    }

    /// Sends one command.
    pub(crate) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Unavailable> {
        self.bounded(async |mut link: Link| link.query(command).await).await
    }

    /// Runs a script by its digest, where its first key is. A server that does not know it (restart, failover, `SCRIPT FLUSH`) has not run
    /// it: it is sent as a whole within the same deadline.
    pub(crate) async fn script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&str],
    ) -> Result<T, Unavailable> {
        let with = |name: &str, body: &str| redis::cmd(name).arg(body).arg(keys.len()).arg(keys).arg(args).to_owned();
        self.bounded(async |mut link: Link| match link.query(&with("EVALSHA", &script.digest)).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                link.query(&with("EVAL", script.code)).await
            }
            outcome => outcome,
        })
        .await
    }

    /// A number that changes with each message of the channel, and with each new connection: what was said in between is not known then.
    pub(crate) fn listen(&self, channel: String) -> watch::Receiver<u64> {
        link::listen(self.origin.clone(), channel)
    }

    async fn bounded<T>(&self, call: impl AsyncFnOnce(Link) -> Result<T, RedisError>) -> Result<T, Unavailable> {
        let outcome = self.in_time(call).await;
        if let Err(unavailable) = outcome {
            self.failures.get_or_create(&KindLabel { kind: unavailable.kind() }).inc();
        }
        outcome
    }

    async fn in_time<T>(&self, call: impl AsyncFnOnce(Link) -> Result<T, RedisError>) -> Result<T, Unavailable> {
        let deadline = Instant::now() + self.deadline;
        let ready = async {
            // The semaphore is never closed.
            let turn = self.turns.acquire().await;
            self.keeper.link().await.map(|(generation, link)| (turn, generation, link))
        };
        let ready = timeout_at(deadline, ready).await.map_err(|_| Unavailable::Timeout)?;
        let (_turn, generation, link) = ready.ok_or(Unavailable::Connection)?;
        match timeout_at(deadline, call(link)).await {
            Ok(Ok(answer)) => {
                self.keeper.answered();
                Ok(answer)
            }
            Ok(Err(error)) => Err(self.failed(&error, generation)),
            Err(_) => {
                self.keeper.unanswered(generation);
                Err(Unavailable::Timeout)
            }
        }
    }

    fn failed(&self, error: &RedisError, generation: u64) -> Unavailable {
        let unavailable = Unavailable::from(error);
        match unavailable {
            Unavailable::Timeout => self.keeper.unanswered(generation),
            _ if is_fatal(error) => self.keeper.give_up(generation),
            Unavailable::Refused | Unavailable::Script => self.tell(error),
            Unavailable::Connection => {}
        }
        unavailable
    }

    /// At most once a second: what fails, fails with every call.
    fn tell(&self, error: &RedisError) {
        let now = self.start.elapsed().as_secs() + 1;
        if self.told.swap(now, Ordering::Relaxed) != now {
            tracing::error!(cause = describe(error), "the store does not do what it is asked");
        }
    }
}
