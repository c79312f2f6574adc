//! The public and the admin API, seen from outside: the real binary, real sockets, fake neighbours.

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

mod admin;
mod api_keys;
mod api_keys_attacks;
mod ask;
mod audit;
mod azure;
mod azure_entra;
mod azure_on_behalf;
mod blocks;
mod calls;
mod canary;
mod ceilings;
mod credentials;
mod demo;
mod dpop;
mod dpop_attacks;
mod dpop_opaque;
mod dpop_targets;
mod failover;
mod guest_limits;
mod guests;
mod holder;
mod http;
mod idempotency;
mod introspection;
mod introspection_answers;
mod jwks;
mod jwks_rollover;
mod jwt_attacks;
mod jwt_claims;
mod jwt_clock;
mod jwt_form;
mod jwt_keys;
mod jwt_mapping;
mod jwt_products;
mod jwt_signatures;
mod jwt_users;
mod kinds;
mod limits;
mod login;
mod login_attacks;
mod login_audit;
mod login_refresh;
mod login_sessions;
mod mint;
mod origin;
mod profiles;
mod range;
mod retries;
mod sessions;
mod upstream;
mod upstream_bodies;
mod upstream_keys;
mod webhooks;
mod webhooks_attacks;
mod wire;
