//! Where secrets come from: the environment and files.

use std::path::Path;

use crate::config::load::Environ;
use crate::domain::secret::{Secret, SecretRef};

/// Largest secret, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// Reads the secret that `reference` names; white space at its end is cut. The error says what the operator has to do.
pub(crate) fn read(reference: &SecretRef, environ: &Environ) -> Result<Secret, String> {
    let text = match reference {
        SecretRef::Env(name) => environ.get(name).cloned().ok_or("the environment variable is not set")?,
        SecretRef::File(path) => file(path)?,
    };
    match text.trim_end() {
        "" => Err("is empty".into()),
        text => Ok(Secret::from(text.to_owned())),
    }
}

fn file(path: &Path) -> Result<String, String> {
    let unreadable = |e: std::io::Error| format!("cannot be read: {e}");
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("is not a file".into());
    }
    if metadata.len() > MAX_BYTES {
        return Err(format!("is larger than {MAX_BYTES} bytes; name the file that holds the secret alone"));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".into())
}

#[cfg(test)]
mod tests {
    use super::{Environ, SecretRef, read};

    #[test]
    fn every_way_a_secret_can_be_missing_has_its_cause() {
        let environ: Environ = [("EMPTY", " \n"), ("GOOD", "sk-proj-a\n")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let cause = |reference: &str| read(&SecretRef::parse(reference).unwrap(), &environ).unwrap_err();
        assert!(cause("env://ABSENT").contains("not set"));
        assert!(cause("env://EMPTY").contains("empty"));
        assert!(cause("file:///nonexistent/key").contains("cannot be read"));
        assert!(cause("file:///tmp").contains("not a file"));
        assert_eq!(read(&SecretRef::parse("env://GOOD").unwrap(), &environ).unwrap().reveal(), "sk-proj-a");
    }
}
