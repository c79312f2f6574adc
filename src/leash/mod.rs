//! Holds live calls: hangs up those that have to end.

mod hang_up;

pub(crate) use hang_up::HangUps;
