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
//! first file to read. A module uses only modules listed above it (`tests/architecture.rs`).

// ids, lifetimes, what a caller asks for, secret types, clock; no I/O
pub(crate) mod domain;
// when to stop
pub(crate) mod shutdown;
// work that must finish even when the client has gone
pub(crate) mod tasks;
// raw -> load -> check -> Config
pub(crate) mod config;
// logs, metrics
pub(crate) mod telemetry;
// the only builder of HTTP clients
pub(crate) mod outbound;
// what must survive a restart, on this machine
#[cfg_attr(not(test), expect(dead_code, reason = "the stages that put their changes here follow"))]
pub(crate) mod durable;
// env://, file://
pub(crate) mod secrets;
// who is calling?
pub(crate) mod authenticate;
// what may they have?
pub(crate) mod authorize;
// may they have it now?
pub(crate) mod admit;
// ask the upstream
pub(crate) mod provider;
// which session belongs to whom
pub(crate) mod bind;
// write it down, whatever happened
pub(crate) mod audit;
// the stages in order, and every way to be refused
pub(crate) mod issue;
// routes, wire types, problem details
pub(crate) mod http;
// the simulated upstream and sign-in of `ephemint dev`
pub(crate) mod sandbox;
// Config -> App; serve; drain
pub(crate) mod app;
// serve, dev, config, key
pub mod cli;
// what fuzz targets call (tests/fuzz)
#[cfg(any(fuzzing, test))]
pub mod fuzz;
