//! What is wrong with a configuration: all of it at once, each with its place.

use std::collections::BTreeSet;
use std::fmt;

/// One thing to fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Dotted key; empty for the file as a whole.
    pub(crate) key: String,
    /// What is wrong and what to write instead. Never holds a value that could be a secret.
    pub(crate) cause: String,
}

impl Problem {
    pub(crate) fn new(key: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { key: key.into(), cause: cause.into() }
    }

    /// Whether this is about `key` or something inside it. An empty key stands for the whole file.
    pub(crate) fn is_within(&self, key: &str) -> bool {
        key.is_empty() || self.key.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    }
}

/// Where keys come from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    /// The file as messages name it.
    pub(crate) file: String,
    /// Dotted keys that the environment set.
    pub(crate) environment: BTreeSet<String>,
}

impl Origins {
    fn of(&self, key: &str) -> String {
        let problem = Problem::new(key, "");
        let from_environment = |set: &&String| problem.is_within(set);
        match self.environment.iter().find(from_environment) {
            Some(set) => format!("environment variable EPHEMINT__{}", set.to_uppercase().replace('.', "__")),
            None => self.file.clone(),
        }
    }
}

/// Everything that is wrong. Displays one line per problem, with file and key.
#[derive(Debug)]
pub(crate) struct Problems {
    pub(crate) origins: Origins,
    pub(crate) list: Vec<Problem>,
}

impl Problems {
    /// Each problem with its place: the file, or the environment variable.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (String, &Problem)> {
        self.list.iter().map(|problem| (self.origins.of(&problem.key), problem))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (place, problem)) in self.placed().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            match problem.key.as_str() {
                "" => write!(f, "{newline}{place}: {}", problem.cause)?,
                key => write!(f, "{newline}{place}: {key}: {}", problem.cause)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
