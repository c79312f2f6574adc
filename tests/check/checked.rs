//! A run of the command, and what it found.

use std::time::Duration;

use serde_json::Value;

use crate::run::{FILE, Outcome, ephemint};
use crate::support::{Config, Issuer, Upstream};

/// However much hangs, all is over by then.
pub(crate) const AT_MOST: Duration = Duration::from_secs(20);

/// What `ephemint check --json` printed.
pub(crate) struct Checked {
    pub(crate) document: Value,
    outcome: Outcome,
}

/// Checks this configuration, with further arguments.
pub(crate) fn check_with(config: &Config, arguments: &[&str]) -> Checked {
    let outcome = ephemint(&[&["check", "--config", FILE, "--json"], arguments].concat()).configured(config).done_within(AT_MOST);
    Checked::read(outcome)
}

pub(crate) fn check(config: &Config) -> Checked {
    check_with(config, &[])
}

/// A good upstream with a good issuer: a configuration that nothing is wrong with.
pub(crate) fn neighbours() -> (Issuer, Upstream) {
    (Issuer::start(), Upstream::start())
}

impl Checked {
    #[track_caller]
    pub(crate) fn read(outcome: Outcome) -> Self {
        let document = serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}\n{outcome}"));
        assert_eq!(outcome.stderr, "", "{outcome}");
        let checked = Self { document, outcome };
        checked.expect_form();
        checked
    }

    pub(crate) fn findings(&self) -> &Vec<Value> {
        self.document["findings"].as_array().unwrap_or_else(|| panic!("no findings\n{}", self.outcome))
    }

    /// Nothing failed and nothing is to be looked at.
    #[track_caller]
    pub(crate) fn expect_all_well(&self) {
        self.outcome.expect(0);
        let bad = self.findings().iter().filter(|it| !["ok", "skipped"].contains(&it["outcome"].as_str().unwrap_or("")));
        assert_eq!(bad.count(), 0, "{}", self.outcome);
    }

    /// One finding of this kind and outcome has these words in its cause, and these in its fix.
    #[track_caller]
    pub(crate) fn expect(&self, what: &str, outcome: &str, cause: &str, fix: &str) -> &Value {
        let has = |finding: &Value, field: &str, words: &str| finding[field].as_str().unwrap_or_default().contains(words);
        let is_it =
            |it: &&Value| it["what"] == what && it["outcome"] == outcome && has(it, "cause", cause) && has(it, "fix", fix);
        let found = self.findings().iter().find(is_it);
        let found = found.unwrap_or_else(|| panic!("no {what} {outcome}: {cause:?}, fix {fix:?}\n{}", self.outcome));
        let code = i32::from(self.findings().iter().any(|it| it["outcome"] == "failed"));
        self.outcome.expect(code);
        found
    }

    /// Exactly the documented members, of the documented types.
    #[track_caller]
    fn expect_form(&self) {
        let ok = self.document["ok"].as_bool().expect("ok");
        let Some(findings) = self.document.get("findings") else { return };
        let findings = findings.as_array().expect("findings");
        assert!(!findings.is_empty(), "{}", self.outcome);
        for finding in findings {
            let members: Vec<_> = finding.as_object().expect("an object").keys().map(String::as_str).collect();
            assert_eq!(members, ["cause", "fix", "outcome", "subject", "what"], "{finding}");
            let outcome = finding["outcome"].as_str().expect("a word");
            assert!(["ok", "warning", "failed", "skipped"].contains(&outcome), "{finding}");
            assert!(finding["subject"].as_str().is_some_and(|it| !it.is_empty()), "{finding}");
            assert!(finding["cause"].as_str().is_some_and(|it| !it.is_empty()), "{finding}");
            assert_eq!(finding["fix"].is_string(), ["warning", "failed"].contains(&outcome), "{finding}");
        }
        assert_eq!(ok, findings.iter().all(|it| it["outcome"] != "failed"), "{}", self.outcome);
    }
}
