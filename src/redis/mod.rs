//! One connection to Redis or Valkey: multiplexed, made anew by itself, every call bounded in time and number.
//!
//! A call that failed may have been applied, or may yet be: whatever is sent must bear that, and being sent again. Commands are sent once,
//! except on a cluster, whose client repeats one that a node did not take.

mod failure;
mod link;
mod origin;
mod script;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

pub(crate) use failure::Unavailable;
use link::{Keeper, Link};
pub(crate) use origin::{BadUrl, Origin};
pub(crate) use script::Script;

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
        let answered = timeout(self.deadline, self.in_turn(call)).await;
        let outcome = answered.unwrap_or(Err((Unavailable::Timeout, None)));
        outcome.map_err(|(unavailable, generation)| {
            self.keeper.failed(unavailable, generation);
            self.failures.get_or_create(&KindLabel { kind: unavailable.kind() }).inc();
            unavailable
        })
    }

    async fn in_turn<T>(&self, call: impl AsyncFnOnce(Link) -> Result<T, RedisError>) -> Result<T, (Unavailable, Option<u64>)> {
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await;
        let (generation, link) = self.keeper.link().await.ok_or((Unavailable::Connection, None))?;
        match call(link).await {
            Ok(answer) => {
                self.keeper.answered();
                Ok(answer)
            }
            Err(error) => {
                let unavailable = Unavailable::from(&error);
                if unavailable == Unavailable::Script {
                    tracing::error!(code = error.code(), detail = error.detail(), "a script failed at Redis");
                }
                Err((unavailable, Some(generation)))
            }
        }
    }
}
