//! The stages in order, what becomes of sessions, and every way to be refused.

pub(crate) mod guest;
pub(crate) mod login;
pub(crate) mod refusal;
mod sentences;
mod session;
mod shut_out;
pub(crate) mod token;
pub(crate) mod webhook;

pub(crate) use sentences::{overloaded, unknown_session};
