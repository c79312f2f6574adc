//! What one store has and others have not: a file that outlives the process, a Redis that replicas share and that can fail.

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

mod file;
mod outage;
mod replicas;
