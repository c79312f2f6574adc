//! The shared `config` and `credentials` files of AWS's tools (AWS SDKs and Tools Reference Guide, "Shared config and credentials
//! files"), as far as they say who the process is.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use tokio::task::spawn_blocking;

use super::Unreadable;
use super::place::variable;
use crate::config::load::Environ;
use crate::domain::secret::Secret;
use crate::domain::secret_ref::SecretRef;
use crate::secrets;

const CUT_OFF: &str = "was not read to its end";

/// One profile of both files.
#[derive(Clone)]
pub(super) struct Profile {
    name: String,
    /// What wins where both files have a key.
    credentials: Option<Secret>,
    config: Option<Secret>,
}

impl Profile {
    /// The profile that the environment names, else `default`, if there is one.
    pub(super) async fn read(environ: &Environ) -> Result<Option<Self>, Unreadable> {
        let named = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"].into_iter().find_map(|name| variable(environ, name));
        let name = named.unwrap_or("default").to_owned();
        let credentials = shared("AWS_SHARED_CREDENTIALS_FILE", "credentials", environ).await?;
        let config = shared("AWS_CONFIG_FILE", "config", environ).await?;
        let profile = Self { name, credentials, config };
        match (profile.exists(), named) {
            (true, _) => Ok(Some(profile)),
            (false, None) => Ok(None),
            (false, Some(_)) => Err(Unreadable::Wrong(format!("the AWS {profile}, which AWS_PROFILE names, is in no file"))),
        }
    }

    /// Another profile of the same files.
    pub(super) fn other(&self, name: &str) -> Option<Self> {
        let other = Self { name: name.to_owned(), ..self.clone() };
        other.exists().then_some(other)
    }

    /// What the profile sets `key` to.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        let of_credentials = self.credentials.as_ref().and_then(|file| find(file.reveal(), &self.name, key));
        let of_config = || self.config.as_ref().and_then(|file| find(file.reveal(), &self.section(), key));
        of_credentials.or_else(of_config).filter(|value| !value.is_empty())
    }

    fn exists(&self) -> bool {
        let has = |file: Option<&Secret>, name: &str| {
            file.is_some_and(|file| file.reveal().lines().any(|line| section(line).is_some_and(|it| it == name)))
        };
        has(self.credentials.as_ref(), &self.name) || has(self.config.as_ref(), &self.section())
    }

    /// Its name in the file `config`.
    fn section(&self) -> String {
        if self.name == "default" { self.name.clone() } else { format!("profile {}", self.name) }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "profile {}", self.name)
    }
}

/// One of the files. It need not be there unless `variable_name` names it, and may be as empty as `/dev/null`.
async fn shared(variable_name: &str, name: &str, environ: &Environ) -> Result<Option<Secret>, Unreadable> {
    let named = variable(environ, variable_name).map(PathBuf::from);
    let is_named = named.is_some();
    let Some(path) = named.or_else(|| Some(PathBuf::from(variable(environ, "HOME")?).join(".aws").join(name))) else {
        return Ok(None);
    };
    let reading = spawn_blocking(move || match fs::metadata(&path) {
        Ok(metadata) if metadata.len() == 0 && !metadata.is_dir() => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound && !is_named => Ok(None),
        _ => read(path).map(Some),
    });
    let outcome = reading.await.unwrap_or_else(|_| Err(CUT_OFF.into()));
    outcome.map_err(|cause| Unreadable::Wrong(format!("AWS's file {name} {cause}")))
}

/// A file that holds a token. The error continues a sentence about it.
pub(super) async fn token(path: &str) -> Result<Secret, String> {
    let path = PathBuf::from(path);
    spawn_blocking(move || read(path)).await.unwrap_or_else(|_| Err(CUT_OFF.into()))
}

/// The path is all that it takes, and nothing of the environment.
fn read(path: PathBuf) -> Result<Secret, String> {
    Ok(secrets::read(&SecretRef::File(path), &Environ::new())?.secret)
}

/// The value of `key` in the section `name`. Later sections of the same name add to earlier ones.
fn find<'a>(text: &'a str, name: &str, key: &str) -> Option<&'a str> {
    let mut inside = false;
    let mut found = None;
    for line in text.lines() {
        if let Some(section) = section(line) {
            inside = section == name;
        } else if inside && !line.starts_with([' ', '\t', '#', ';']) {
            let pair = line.split_once('=').filter(|(left, _)| left.trim() == key);
            found = pair.map(|(_, value)| without_comment(value)).or(found);
        }
    }
    found
}

/// `[name]`, or `[profile name]` with any space between the two.
fn section(line: &str) -> Option<String> {
    let (name, _) = line.strip_prefix('[')?.split_once(']')?;
    Some(name.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn without_comment(value: &str) -> &str {
    let cut = [" #", " ;", "\t#", "\t;"].iter().filter_map(|mark| value.find(mark)).min().unwrap_or(value.len());
    value.get(..cut).unwrap_or(value).trim()
}

#[cfg(test)]
mod tests {
    use super::{Profile, Secret, find};

    const FILE: &str = "\
# region = eu-north-1
region = nowhere
[default]
region = eu-west-1 # Ireland
; region = eu-west-2
s3 =
  region = eu-west-3
[ profile\tvoice ]
region=eu-central-1
aws_secret_access_key = a=b#c==
[profile voice-2]
region =
";

    #[test]
    fn a_value_is_that_of_its_own_section() {
        assert_eq!(find(FILE, "default", "region"), Some("eu-west-1"));
        assert_eq!(find(FILE, "profile voice", "region"), Some("eu-central-1"));
        assert_eq!(find(FILE, "profile voice", "aws_secret_access_key"), Some("a=b#c=="));
        assert_eq!(find(FILE, "profile voice-2", "region"), Some(""));
        assert_eq!(find(FILE, "voice", "region"), None);
        assert_eq!(find(FILE, "profile voice", "role_arn"), None);
    }

    #[test]
    fn the_file_of_credentials_wins() {
        let file = |text: &str| Some(Secret::from(text.to_owned()));
        let profile = Profile {
            name: "voice".into(),
            credentials: file("[voice]\naws_access_key_id = AKID\n"),
            config: file("[profile voice]\naws_access_key_id = OTHER\nregion = eu-west-1\n"),
        };
        assert!(profile.exists());
        assert_eq!((profile.value("aws_access_key_id"), profile.value("region")), (Some("AKID"), Some("eu-west-1")));
    }
}
