//! The real binary as a process: exit codes, configuration, signals, full disks, exhausted descriptors.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and tests read clocks and environments of their own"
)]

#[path = "../support/mod.rs"]
mod support;

mod address;
mod azure;
mod blocked_streams;
mod config_print;
mod config_schema;
mod descriptors;
mod dev;
mod drain;
mod environment;
mod every_problem;
mod exit_codes;
mod files;
mod full_disk;
mod grace;
mod guests;
mod literal_secrets;
mod keys;
mod login;
mod malformed;
mod malformed_azure;
mod malformed_identity;
mod permanent_keys;
mod prod;
mod reconcile;
mod run;
mod running;
mod samples;
mod slow_bodies;
mod talkative;
mod webhooks;
