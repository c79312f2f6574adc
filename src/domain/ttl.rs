//! The lifetime of a client secret.

use std::fmt;

/// Whole seconds, 60..=600. The only way to write a client secret's lifetime.
///
/// `OpenAI` itself takes 10..=7200 (`openapi.yaml`, `RealtimeCreateClientSecretRequest`); the narrower range is Ephemint's rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ttl(u16);

impl Ttl {
    pub(crate) const MIN: Self = Self(60);
    pub(crate) const MAX: Self = Self(600);

    /// `None` outside 60..=600.
    pub(crate) fn from_seconds(seconds: u64) -> Option<Self> {
        let ttl = Self(u16::try_from(seconds).ok()?);
        (Self::MIN..=Self::MAX).contains(&ttl).then_some(ttl)
    }

    pub(crate) const fn seconds(self) -> u64 {
        self.0 as u64
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::Ttl;

    #[test]
    fn a_lifetime_is_60_to_600_seconds() {
        for seconds in [60, 61, 599, 600] {
            assert_eq!(Ttl::from_seconds(seconds).map(Ttl::seconds), Some(seconds));
        }
        for seconds in [0, 59, 601, 7200, u64::from(u16::MAX) + 61, u64::MAX] {
            assert_eq!(Ttl::from_seconds(seconds), None, "{seconds}");
        }
    }
}
