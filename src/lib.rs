//! Ephemint trades a signed-in user's own token for a short-lived client secret of a realtime voice API. The permanent key stays inside.
//!
//! The module list is the request:
//!
//! ```text
//! authenticate -> authorize -> admit -> provider -> bind -> audit
//! Principal       Grant        Permit   Minted      Binding  Recorded
//! ```
//!
//! Each stage answers one question and hands on evidence that only it can make; `issue/token.rs` calls them in this order and is the
//! first file to read. What becomes of a session then is in `issue/session.rs`; `block` shuts people out, `leash` hangs up, and `store` says
//! where all of it is kept. A module uses only modules listed above it (`tests/architecture.rs`).

#![cfg_attr(
    not(all(feature = "vault", feature = "aws", feature = "azure", feature = "gcp")),
    allow(dead_code, reason = "settings of secret managers that this build leaves out")
)]

// ids, lifetimes, what a caller asks for, secret types, clock; no I/O
pub(crate) mod domain;
// what the operating system shows of this process
pub(crate) mod hardening;
// when to stop, when to reload
pub(crate) mod shutdown;
// work that must finish even when the client has gone
pub(crate) mod tasks;
// raw -> load -> check -> Config
pub(crate) mod config;
// what a reference names on this machine
pub(crate) mod files;
// logs, metrics
pub(crate) mod telemetry;
// the only builder of HTTP clients
pub(crate) mod outbound;
// what must survive a restart, on this machine
pub(crate) mod durable;
// one connection to Redis or Valkey
pub(crate) mod redis;
// where counts, sessions and blocks are kept
pub(crate) mod store;
// access tokens of Entra ID
pub(crate) mod entra;
// where secrets come from: environment, files, secret managers
pub(crate) mod secrets;
// who is calling?
pub(crate) mod authenticate;
// what may they have?
pub(crate) mod authorize;
// may they have it now?
pub(crate) mod admit;
// who is shut out?
pub(crate) mod block;
// ask the upstream
pub(crate) mod provider;
// which session belongs to whom
pub(crate) mod bind;
// write it down, whatever happened
pub(crate) mod audit;
// keeps the credentials of upstreams fresh
pub(crate) mod credentials;
// hang up what has to end
pub(crate) mod leash;
// the stages in order, and every way to be refused
pub(crate) mod issue;
// routes, wire types, problem details
pub(crate) mod http;
// the simulated upstream and sign-in of `ephemint dev`
pub(crate) mod sandbox;
// Config -> App; serve; drain
pub(crate) mod app;
// tries everything that a configuration names
pub(crate) mod check;
// serve, dev, check, config, key
pub mod cli;
// what fuzz targets call (tests/fuzz)
#[cfg(any(fuzzing, test))]
pub mod fuzz;
