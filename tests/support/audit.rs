//! Reading the audit file of the service under test.

use serde_json::Value;

use super::eventually;
use super::service::Service;

impl Service {
    /// The whole lines of the audit file so far.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.audit_file()).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("an audit line is not JSON ({error}): {line}")))
            .collect()
    }

    /// The one audit line of a request.
    pub(crate) async fn audit_of(&self, request_id: &str) -> Value {
        let lines = eventually(&format!("an audit line of {request_id}"), 10, async || {
            let lines: Vec<_> = self.audit().into_iter().filter(|line| line["request_id"] == request_id).collect();
            (!lines.is_empty()).then_some(lines)
        })
        .await;
        assert_eq!(lines.len(), 1, "{lines:#?}");
        lines[0].clone()
    }
}
