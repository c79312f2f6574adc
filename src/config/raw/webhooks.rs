//! `[webhooks]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawWebhooks {
    /// `OpenAI`'s, at `POST /v1/webhooks/openai`: blocks the users whom it blocks. Absent: there is no such path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) openai: Option<RawOpenaiWebhook>,
}

impl RawWebhooks {
    /// References to secrets that have the form of a webhook's.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.openai
            .iter()
            .flat_map(|openai| [Some(&openai.secret), openai.previous_secret.as_ref()])
            .flatten()
            .map(String::as_str)
    }
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawOpenaiWebhook {
    /// Reference to the signing secret, `whsec_…`, that OpenAI shows once when the endpoint is created.
    pub(crate) secret: String,
    /// Reference to another one that is also good: the old one while it is rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) previous_secret: Option<String>,
    /// Seconds for which a user is blocked. 0: until the block is lifted. 0..=31536000.
    pub(crate) block_seconds: u64,
}
