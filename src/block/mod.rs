//! Who is shut out? A user, a tenant, or everybody: blocks and the lockdown.

mod redis;
mod seen;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde::{Deserialize, Serialize};

use crate::authenticate::Principal;
use crate::domain::clock::SharedClock;
use crate::domain::ids::Pseudonym;
use crate::durable::Unopened;
use crate::store::{Journal, Store, StoreDown, Table};
use redis::SharedBlocks;
use seen::Seen;

/// Blocks at most, so that a mistaken script does not fill the memory.
const MOST: usize = 10_000;
/// Those that replicas share are looked at twice a second. When that has failed for so long, it is not known who is blocked.
const STALE_AFTER: Duration = Duration::from_secs(10);

/// Whom a block shuts out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Everybody,
    Tenant(Box<str>),
    User(Pseudonym),
}

/// Why, by whom, since when and until when somebody is shut out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Block {
    pub(crate) reason: Box<str>,
    pub(crate) author: Box<str>,
    /// Seconds since 1970.
    pub(crate) created_at: u64,
    /// Seconds since 1970. Absent: until it is lifted.
    pub(crate) expires_at: Option<u64>,
}

impl Block {
    /// Whether it is in force at least as long as the other.
    pub(crate) fn outlasts(&self, other: &Self) -> bool {
        self.expires_at.is_none_or(|end| other.expires_at.is_some_and(|other| end >= other))
    }

    fn is_over(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

/// Why a caller whose credential is good gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ShutOut {
    /// The caller, or their tenant.
    #[error("the caller is blocked")]
    Blocked,
    /// It is not known whether they are blocked.
    #[error("blocks are not known")]
    Unknown,
    /// Everybody. Holds in how many seconds that ends, if it does by itself.
    #[error("nothing is minted")]
    LockedDown(Option<u64>),
}

/// Why a block is not in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotBlocked {
    #[error("there are as many blocks as there may be")]
    Full,
    #[error(transparent)]
    StoreDown(#[from] StoreDown),
}

type Known = BTreeMap<Target, Arc<Block>>;

/// The blocks as this process knows them.
struct Local {
    /// `None` until they were read for the first time.
    known: ArcSwapOption<Known>,
    /// For whoever changes them.
    turn: Mutex<()>,
    /// When those that replicas share were last looked at, steady milliseconds.
    looked_at: AtomicU64,
}

/// All blocks. Every mint looks at them, so they are in memory, whoever else knows them.
pub(crate) struct Blocks {
    local: Arc<Local>,
    shared: Option<SharedBlocks>,
    /// Whether nobody passes while those that replicas share cannot be looked at.
    must_look: bool,
    journal: Journal,
    seen: Seen,
    clock: SharedClock,
}

impl Blocks {
    /// Must run inside the process's runtime, which keeps those that replicas share up to date.
    pub(crate) fn new(store: &Store, clock: SharedClock) -> Result<Self, Unopened> {
        let shared = match store {
            Store::Memory | Store::File(_) => None,
            Store::Shared(shared) => Some(shared),
        };
        // Whoever may go on without the store goes on without knowing its blocks.
        let mut at_first = shared.is_none_or(|shared| shared.alone_among.is_some()).then(Known::new);
        let journal = store.journal();
        journal.read(Table::Blocks, |target, block| {
            let restored = Target::parse(target).zip(serde_json::from_slice(block).ok());
            match (&mut at_first, restored) {
                (Some(known), Some((target, block))) => drop(known.insert(target, Arc::new(block))),
                _ => journal.remove(Table::Blocks, || target.to_owned()),
            }
        })?;
        let local = Arc::new(Local {
            known: ArcSwapOption::from(at_first.map(Arc::new)),
            turn: Mutex::default(),
            looked_at: AtomicU64::new(0),
        });
        let must_look = shared.is_some_and(|shared| shared.alone_among.is_none());
        let shared = shared.map(|shared| SharedBlocks::follow(shared.redis.clone(), local.clone(), clock.clone()));
        Ok(Self { local, shared, must_look, journal, seen: Seen::restored(store)?, clock })
    }

    /// Whether they were read, not long ago.
    pub(crate) fn are_known(&self) -> bool {
        let looked_at = Duration::from_millis(self.local.looked_at.load(Ordering::Relaxed));
        let is_fresh = !self.must_look || self.clock.steady() < looked_at + STALE_AFTER;
        is_fresh && self.local.known.load().is_some()
    }

