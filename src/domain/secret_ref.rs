//! Names a secret without holding it.

use std::fmt;
use std::path::PathBuf;

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SecretRef {
    /// `env://NAME`
    Env(String),
    /// `file:///path`
    File(PathBuf),
    /// `file://$CREDENTIALS_DIRECTORY/name`: of the unit, by systemd's `LoadCredential=`
    Unit(String),
    /// `vault://mount/path#field`; a slash within the mount is written `%2F`.
    Vault { mount: String, path: String, field: String },
    /// `aws-sm://name-or-arn#json-field`; without a field, the secret as a whole
    Aws { id: String, field: Option<String> },
    /// `azure-kv://vault-name/secret-name`
    Azure { vault: String, name: String },
    /// `gcp-sm://project/secret[/version]`
    Gcp { project: String, name: String, version: String },
}

const LITERAL: &str = "this looks like a literal secret; write where the secret is instead: env://NAME, file:///path, vault://mount/path#field, aws-sm://name#field, azure-kv://vault/name or gcp-sm://project/name";
const ENV: &str = "env:// takes the name of an environment variable (letters, digits, _), for example env://OPENAI_API_KEY";
const FILE: &str = "file:// takes an absolute path, for example file:///run/secrets/key, or a credential of the systemd unit, file://$CREDENTIALS_DIRECTORY/key";
const VAULT: &str = "vault:// takes the mount, the path and the field, for example vault://secret/ephemint/openai#api_key";
const AWS: &str =
    "aws-sm:// takes the secret's name or ARN and, if it holds JSON, a field, for example aws-sm://ephemint/openai#api_key";
const AZURE: &str =
    "azure-kv:// takes the name of the vault and of the secret (letters, digits, -), for example azure-kv://my-vault/openai-key";
const GCP: &str =
    "gcp-sm:// takes the project, the secret and, if not the latest, the version, for example gcp-sm://my-project/openai-key";
/// Within the mount of a Vault, where a plain one ends it.
const SLASH: &str = "%2F";

impl SecretRef {
    /// Reads a reference. The error says what is wrong and how to write it, and never repeats `text`: it may be the secret itself.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or(LITERAL)?;
        match scheme {
            "env" => env(rest).ok_or(ENV),
            "file" => file(rest).ok_or(FILE),
            "vault" => vault(rest).ok_or(VAULT),
            "aws-sm" => aws(rest).ok_or(AWS),
            "azure-kv" => azure(rest).ok_or(AZURE),
            "gcp-sm" => gcp(rest).ok_or(GCP),
            _ => Err(LITERAL),
        }
    }

    /// Whether a secret manager has to be asked.
    pub(crate) fn is_remote(&self) -> bool {
        !matches!(self, Self::Env(_) | Self::File(_) | Self::Unit(_))
    }
}

fn env(name: &str) -> Option<SecretRef> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (starts && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')).then(|| SecretRef::Env(name.to_owned()))
}

fn file(path: &str) -> Option<SecretRef> {
    if let Some(name) = path.strip_prefix("$CREDENTIALS_DIRECTORY/") {
        return is_made_of(name, b"._-@").then(|| SecretRef::Unit(name.to_owned())).filter(|_| !is_relative(name));
    }
    (path.len() > 1 && path.starts_with('/')).then(|| SecretRef::File(path.into()))
}

fn vault(text: &str) -> Option<SecretRef> {
    let (place, field) = text.split_once('#')?;
    let (mount, path) = place.split_once('/')?;
    let mount = mount.replace(SLASH, "/");
    let has_steps = |text: &str, others: &[u8]| text.split('/').all(|step| is_made_of(step, others) && !is_relative(step));
    let fits = has_steps(&mount, b"._-") && has_steps(path, b"._-@+=: ") && is_field(field);
    fits.then(|| SecretRef::Vault { mount, path: path.into(), field: field.into() })
}

/// AWS Secrets Manager, API reference, `CreateSecret`: a name has letters, digits and `/_+=.@-`; an ARN has `:` too.
fn aws(text: &str) -> Option<SecretRef> {
    let (id, field) = text.split_once('#').map_or((text, None), |(id, field)| (id, Some(field)));
    let fits = id.len() <= 2048 && is_made_of(id, b"/_+=.@-!:") && field.is_none_or(is_field);
    fits.then(|| SecretRef::Aws { id: id.into(), field: field.map(Into::into) })
}

