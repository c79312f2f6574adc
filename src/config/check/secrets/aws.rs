//! AWS Secrets Manager.

use super::Check;
use crate::config::raw::RawAws;
use crate::config::secrets::Aws;

const KEY: &str = "secrets.aws";

impl Check<'_> {
    pub(super) fn aws(&mut self, raw: &RawAws) -> Option<Aws> {
        let key = format!("{KEY}.endpoint");
        let endpoint = raw.endpoint.as_ref().map(|text| self.base(&key, text));
        if endpoint.iter().flatten().any(|url| url.path() != "/") {
            self.problem(key, "must not have a path");
            return None;
        }
        let is_region = |text: &String| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if raw.region.as_ref().is_some_and(|text| !is_region(text)) {
            self.problem(format!("{KEY}.region"), "must be the name of a region, for example \"eu-west-1\"");
            return None;
        }
        Some(Aws { region: raw.region.clone(), endpoint: endpoint.map_or(Some(None), |endpoint| endpoint.map(Some))? })
    }
}
