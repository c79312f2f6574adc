//! The simulated Realtime API as its users see it: the real binary, HTTP and WebSockets.

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

#[allow(dead_code, reason = "the process tests use all of it")]
#[path = "../process/running.rs"]
mod running;

mod calls;
mod client;
mod command;
mod cors;
mod floods;
mod live;
mod methods;
mod mint;
mod scenarios;
mod sessions;
mod sideband;