/// Azure Key Vault, "Object identifiers": 3 to 24 characters for a vault, 1 to 127 for a secret.
fn azure(text: &str) -> Option<SecretRef> {
    let (vault, name) = text.split_once('/')?;
    let fits = (3..=24).contains(&vault.len()) && name.len() <= 127 && is_made_of(vault, b"-") && is_made_of(name, b"-");
    fits.then(|| SecretRef::Azure { vault: vault.into(), name: name.into() })
}

fn gcp(text: &str) -> Option<SecretRef> {
    let mut parts = text.split('/');
    let (project, name, version) = (parts.next()?, parts.next()?, parts.next().unwrap_or("latest"));
    let fits = parts.next().is_none() && is_made_of(project, b"-:.") && !is_relative(project);
    let fits = fits && is_made_of(name, b"-_") && name.len() <= 255 && is_made_of(version, b"-_");
    fits.then(|| SecretRef::Gcp { project: project.into(), name: name.into(), version: version.into() })
}

fn is_field(text: &str) -> bool {
    is_made_of(text, b"._-/")
}

fn is_made_of(text: &str, others: &[u8]) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || others.contains(&b))
}

fn is_relative(step: &str) -> bool {
    step == "." || step == ".."
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env://{name}"),
            Self::File(path) => write!(f, "file://{}", path.display()),
            Self::Unit(name) => write!(f, "file://$CREDENTIALS_DIRECTORY/{name}"),
            Self::Vault { mount, path, field } => write!(f, "vault://{}/{path}#{field}", mount.replace('/', SLASH)),
            Self::Aws { id, field: Some(field) } => write!(f, "aws-sm://{id}#{field}"),
            Self::Aws { id, field: None } => write!(f, "aws-sm://{id}"),
            Self::Azure { vault, name } => write!(f, "azure-kv://{vault}/{name}"),
            Self::Gcp { project, name, version } if version == "latest" => write!(f, "gcp-sm://{project}/{name}"),
            Self::Gcp { project, name, version } => write!(f, "gcp-sm://{project}/{name}/{version}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SecretRef;

    #[test]
    fn a_literal_secret_is_refused_without_being_repeated() {
        for text in [
            "sk-canary",
            "",
            "env://",
            "env://sk-canary",
            "env://1",
            "file://canary",
            "file://$CREDENTIALS_DIRECTORY/../canary",
            "file://$CREDENTIALS_DIRECTORY/",
            "file://$HOME/canary",
            "vault://canary",
            "vault://secret/canary",
            "vault://secret/canary#",
            "vault://secret/../sys/canary#a",
            "vault://secret//canary#a",
            "vault://secret%2F/canary#a",
            "vault://%2Fsecret/canary#a",
            "vault://..%2Fsys/canary#a",
            "vault://secret%2e/canary#a",
            "vault://secret/canary?x=1#a",
            "aws-sm://",
            "aws-sm://canary#",
            "aws-sm://canary with spaces",
            "azure-kv://canary",
            "azure-kv://ca/canary",
            "azure-kv://vault.evil.example/canary",
            "azure-kv://vault/canary/x",
            "gcp-sm://canary",
            "gcp-sm://project/canary/1/2",
            "gcp-sm://../canary",
            "https://canary",
        ] {
            let refusal = SecretRef::parse(text).unwrap_err();
            assert!(!refusal.contains("canary"), "{text}: {refusal}");
        }
    }

    #[test]
    fn references_are_written_as_they_were_read() {
        for text in [
            "env://OPENAI_API_KEY",
            "file:///run/key",
            "file://$CREDENTIALS_DIRECTORY/openai-key",
            "vault://secret/ephemint/openai#api_key",
            "vault://kv-2/a/b c/d#data.key",
            "vault://kv%2Fteam-a/openai#key",
            "aws-sm://ephemint/openai",
            "aws-sm://arn:aws:secretsmanager:eu-west-1:123456789012:secret:openai-AbCdEf#api_key",
            "azure-kv://my-vault/openai-key",
            "gcp-sm://my-project/openai_key",
            "gcp-sm://my-project/openai_key/7",
        ] {
            assert_eq!(SecretRef::parse(text).unwrap().to_string(), text);
        }
    }
}
