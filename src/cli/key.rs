//! `ephemint key hash` and `ephemint key new`.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Read};

use super::{FAILURE, complain, print};
use crate::domain::ids::hex;
use crate::domain::secret::{Secret, Sha256, random_secret};

/// A key is as good as it is hard to guess.
const LEAST: usize = 32;
const MOST: usize = 1024;
/// Different characters in a key. Of 32 random hexadecimal digits, fewer than one in a million have so few.
const VARIETY: usize = 6;
/// Tells a key of Ephemint's from other secrets, for people and for secret scanners.
const PREFIX: &str = "epk_";

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Read an API key on standard input and print the hash for identity.api_keys
    Hash,
    /// Make an API key: print it, and the entry for identity.api_keys that holds its hash
    New {
        /// Names the key in the configuration and in the audit trail
        #[arg(long, default_value = "k1")]
        id: String,
    },
}

pub(super) fn run(command: &Command) -> u8 {
    let outcome = match command {
        Command::Hash => hash(),
        Command::New { id } => new(id),
    };
    match outcome {
        Ok(text) => {
            print(&text);
            0
        }
        Err(cause) => {
            complain(&cause);
            FAILURE
        }
    }
}

fn hash() -> Result<String, String> {
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() {
        complain("type or paste the key, then press Enter and Ctrl-D; `ephemint key new` makes one");
    }
    let mut text = String::new();
    let read = stdin.by_ref().take(MOST as u64 + 3).read_to_string(&mut text);
    read.map_err(|_| "standard input is not text".to_owned())?;
    let key =
        Secret::from(text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line)).to_owned());
    check(key.reveal())?;
    Ok(hex(&Sha256::of(key.reveal().as_bytes()).0))
}

/// What cannot be sent as a bearer token, or would be taken for something else, is no key. The key itself is never shown.
fn check(key: &str) -> Result<(), String> {
    let body = key.trim_end_matches('=');
    if key.len() < LEAST {
        return Err(format!(
            "the key has {} characters; a key needs at least {LEAST} random ones (`ephemint key new` makes one)",
            key.chars().count()
        ));
    }
    if key.bytes().collect::<BTreeSet<_>>().len() < VARIETY {
        return Err("the key repeats itself and is easy to guess; `ephemint key new` makes a random one".into());
    }
    if key.len() > MOST {
        return Err(format!("the key is longer than {MOST} characters"));
    }
    if !body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b)) {
        return Err("the key holds characters that a bearer token cannot have: use letters, digits and - . _ ~ + / with = at the end alone".into());
    }
    if ["sk-", "ek_"].iter().any(|prefix| key.starts_with(prefix)) {
        return Err(
            "this is a key of the provider's (sk-, ek_), which no caller may hold; make one with `ephemint key new`".into()
        );
    }
    if key.bytes().filter(|&b| b == b'.').count() == 2 {
        return Err("the key has the three parts of a JWT and would be taken for one; make one with `ephemint key new`".into());
    }
    Ok(())
}

fn new(id: &str) -> Result<String, String> {
    let named = (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if !named {
        return Err("an id has 1 to 64 letters, digits, '_', '-' or '.'".into());
    }
    let key = random_secret(PREFIX).map_err(|_| "the operating system gives no random numbers".to_owned())?;
    let digest = hex(&Sha256::of(key.reveal().as_bytes()).0);
    Ok(format!(
        "The key, shown this once; give it to the server that is to use it:\n\n  {}\n\nIts place in the configuration, under [identity.api_keys.NAME]:\n\n  keys = [{{ id = \"{id}\", sha256 = \"{digest}\" }}]",
        key.reveal()
    ))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_is_no_key_is_refused_without_being_repeated() {
        let long = "x".repeat(1025);
        for bad in [
            "",
            "canary-short",
            "aaaaaaaabbbbbbbbaaaaaaaabbbbbbbb",
            "canary with spaces and more than 32 characters",
            "sk-proj-canary-0123456789abcdef0123456789abcdef",
            "ek_canary-0123456789abcdef0123456789abcdef",
            "canary.0123456789abcdef.0123456789abcdef",
            "canary=0123456789abcdef0123456789abcdef",
            "canary-0123456789abcdef0123456789abcdeü",
            long.as_str(),
        ] {
            assert!(!check(bad).unwrap_err().contains("canary"), "{bad}");
        }
        for good in ["epk_0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcd/+=="] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }
}
