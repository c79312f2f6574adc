//! Where the permanent key comes from: each source serves a mint, and says what is wrong with itself.

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

mod aws;
mod azure;
mod gcp;
mod moto;
mod vault;
