//! Secrets of this machine: the environment, files, credentials of a systemd unit.

use std::fs::{self, Metadata};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::{Found, MAX_BYTES, secret_in};
use crate::config::load::Environ;
use crate::domain::secret_ref::SecretRef;
use crate::files::{self, Links, Place, Unread, place};

/// Reads a secret of this machine. The error says what the operator has to do.
pub(crate) fn read(reference: &SecretRef, environ: &Environ) -> Result<Found, String> {
    match place(reference, environ)? {
        Place::Variable(text) => Ok(Found { secret: secret_in(text)?, made_at: None }),
        Place::File(path) => file(&path),
        Place::Manager => Err("is kept by a secret manager, which was not asked".into()),
    }
}

/// The file behind a reference, if others than its owner and group may read it: anybody with a foot on the machine then can.
pub(crate) fn is_open_to_others(reference: &SecretRef, environ: &Environ) -> bool {
    let Ok(Place::File(path)) = place(reference, environ) else { return false };
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

fn file(path: &Path) -> Result<Found, String> {
    let (bytes, metadata) = files::read(path, MAX_BYTES, Links::Followed).map_err(|error| match error {
        Unread::TooLarge(_) => "is larger than 64 KiB; name the file that holds the secret alone".into(),
        other => other.to_string(),
    })?;
    let text = str::from_utf8(&bytes).map_err(|_| "is not UTF-8 text")?;
    Ok(Found { secret: secret_in(text)?, made_at: modified(&metadata) })
}

fn modified(metadata: &Metadata) -> Option<u64> {
    Some(metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{Environ, SecretRef, fs, is_open_to_others, read};

    fn environ(pairs: &[(&str, &str)]) -> Environ {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_way_a_secret_can_be_missing_has_its_cause() {
        let environ = environ(&[("EMPTY", " \n"), ("GOOD", "sk-proj-a\n")]);
        let cause = |reference: &str| read(&SecretRef::parse(reference).unwrap(), &environ).unwrap_err();
        assert!(cause("env://ABSENT").contains("not set"));
        assert!(cause("env://EMPTY").contains("empty"));
        assert!(cause("file:///nonexistent/key").contains("cannot be read"));
        assert!(cause("file:///tmp").contains("not a file"));
        assert!(cause("file://$CREDENTIALS_DIRECTORY/key").contains("LoadCredential"));
        assert_eq!(read(&SecretRef::parse("env://GOOD").unwrap(), &environ).unwrap().secret.reveal(), "sk-proj-a");
    }

    #[test]
    fn credentials_of_the_unit_are_found_and_what_everybody_may_read_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "sk-proj-unit\n").unwrap();
        let environ = environ(&[("CREDENTIALS_DIRECTORY", &folder.path().display().to_string())]);
        let reference = SecretRef::parse("file://$CREDENTIALS_DIRECTORY/key").unwrap();
        let found = read(&reference, &environ).unwrap();
        assert_eq!(found.secret.reveal(), "sk-proj-unit");
        assert!(found.made_at.is_some());
        for (mode, is_open) in [(0o644, true), (0o640, false), (0o400, false), (0o604, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_open_to_others(&reference, &environ), is_open, "{mode:o}");
        }
    }
}
