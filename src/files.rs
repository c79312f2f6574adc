//! What a reference names on this machine, and files, read with a bound.

use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use secrecy::zeroize::Zeroizing;

use crate::config::load::Environ;
use crate::domain::secret_ref::SecretRef;

const UNIT: &str = "CREDENTIALS_DIRECTORY";

/// Where a secret is that no manager keeps.
pub(crate) enum Place<'a> {
    Variable(&'a str),
    File(PathBuf),
    Manager,
}

/// The error says what the operator has to do.
pub(crate) fn place<'a>(reference: &SecretRef, environ: &'a Environ) -> Result<Place<'a>, String> {
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

/// Whether the last step of a path may be a symbolic link.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    Followed,
    Refused,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    #[error("cannot be read: {0}")]
    Failed(#[from] io::Error),
    #[error("is not a file")]
    NotAFile,
    #[error("is larger than {0} bytes")]
    TooLarge(usize),
}

/// A file of at most `max` bytes.
pub(crate) fn read(path: &Path, max: usize, links: Links) -> Result<(Zeroizing<Vec<u8>>, Metadata), Unread> {
    // Whoever opens a pipe otherwise waits for its writer.
    let flags = if links == Links::Refused { OFlags::NONBLOCK | OFlags::NOFOLLOW } else { OFlags::NONBLOCK };
    let opened = fs::File::options().read(true).custom_flags(i32::try_from(flags.bits()).unwrap_or_default()).open(path)?;
    let metadata = opened.metadata()?;
    if !metadata.is_file() {
        return Err(Unread::NotAFile);
    }
    // As large as it will be: what outgrows its place is copied, and the copy left behind is not wiped.
    let length = usize::try_from(metadata.len()).unwrap_or(max).min(max);
    let mut bytes = Zeroizing::new(Vec::with_capacity(length + 64));
    opened.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(Unread::TooLarge(max));
    }
    Ok((bytes, metadata))
}
