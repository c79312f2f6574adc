//! `ephemint check`: for each broken configuration the one line that names what is wrong and what mends it.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, and tests read clocks and environments of their own"
)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../process/run.rs"]
#[allow(dead_code, reason = "it is for tests of all commands, and these are of one")]
mod run;

mod answers;
mod azure;
mod checked;
mod command;
mod environments;
mod identity;
mod keys;
mod machine;
mod stores;
