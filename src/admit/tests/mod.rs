//! Both kinds of books against a plain model of what they promise, and against many callers at once.

#![allow(clippy::disallowed_methods, reason = "tests read the clock and the environment of their own")]

mod books;
mod edges;
mod model;
mod property;
mod race;

use std::time::Duration;

use super::subject::{Key, Name, Subject, Subjects, Whose};
use crate::config::Limits;
use crate::domain::ids::{Pseudonym, Pseudonymizer};
use crate::domain::secret::Secret;

const NO_LIMITS: Limits = Limits { mints_per_minute: None, concurrent_calls: None, monthly_mints: None };

/// How often what may go wrong once in a while is tried: `EPHEMINT_TEST_ROUNDS`, or 20 times.
fn rounds() -> u32 {
    std::env::var("EPHEMINT_TEST_ROUNDS").map_or(20, |rounds| rounds.parse().expect("EPHEMINT_TEST_ROUNDS is a number"))
}

fn names() -> Pseudonymizer {
    Pseudonymizer::new(&Secret::from("a key of more than sixteen bytes".to_owned()))
}

fn pseudonym(name: &str) -> Pseudonym {
    names().pseudonym("", "issuer", name)
}

fn subject(whose: Whose, name: Name, limits: Limits) -> Subject {
    Subject { whose, key: Key { name, within: "default".into() }, limits, known_until: Duration::MAX, booked: Duration::ZERO }
}

/// A user under one limit alone.
fn alone(name: &str, limits: Limits) -> Subjects {
    Subjects::one(subject(Whose::User, Name::One(pseudonym(name)), limits))
}
