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

pub(crate) mod admit; //        may they have it now?
pub(crate) mod app; //          Config -> App; serve; drain
pub(crate) mod audit; //        write it down, whatever happened
pub(crate) mod authenticate; // who is calling?
pub(crate) mod authorize; //    what may they have?
pub(crate) mod bind; //         which session belongs to whom
pub mod cli;
pub(crate) mod config; //              raw -> load -> check -> Config
pub(crate) mod domain; //       ids, lifetimes, what a caller asks for, secret types, clock. No I/O
pub(crate) mod http; //         routes, wire types, problem details
pub(crate) mod issue; //        the stages in order, and every way to be refused
pub(crate) mod outbound; //     the only builder of HTTP clients
pub(crate) mod provider; //     ask the upstream
pub(crate) mod sandbox; //      the simulated upstream and sign-in of `ephemint dev`
pub(crate) mod secrets; //      env://, file://
pub(crate) mod shutdown; //     when to stop
pub(crate) mod tasks; //        work that must finish even when the client has gone
pub(crate) mod telemetry; //    logs, metrics //                 serve, dev, config
