//! The stages in order, and every way to be refused.

pub(crate) mod guest;
pub(crate) mod login;
pub(crate) mod refusal;
pub(crate) mod token;
