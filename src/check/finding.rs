//! One thing that was tried, and how it went.

use serde::Serialize;

use super::fault::Fault;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Ok,
    Warning,
    Failed,
    Skipped,
}

/// One thing that was tried. Holds no secret: fingerprints.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    /// `key`, `model`, `issuer` ...
    pub(crate) what: &'static str,
    /// Which one.
    pub(crate) subject: String,
    pub(crate) outcome: Outcome,
    /// What is so, or why it is not.
    pub(crate) cause: String,
    /// What the operator does. Absent where there is nothing to do.
    pub(crate) fix: Option<&'static str>,
}

/// What a finding is about.
#[derive(Clone)]
pub(super) struct About {
    what: &'static str,
    subject: String,
}

impl About {
    pub(super) fn new(what: &'static str, subject: impl Into<String>) -> Self {
        Self { what, subject: subject.into() }
    }

    pub(super) fn ok(self, cause: impl Into<String>) -> Finding {
        self.found(Outcome::Ok, cause.into(), None)
    }

    pub(super) fn skipped(self, cause: impl Into<String>) -> Finding {
        self.found(Outcome::Skipped, cause.into(), None)
    }

    /// `detail` is what was seen, if that says more than the fault.
    pub(super) fn warning(self, fault: &Fault, detail: &str) -> Finding {
        self.at_fault(Outcome::Warning, fault, detail)
    }

    pub(super) fn failed(self, fault: &Fault, detail: &str) -> Finding {
        self.at_fault(Outcome::Failed, fault, detail)
    }

    pub(super) fn at_fault(self, outcome: Outcome, fault: &Fault, detail: &str) -> Finding {
        let cause = if detail.is_empty() { fault.cause.to_owned() } else { format!("{} ({detail})", fault.cause) };
        self.found(outcome, cause, Some(fault.fix))
    }

    fn found(self, outcome: Outcome, cause: String, fix: Option<&'static str>) -> Finding {
        Finding { what: self.what, subject: self.subject, outcome, cause, fix }
    }
}
