//! `[secrets.gcp]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Credentials are the application default: GOOGLE_APPLICATION_CREDENTIALS, workload identity federation, the metadata server.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawGcp {
    /// Where Secret Manager is: a regional endpoint, or one of Private Service Connect.
    pub(crate) endpoint: String,
}

impl Default for RawGcp {
    fn default() -> Self {
        Self { endpoint: "https://secretmanager.googleapis.com".into() }
    }
}
