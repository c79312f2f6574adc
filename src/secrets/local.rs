//! Secrets of this machine: the environment, files, credentials of a systemd unit.

use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::fs::OFlags;
use secrecy::zeroize::Zeroizing;

use super::{Found, MAX_BYTES, secret_in};
use crate::config::load::Environ;
use crate::domain::secret_ref::SecretRef;

const UNIT: &str = "CREDENTIALS_DIRECTORY";

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

enum Place<'a> {
    Variable(&'a str),
    File(PathBuf),
    Manager,
}

fn place<'a>(reference: &SecretRef, environ: &'a Environ) -> Result<Place<'a>, String> {
    match reference {
        SecretRef::Env(name) => {
            environ.get(name).map(|text| Place::Variable(text)).ok_or_else(|| "the environment variable is not set".into())
        }
        SecretRef::File(path) => Ok(Place::File(path.clone())),
        SecretRef::Unit(name) => {
            let folder =
                environ.get(UNIT).ok_or("CREDENTIALS_DIRECTORY is not set: systemd sets it for units with LoadCredential=")?;
            Ok(Place::File(Path::new(folder).join(name)))
        }
        _ => Ok(Place::Manager),
    }
}

fn file(path: &Path) -> Result<Found, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    // Whoever opens a pipe otherwise waits for its writer.
    let without_waiting = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let opened = fs::File::options().read(true).custom_flags(without_waiting).open(path).map_err(unreadable)?;
    let metadata = opened.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("is not a file".into());
    }
    // As large as it will be: what outgrows its place is copied, and the copy left behind is not wiped.
    let length = usize::try_from(metadata.len()).unwrap_or(MAX_BYTES).min(MAX_BYTES);
    let mut bytes = Zeroizing::new(Vec::with_capacity(length + 64));
    opened.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MAX_BYTES {
        return Err("is larger than 64 KiB; name the file that holds the secret alone".into());
    }
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
