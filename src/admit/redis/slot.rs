//! Which keys an admission touches, and in which cluster slots they are.

use std::time::Duration;

use super::answer::micros;
use crate::admit::IdempotencyKey;
use crate::admit::rule::{Rate, Standing};
use crate::admit::subject::{Name, Subject, Subjects, Whose};
use crate::config::Limits;
use crate::domain::ids::{Pseudonym, SessionId, hex};
use crate::domain::secret::Sha256;

/// Parts that a limit of very many is counted in, on a cluster: each on a slot of its own, so that no node carries all of them.
const PARTS: u64 = 8;
/// A limit of less than that for each part is counted in one piece: a part that fills up by chance would refuse too early.
const LEAST_OF_A_PART: u64 = 1000;

/// What one cluster slot knows of an admission.
#[derive(Clone)]
pub(super) struct Slot {
    /// The hold; the record of the idempotency key, if it is kept here; each subject's count and leases.
    pub(super) keys: Vec<String>,
    /// Each subject's rules.
    pub(super) rules: Vec<String>,
    /// Whose limits they are.
    pub(super) whose: Vec<(Whose, Limits)>,
}

impl Slot {
    /// Beside the hold and two keys of each subject.
    pub(super) fn has_record(&self) -> bool {
        self.keys.len() > 1 + 2 * self.whose.len()
    }

    pub(super) fn standing(&self, arrivals: &[String], now: Duration) -> Option<Standing> {
        let standings = self.whose.iter().zip(arrivals);
        Standing::tightest(standings.map(|((_, limits), arrival)| Some(Rate::of(limits)?.standing(micros(arrival)?, now))))
    }

    fn new(keys: &Keys, tag: &str, session: SessionId) -> Self {
        Self { keys: vec![keys.name(tag, &format!("h:{session}"))], rules: Vec::new(), whose: Vec::new() }
    }

    fn add(&mut self, keys: &Keys, tag: &str, subject: &Subject) {
        let name = match &subject.key.name {
            Name::One(pseudonym) => pseudonym.to_string(),
            Name::Tenant(tenant) => hex(&Sha256::of(tenant.as_bytes()).0),
            Name::All => String::new(),
        };
        let rest = format!("{}:{name}:{}", subject.whose.word(), subject.key.within);
        self.keys.extend(["c", "l"].map(|kind| keys.name(tag, &format!("{kind}:{rest}"))));
        let text = |limit: Option<u64>| limit.map_or_else(String::new, |limit| limit.to_string());
        let limits = &subject.limits;
        self.rules.extend([
            text(limits.mints_per_minute),
            text(limits.mints_per_minute.map(interval)),
            text(limits.concurrent_calls),
            text(limits.monthly_mints),
        ]);
        self.whose.push((subject.whose, *limits));
    }
}

/// How keys are named.
pub(super) struct Keys {
    pub(super) prefix: String,
    /// Whether keys with different tags are on different nodes.
    pub(super) is_cluster: bool,
}

impl Keys {
    fn name(&self, tag: &str, rest: &str) -> String {
        format!("{}:{{{tag}}}:{rest}", self.prefix)
    }

    /// On one node everything is one slot. On a cluster the user's own counts share one, and every other subject has its own.
    pub(super) fn slots(
        &self,
        subjects: &Subjects,
        user: &Pseudonym,
        session: SessionId,
        key: Option<&IdempotencyKey>,
    ) -> Vec<Slot> {
        let tag = user_tag(user);
        let mut own = Slot::new(self, &tag, session);
        own.keys.extend(key.map(|key| self.name(&tag, &format!("i:{user}:{}", hex(&Sha256::of(key.key.as_bytes()).0)))));
        let mut slots = vec![(tag, own)];
        for subject in subjects.iter() {
            let (its, subject) = if self.is_cluster { in_parts(subject, user) } else { (tag_of(subject), subject.clone()) };
            // Subjects of one tag share a slot, and with it the hold: an address may be counted for its guests and for everybody.
            if let Some((_, slot)) = slots.iter_mut().find(|(known, _)| !self.is_cluster || *known == its) {
                slot.add(self, &its, &subject);
            } else {
                let mut slot = Slot::new(self, &its, session);
                slot.add(self, &its, &subject);
                slots.push((its, slot));
            }
        }
        slots.into_iter().map(|(_, slot)| slot).collect()
    }
}

/// Microseconds between two mints, whole: down, so that the whole quota passes at once; but up where that would let many more pass.
fn interval(per_minute: u64) -> u64 {
    const MINUTE: u64 = 60_000_000;
    if per_minute <= 600_000 { MINUTE / per_minute.max(1) } else { MINUTE.div_ceil(per_minute) }
}

fn user_tag(user: &Pseudonym) -> String {
    format!("u{}", user.as_str().get(..16).unwrap_or_default())
}

fn tag_of(subject: &Subject) -> String {
    match (&subject.key.name, subject.whose) {
        (Name::One(pseudonym), Whose::Address | Whose::GuestAddress) => {
            format!("a{}", pseudonym.as_str().get(..16).unwrap_or_default())
        }
        (Name::One(pseudonym), _) => user_tag(pseudonym),
        (Name::Tenant(tenant), _) => format!("t{}", hex(&Sha256::of(tenant.as_bytes()).0).get(..16).unwrap_or_default()),
        (Name::All, _) => format!("{}-{}", subject.whose.word(), subject.key.within),
    }
}

/// A limit of very many in parts, of which each user comes under one: together they are never more than the whole.
fn in_parts(subject: &Subject, user: &Pseudonym) -> (String, Subject) {
    let limits = subject.limits;
    let all = [limits.mints_per_minute, limits.concurrent_calls, limits.monthly_mints];
    let large = all.into_iter().flatten().all(|limit| limit >= PARTS * LEAST_OF_A_PART);
    if subject.key.name != Name::All || !large {
        return (tag_of(subject), subject.clone());
    }
    let part = user.as_str().bytes().last().map_or(0, |digit| u64::from(digit) % PARTS);
    let share = |limit: Option<u64>| limit.map(|limit| limit / PARTS + u64::from(part < limit % PARTS));
    let limits = Limits {
        mints_per_minute: share(limits.mints_per_minute),
        concurrent_calls: share(limits.concurrent_calls),
        monthly_mints: share(limits.monthly_mints),
    };
    (format!("{}-{part}", tag_of(subject)), Subject { limits, ..subject.clone() })
}