    /// Lets the caller pass, or says why not.
    pub(crate) fn check(&self, principal: &Principal) -> Result<(), ShutOut> {
        if self.must_look && !self.are_known() {
            return Err(ShutOut::Unknown);
        }
        let known = self.local.known.load();
        let known = known.as_ref().ok_or(ShutOut::Unknown)?;
        if known.is_empty() {
            return Ok(());
        }
        let now = self.clock.unix();
        let in_force = |target| known.get(&target).filter(|block| !block.is_over(now));
        if let Some(lockdown) = in_force(Target::Everybody) {
            return Err(ShutOut::LockedDown(lockdown.expires_at.map(|end| end - now)));
        }
        let tenant = Some(principal.tenant()).filter(|tenant| !tenant.is_empty());
        let blocked = in_force(Target::User(*principal.user())).or_else(|| in_force(Target::Tenant(tenant?.into())));
        if blocked.is_some() { Err(ShutOut::Blocked) } else { Ok(()) }
    }

    /// Puts a block in force, in place of the one that the target may have.
    pub(crate) async fn set(&self, target: Target, block: Block) -> Result<(), NotBlocked> {
        let known = self.list();
        if known.len() >= MOST && !known.iter().any(|(known, _)| *known == target) {
            return Err(NotBlocked::Full);
        }
        let now = self.clock.unix();
        if let Some(shared) = &self.shared {
            shared.set(&target, &block, &self.local.over(now)).await?;
        }
        let block = Arc::new(block);
        self.local.change(|known| {
            known.retain(|target, block| {
                let stays = !block.is_over(now);
                if !stays {
                    self.journal.remove(Table::Blocks, || target.word());
                }
                stays
            });
            self.journal.put(Table::Blocks, || target.word(), || serde_json::to_vec(&*block).ok());
            known.insert(target.clone(), block.clone());
        });
        Ok(self.journal.settled().await?)
    }

    /// Lifts a target's block, if it has one.
    pub(crate) async fn lift(&self, target: &Target) -> Result<(), StoreDown> {
        if let Some(shared) = &self.shared {
            shared.lift(target).await?;
        }
        self.local.change(|known| {
            known.remove(target);
            self.journal.remove(Table::Blocks, || target.word());
        });
        self.journal.settled().await
    }

    /// The block that is in force.
    pub(crate) fn of(&self, target: &Target) -> Option<Arc<Block>> {
        let now = self.clock.unix();
        self.local.known.load().as_ref()?.get(target).filter(|block| !block.is_over(now)).cloned()
    }

    /// All blocks that are in force.
    pub(crate) fn list(&self) -> Vec<(Target, Arc<Block>)> {
        let (known, now) = (self.local.known.load(), self.clock.unix());
        let in_force = known.iter().flat_map(|known| known.iter()).filter(|(_, block)| !block.is_over(now));
        in_force.map(|(target, block)| (target.clone(), block.clone())).collect()
    }
}

impl Local {
    /// One at a time, so that changes are written in the order in which they are made, and none is lost.
    fn change(&self, change: impl FnOnce(&mut Known)) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = self.known.load().as_ref().map_or_else(Known::new, |known| Known::clone(known));
        change(&mut known);
        self.known.store(Some(Arc::new(known)));
    }

    fn replace(&self, known: Known) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.known.store(Some(Arc::new(known)));
    }

    fn looked(&self, clock: &SharedClock) {
        self.looked_at.store(u64::try_from(clock.steady().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whose blocks are over; not more than one call can clear away.
    fn over(&self, now: u64) -> Vec<Target> {
        let known = self.known.load();
        let over = known.iter().flat_map(|known| known.iter()).filter(|(_, block)| block.is_over(now));
        over.map(|(target, _)| target.clone()).take(100).collect()
    }
}

impl Target {
    /// As stores write it.
    fn word(&self) -> String {
        match self {
            Self::Everybody => "everybody".into(),
            Self::Tenant(tenant) => format!("tenant:{tenant}"),
            Self::User(user) => format!("user:{user}"),
        }
    }

    fn parse(word: &str) -> Option<Self> {
        match word.split_once(':') {
            None => (word == "everybody").then_some(Self::Everybody),
            Some(("tenant", tenant)) => Some(Self::Tenant(tenant.into())),
            Some(("user", user)) => Pseudonym::parse(user).map(Self::User),
            Some(_) => None,
        }
    }
}
