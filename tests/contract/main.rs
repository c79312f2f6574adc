//! What every store keeps to: one suite, run on each of them (`EPHEMINT_TEST_STORE`, see `tests/run`).

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

#[path = "../api/blocks.rs"]
mod blocks;
#[path = "../api/calls.rs"]
mod calls;
#[path = "../api/ceilings.rs"]
mod ceilings;
#[path = "../api/idempotency.rs"]
mod idempotency;
#[path = "../api/limits.rs"]
mod limits;
#[path = "../api/sessions.rs"]
mod sessions;
