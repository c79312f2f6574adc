//! What the script says, read.

use std::time::Duration;

use super::slot::Slot;
use crate::admit::Denied;
use crate::admit::rule::{Rate, Rule};
use crate::store::StoreDown;

/// What the script says: a word, the server's time, and what belongs to the word.
pub(super) struct Answer {
    pub(super) word: String,
    pub(super) now: Duration,
    pub(super) fields: Vec<String>,
}

impl Answer {
    pub(super) fn read(said: Vec<String>) -> Result<Self, StoreDown> {
        let mut said = said.into_iter();
        let (word, now) = (said.next().ok_or(StoreDown)?, said.next().and_then(|now| micros(&now)).ok_or(StoreDown)?);
        Ok(Self { word, now, fields: said.collect() })
    }

    /// The subjects' arrival times, and what follows them, when the word is `expected`.
    pub(super) fn taken(&self, expected: &str, slot: &Slot) -> Result<(&[String], &[String]), Denied> {
        if self.word != expected {
            return Err(self.denied(slot));
        }
        self.fields.split_at_checked(slot.whose.len()).ok_or(StoreDown.into())
    }

    pub(super) fn denied(&self, slot: &Slot) -> Denied {
        match self.word.as_str() {
            "conflict" => Denied::IdempotencyConflict,
            "refused" => self.limited(slot).unwrap_or(Denied::StoreDown(StoreDown)),
            _ => Denied::StoreDown(StoreDown),
        }
    }

    fn limited(&self, slot: &Slot) -> Option<Denied> {
        let [index, rule, arrival, wait] = self.fields.as_slice() else { return None };
        let (whose, limits) = slot.whose.get(index.parse::<usize>().ok()?)?;
        let rule = Rule::ALL.into_iter().find(|known| known.name() == rule)?;
        let (arrival, retry_after) = (micros(arrival)?, micros(wait)?);
        let rate = Rate::of(limits);
        let standing = match rule {
            Rule::MintsPerMinute => rate.map(|rate| rate.refused(retry_after)),
            Rule::ConcurrentCalls | Rule::MonthlyMints => rate.map(|rate| rate.standing(arrival, self.now)),
        };
        Some(Denied::Limited { whose: *whose, rule, standing, retry_after })
    }
}

pub(super) fn micros(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_micros)
}
