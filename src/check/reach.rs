//! Servers that cannot be reached, whatever they are for.

use super::Setup;
use super::fault::{self, Fault};
use super::finding::{About, Finding};
use crate::outbound::{Trouble, Unreached};

/// What is wrong on the way.
pub(super) fn fault_of(trouble: Trouble, setup: &Setup) -> &'static Fault {
    match trouble {
        Trouble::Name => &fault::NO_NAME,
        Trouble::Refused => &fault::REFUSED,
        Trouble::Unroutable => &fault::UNROUTABLE,
        Trouble::NoConnection => &fault::NO_CONNECTION,
        Trouble::NoAnswer => &fault::NO_ANSWER,
        Trouble::Untrusted if !setup.outbound.trusts_somebody() => &fault::NO_ROOTS,
        Trouble::Untrusted => &fault::UNTRUSTED,
        Trouble::Expired => &fault::CERTIFICATE_EXPIRED,
        Trouble::OtherName => &fault::CERTIFICATE_NAME,
        Trouble::NoTls => &fault::NO_TLS,
        Trouble::Broken => &fault::BROKEN,
    }
}

pub(super) fn unreached(about: About, unreached: &Unreached, setup: &Setup) -> Finding {
    about.failed(fault_of(unreached.trouble, setup), unreached.root())
}
