//! A caller's trace (W3C Trace Context, section 3.2), continued under a span of our own.

use std::fmt;

/// What goes on of a valid `traceparent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    id: Box<str>,
    flags: Box<str>,
    /// Our own span, the parent of what the upstream does.
    span: u64,
}

impl Trace {
    /// `None` unless the header is valid; a trace then begins nowhere.
    pub(crate) fn from_parent(header: &str) -> Option<Self> {
        let mut fields = header.split('-');
        let (version, id, parent, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let hex = |field: &str, length: usize| {
            field.len() == length && field.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let known_form = hex(version, 2) && version != "ff" && hex(id, 32) && hex(parent, 16) && hex(flags, 2);
        let nothing_more = version != "00" || fields.next().is_none();
        let not_zero = |field: &str| field.bytes().any(|b| b != b'0');
        let valid = known_form && nothing_more && not_zero(id) && not_zero(parent);
        valid.then(|| Self { id: id.into(), flags: flags.into(), span: fastrand::u64(1..) })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

/// As a `traceparent` of ours.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{:016x}-{}", self.id, self.span, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::Trace;

    #[test]
    fn a_trace_goes_on_only_from_a_valid_header() {
        let trace = Trace::from_parent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let ours = trace.to_string();
        assert_ne!(Trace::from_parent(&ours), None, "{ours}");
        assert!(ours.ends_with("-01") && !ours.contains("00f067aa0ba902b7"), "{ours}");
        for bad in [
            "",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert_eq!(Trace::from_parent(bad), None, "{bad}");
        }
    }
}
