//! A store, tried once: what `ephemint check` does.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use tokio::time::timeout;

use super::failure::describe;
use super::link::Link;
use super::origin::Origin;
use super::script::Script;
use crate::outbound::Trouble;

const DEADLINE: Duration = Duration::from_secs(3);
/// Writes a key of ours as the scripts of a mint do, and takes it away again.
const WRITE: &str = "#!lua
redis.call('SET', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[1])
return redis.call('TIME')[1]";

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Unreached(Trouble),
    /// It does not take the user or the password, or wants them.
    SignIn,
    /// The user may not do what is needed.
    Forbidden,
    /// It is one node of a cluster, and not asked as one.
    IsCluster,
    /// It is asked as a cluster, and is none.
    IsNoCluster,
    /// A replica, or a master that takes no writes.
    TakesNoWrites,
    /// Sentinel knows no master of that name.
    NoMaster,
    /// Anything else that it says.
    Other,
}

/// What is wrong, and what the server says of it.
pub(crate) struct Wanting {
    pub(crate) fault: Fault,
    pub(crate) said: String,
}

/// Connects, and runs a script by its digest. `prefix` is what keys begin with.
pub(crate) async fn try_out(origin: &Origin, prefix: &str) -> Result<(), Wanting> {
    let tried = async { exercise(&mut origin.connect(DEADLINE).await?, prefix).await };
    match timeout(DEADLINE, tried).await {
        Ok(outcome) => outcome.map_err(|error| Wanting::of(&error, origin)),
        Err(_) => Err(Wanting { fault: Fault::Unreached(Trouble::NoAnswer), said: String::new() }),
    }
}

async fn exercise(link: &mut Link, prefix: &str) -> Result<(), RedisError> {
    link.query::<String>(&redis::cmd("PING")).await?;
    let (script, key) = (Script::new(WRITE), format!("{prefix}:check:{:016x}", fastrand::u64(..)));
    let with = |name: &str, body: &str| redis::cmd(name).arg(body).arg(1).arg(&key).arg("1").to_owned();
    link.query::<String>(&with("EVAL", script.code)).await?;
    link.query::<String>(&with("EVALSHA", &script.digest)).await.map(drop)
}

/// What is wrong on the way. The client shares what lies below its error, so that it is not among its sources.
fn way(error: &RedisError) -> Trouble {
    let shared = error.source().and_then(|source| source.downcast_ref::<Arc<dyn Error + Send + Sync>>());
    shared.map_or(Trouble::Broken, |below| Trouble::of(&**below))
}

impl Wanting {
    fn of(error: &RedisError, origin: &Origin) -> Self {
        let code = error.code().unwrap_or_default();
        let said = describe(error);
        let fault = match error.kind() {
            _ if error.is_timeout() => Fault::Unreached(Trouble::NoAnswer),
            ErrorKind::AuthenticationFailed => Fault::SignIn,
            ErrorKind::MasterNameNotFoundBySentinel => Fault::NoMaster,
            ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::CrossSlot) if !origin.is_cluster() => Fault::IsCluster,
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => Fault::TakesNoWrites,
            ErrorKind::Server(ServerErrorKind::NoPerm) => Fault::Forbidden,
            ErrorKind::ClusterConnectionNotFound => Fault::Unreached(Trouble::Broken),
            ErrorKind::Io => Fault::Unreached(way(error)),
            _ => match code {
                "NOAUTH" | "WRONGPASS" => Fault::SignIn,
                "NOPERM" => Fault::Forbidden,
                "MISCONF" | "OOM" | "NOREPLICAS" => Fault::TakesNoWrites,
                _ if said.contains("cluster support disabled") => Fault::IsNoCluster,
                _ => Fault::Other,
            },
        };
        Self { fault, said }
    }
}
