//! Whose limits an admission comes under: a user of a profile; or a guest of a profile and, with all others behind it, their address.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Limits;
use crate::domain::ids::Pseudonym;

/// Whose counts they are. Each has a table of its own, so that a flood of one kind leaves room for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whose {
    User,
    Guest,
    Address,
}

/// Who is counted, and within what: limits of a profile are per user of that profile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) name: Pseudonym,
    pub(super) within: Arc<str>,
}

/// One whose limits must have room.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) whose: Whose,
    pub(super) key: Key,
    pub(super) limits: Limits,
    /// Nobody comes back under this key after that, steady.
    pub(super) known_until: Duration,
}

/// Everyone whose limits must have room for one admission. Whose they are rises strictly: their counts are locked in this order, so no
/// two admissions wait for each other.
#[derive(Clone, Debug)]
pub(super) struct Subjects {
    /// Who asks. Most come under no other limits than their own, and then no list is allocated.
    pub(super) first: Subject,
    pub(super) more: Vec<Subject>,
}

impl Subjects {
    pub(super) fn one(subject: Subject) -> Self {
        Self { first: subject, more: Vec::new() }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Subject> {
        std::iter::once(&self.first).chain(&self.more)
    }
}
