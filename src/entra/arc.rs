//! Managed identities of Azure Arc: who may read a file of the agent's gets a token. "Authenticate against Azure resources with Azure
//! Arc-enabled servers".

use std::path::{Path, PathBuf};

use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use super::{Trouble, on_a_thread};
use crate::files::{self, Links, Unread};

/// Where the agent writes a file for each question.
const FOLDER: &str = "/var/opt/azcmagent/tokens";
const ENDING: &str = "key";
const MAX_BYTES: usize = 4096;
const CHALLENGE: &str = "Basic realm=";

/// Where the files of the agent are. Whoever answers at its address names one of them, and none elsewhere: its text goes to them.
pub(super) struct KeyFolder(PathBuf);

impl Default for KeyFolder {
    fn default() -> Self {
        Self::new(FOLDER)
    }
}

impl KeyFolder {
    pub(super) fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// What answers the challenge in `headers`: `Basic` and the text of the file that it names.
    pub(super) async fn answer(&self, headers: &HeaderMap, name: &str) -> Result<HeaderValue, Trouble> {
        let path = self.named(headers).map_err(|cause| Trouble::Wrong(format!("{name} {cause}")))?;
        let text = on_a_thread(move || {
            let (bytes, _) = files::read(&path, MAX_BYTES, Links::Refused).map_err(|error| sentence(&path, &error))?;
            let mut value = HeaderValue::from_bytes(&[b"Basic ", bytes.trim_ascii()].concat())
                .map_err(|_| format!("{} does not fit into a header", path.display()))?;
            value.set_sensitive(true);
            Ok(value)
        });
        text.await
    }

    fn named(&self, headers: &HeaderMap) -> Result<PathBuf, &'static str> {
        let challenge = headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
        let named = challenge.split_at_checked(CHALLENGE.len()).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(CHALLENGE));
        let (_, realm) = named.ok_or("does not name the file that proves who asks")?;
        let path = Path::new(realm.trim().trim_matches('"'));
        let is_here = path.parent() == Some(&self.0) && path.extension().is_some_and(|ending| ending == ENDING);
        if is_here { Ok(path.to_owned()) } else { Err("names a file that is not the agent's; it is not read") }
    }
}

fn sentence(path: &Path, error: &Unread) -> String {
    let who = "; the user of this process has to be in the group himds";
    let cure =
        if matches!(error, Unread::Failed(error) if error.kind() == std::io::ErrorKind::PermissionDenied) { who } else { "" };
    format!("{} {error}{cure}", path.display())
}
