//! `[secrets.aws]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Credentials come from where AWS's own tools take them: environment, web identity, profile, container, instance.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawAws {
    /// Region, for example eu-west-1. Default: that of the ARN, then the environment variables AWS_REGION and
    /// AWS_DEFAULT_REGION, then the profile's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
    /// Where Secrets Manager is, for a VPC endpoint without private DNS. Default: the environment variables AWS_ENDPOINT_URL_SECRETS_MANAGER and
    /// AWS_ENDPOINT_URL, then the region's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
}
