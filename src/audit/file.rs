//! Entries in a regular file: appended in place, never torn.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

pub(super) struct FileSink(Mutex<File>);

impl FileSink {
    /// Creates the file, readable by its owner alone, or goes on at its end.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(Self(Mutex::new(file)))
    }

    /// Appends a whole line or nothing. On a full disk the kernel may take the first part of it; that part is cut off again.
    pub(super) fn write(&self, line: &[u8]) -> io::Result<()> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = file.write(line)?;
        if taken == line.len() {
            return Ok(());
        }
        let rest = file.write_all(line.get(taken..).unwrap_or_default());
        if rest.is_err() {
            let length = file.metadata()?.len();
            file.set_len(length.saturating_sub(taken as u64))?;
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::FileSink;

    #[test]
    fn lines_are_appended_and_the_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        for line in ["one\n", "two\n"] {
            FileSink::open(&path).unwrap().write(line.as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(FileSink::open(&folder.path().join("no/such/folder")).is_err());
    }
}
