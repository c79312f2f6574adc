//! Books to try: in memory, in a file, at a Redis; and their clocks.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tempfile::TempDir;

use crate::admit::ledger::Ledger;
use crate::admit::redis::SharedBooks;
use crate::admit::rule::Standing;
use crate::admit::subject::Subjects;
use crate::admit::{Denied, Hold, IdempotencyKey, here};
use crate::domain::clock::manual::ManualClock;
use crate::domain::ids::{Pseudonym, SessionId};
use crate::domain::secret::Secret;
use crate::domain::ttl::Ttl;
use crate::durable::Durable;
pub(super) use crate::redis::server::RedisServer;
use crate::redis::{Origin, Redis, Script};
use crate::store::{Store, StoreDown};
use crate::telemetry::metrics::Metrics;

/// Longer than any test takes.
const PATIENCE: Duration = Duration::from_mins(10);
const DEADLINE: Duration = Duration::from_secs(20);

pub(super) struct File {
    folder: TempDir,
    durable: Arc<Durable>,
}

pub(super) enum Books {
    Here(Arc<Ledger>, Arc<ManualClock>, Option<File>),
    Shared(Arc<SharedBooks>, Arc<Redis>),
}

pub(super) fn connect(server: &RedisServer) -> Arc<Redis> {
    let origin = Origin::parse(&Secret::from(server.url())).unwrap();
    Arc::new(Redis::connect(origin, "test".into(), DEADLINE, &Metrics::new(Duration::ZERO).0))
}

impl Books {
    pub(super) fn in_memory(unix: u64) -> Self {
        let clock = ManualClock::at(unix);
        Self::Here(Ledger::restored(&Store::Memory.journal(), clock.clone()).unwrap(), clock, None)
    }

    pub(super) fn in_a_file(unix: u64) -> Self {
        let (clock, folder) = (ManualClock::at(unix), TempDir::new().unwrap());
        let durable = Arc::new(Durable::open(&folder.path().join("store"), Counter::default()).unwrap());
        let ledger = Ledger::restored(&Store::File(durable.clone()).journal(), clock.clone()).unwrap();
        Self::Here(ledger, clock, Some(File { folder, durable }))
    }

    /// As each replica has them.
    pub(super) fn of_a_replica(server: &RedisServer) -> Self {
        let redis = connect(server);
        Self::Shared(SharedBooks::new(redis.clone()), redis)
    }

    /// With a clock of their own. As on a cluster, if that is asked for: every subject in a slot of its own.
    pub(super) fn at_redis(redis: Arc<Redis>, is_cluster: bool) -> Self {
        // The first line of the script says in which language all of it is; this one comes without.
        let code = concat!(include_str!("clock.lua"), "--", include_str!("../redis/admit.lua"));
        Self::Shared(SharedBooks::with(redis.clone(), Script::new(code), is_cluster), redis)
    }

    /// Empty, at that time, in microseconds since 1970.
    pub(super) async fn set(&self, now: u64) {
        if let Self::Shared(_, redis) = self {
            let () = redis.command(&::redis::cmd("FLUSHALL")).await.unwrap();
            let () = redis.command(::redis::cmd("SET").arg("test:now").arg(now)).await.unwrap();
        }
    }

    pub(super) async fn advance(&self, by: Duration) {
        match self {
            Self::Here(_, clock, _) => clock.advance(by),
            Self::Shared(_, redis) => {
                let micros = u64::try_from(by.as_micros()).unwrap();
                let () = redis.command(::redis::cmd("INCRBY").arg("test:now").arg(micros)).await.unwrap();
            }
        }
    }

    /// The process ends once what was answered is on disk, and another one begins. Without a file, nothing happens.
    pub(super) async fn restart(&mut self) -> bool {
        let Self::Here(ledger, clock, Some(file)) = self else { return false };
        file.durable.close(DEADLINE).await.unwrap();
        file.durable = Arc::new(Durable::open(&file.folder.path().join("store"), Counter::default()).unwrap());
        *ledger = Ledger::restored(&Store::File(file.durable.clone()).journal(), clock.clone()).unwrap();
        true
    }

    pub(super) async fn admit(
        &self,
        subjects: &Subjects,
        user: &Pseudonym,
        key: Option<&IdempotencyKey>,
        ttl: Ttl,
        is_open: impl AsyncFn(SessionId) -> Result<bool, StoreDown>,
    ) -> Result<(Option<Standing>, Hold), Denied> {
        match self {
            Self::Here(ledger, ..) => ledger.admit(subjects.clone(), user, key, PATIENCE, ttl, is_open).await.map(here),
            Self::Shared(books, _) => {
                let (standing, hold) = books.admit(subjects, user, key, PATIENCE, ttl, is_open).await?;
                Ok((standing, Hold::Shared(hold)))
            }
        }
    }

    /// `until` and `now` in seconds since 1970, `now` with its fraction.
    pub(super) async fn hold(&self, subjects: &Subjects, user: &Pseudonym, session: SessionId, until: u64, now: Duration) {
        match self {
            Self::Here(ledger, ..) => ledger.hold(subjects, session, until).await,
            Self::Shared(books, _) => books.hold(subjects, user, session, Duration::from_secs(until).saturating_sub(now)).await,
        }
        .unwrap();
    }

    pub(super) async fn release(&self, subjects: &Subjects, user: &Pseudonym, session: SessionId) {
        match self {
            Self::Here(ledger, ..) => ledger.release(subjects, session).await,
            Self::Shared(books, _) => books.release(subjects, user, session).await,
        }
        .unwrap();
    }
}

pub(super) async fn keep(hold: &Hold, until: u64, now: Duration) {
    match hold {
        Hold::Here(hold) => hold.keep(until).await,
        Hold::Shared(hold) => hold.keep(Duration::from_secs(until).saturating_sub(now)).await,
    }
    .unwrap();
}

pub(super) fn spend(hold: Hold) {
    match hold {
        Hold::Here(hold) => hold.spend(),
        Hold::Shared(hold) => hold.spend(),
    }
}

pub(super) async fn give_back(hold: Hold) {
    match hold {
        Hold::Here(hold) => drop(hold),
        Hold::Shared(hold) => hold.give_back().await,
    }
}

pub(super) fn id(hold: &Hold) -> SessionId {
    match hold {
        Hold::Here(hold) => hold.session(),
        Hold::Shared(hold) => hold.session(),
    }
}
