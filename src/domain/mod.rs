//! The words of the trade: ids, what a caller asks for, lifetimes, secrets, time. No I/O.

pub(crate) mod ask;
pub(crate) mod clock;
pub(crate) mod flat_session;
pub(crate) mod ids;
pub(crate) mod json;
pub(crate) mod live;
pub(crate) mod network;
pub(crate) mod secret;
pub(crate) mod secret_ref;
pub(crate) mod trace;
pub(crate) mod ttl;
