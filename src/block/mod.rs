//! Who is shut out? A user, a tenant, or everybody: blocks and the lockdown.

mod seen;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use crate::admit::StoreDown;
use crate::authenticate::Principal;
use crate::domain::clock::SharedClock;
use crate::domain::ids::Pseudonym;
use seen::Seen;

/// Blocks at most, so that a mistaken script does not fill the memory.
const MOST: usize = 100_000;

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

/// All blocks. Every mint looks at them, so they are in memory, whoever else knows them.
pub(crate) struct Blocks {
    known: ArcSwap<Known>,
    seen: Seen,
    clock: SharedClock,
}

impl Blocks {
    pub(crate) fn new(clock: SharedClock) -> Self {
        Self { known: ArcSwap::default(), seen: Seen::new(), clock }
    }

    /// Lets the caller pass, or says why not.
    pub(crate) fn check(&self, principal: &Principal) -> Result<(), ShutOut> {
        let known = self.known.load();
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
        let now = self.clock.unix();
        let block = Arc::new(block);
        let mut full = false;
        self.known.rcu(|known| {
            let mut known = Known::clone(known);
            known.retain(|_, block| !block.is_over(now));
            full = known.len() >= MOST && !known.contains_key(&target);
            if !full {
                known.insert(target.clone(), block.clone());
            }
            known
        });
        if full { Err(NotBlocked::Full) } else { Ok(()) }
    }

    /// Lifts a target's block, if it has one.
    pub(crate) async fn lift(&self, target: &Target) -> Result<(), StoreDown> {
        self.known.rcu(|known| {
            let mut known = Known::clone(known);
            known.remove(target);
            known
        });
        Ok(())
    }

    /// The block that is in force.
    pub(crate) fn of(&self, target: &Target) -> Option<Arc<Block>> {
        let now = self.clock.unix();
        self.known.load().get(target).filter(|block| !block.is_over(now)).cloned()
    }

    /// All blocks that are in force.
    pub(crate) fn list(&self) -> Vec<(Target, Arc<Block>)> {
        let (known, now) = (self.known.load(), self.clock.unix());
        let in_force = known.iter().filter(|(_, block)| !block.is_over(now));
        in_force.map(|(target, block)| (target.clone(), block.clone())).collect()
    }
}
