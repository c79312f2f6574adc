//! From a configuration as it is written to one that can be run: every secret read, wherever it is.

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use super::{CONFIGURATION, FAILURE, TRIES, complain};
use crate::config::load::{Environ, Loaded, load};
use crate::config::{self, Config, Environment, finish};
use crate::domain::clock::SystemClock;
use crate::domain::secret_ref::SecretRef;
use crate::outbound::Outbound;
use crate::secrets::{self, Sources};

/// Read in development alone, from the working directory.
const DOTENV: &str = ".env";

/// What `serve` needs.
pub(super) struct Ready {
    pub(super) config: Config,
    pub(super) sources: Arc<Sources>,
    /// References whose files everybody on this machine may read.
    pub(super) open: Vec<SecretRef>,
    /// Whoever asked the managers goes on in it.
    pub(super) runtime: Runtime,
}

/// Reads the file, the environment and all secrets. `Err` is the exit code; what is wrong has been said.
pub(super) fn ready(flag: Option<&Path>, environ: &Environ) -> Result<Ready, u8> {
    let (loaded, environ, dotenv) = with_dotenv(flag, environ).map_err(|cause| {
        complain(&cause);
        CONFIGURATION
    })?;
    from_loaded(&loaded, environ, &dotenv)
}

/// The same of a configuration that was loaded.
pub(super) fn from_loaded(loaded: &Loaded, environ: Environ, dotenv: &Environ) -> Result<Ready, u8> {
    let failed = |cause: String| {
        complain(&cause);
        FAILURE
    };
    let environ = Arc::new(environ);
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| failed(error.to_string()))?;
    let references = config::references(loaded);
    let outbound = Outbound::new().map_err(|error| failed(error.to_string()))?;
    // Absent when they are written wrongly, which is said below with everything else.
    let clock = SystemClock::shared();
    let sources = config::secrets(loaded).map(|settings| Sources::new(&settings, &environ, &outbound, clock)).transpose();
    let sources = sources.map_err(|error| failed(error.to_string()))?;
    let gathered = sources.as_ref().map(|sources| runtime.block_on(sources.gather(&references))).unwrap_or_default();
    let read = |reference: &SecretRef| {
        match (gathered.get(reference), reference) {
        (Some(outcome), _) => outcome.clone().map(|found| found.secret).map_err(|unreadable| unreadable.to_string()),
        (None, SecretRef::Env(name)) if !environ.contains_key(name) && dotenv.contains_key(name) => {
            Err("the environment variable is not set; ./.env has it, which is read in dev only: set it where the service is started, or use file://".into())
        }
        (None, _) => secrets::read(reference, &environ).map(|found| found.secret),
    }
    };
    match (finish(loaded, &read, TRIES), sources) {
        (Ok(config), Some(sources)) => {
            let open = references.into_iter().filter(|it| secrets::is_open_to_others(it, &environ)).collect();
            Ok(Ready { config, sources: Arc::new(sources), open, runtime })
        }
        (Ok(_), None) => Err(CONFIGURATION),
        (Err(problems), _) => {
            complain(&problems.to_string());
            Err(CONFIGURATION)
        }
    }
}

/// In dev, what `./.env` says beside the environment, which wins; elsewhere what it would have said, to be told of.
fn with_dotenv(flag: Option<&Path>, environ: &Environ) -> Result<(Loaded, Environ, Environ), String> {
    let loaded = load(flag, environ);
    if !Path::new(DOTENV).is_file() {
        return Ok((loaded, environ.clone(), Environ::new()));
    }
    // The parser's own text quotes the line.
    let unreadable = |_| "./.env cannot be read: it has NAME=value lines".to_owned();
    let lines = dotenvy::from_path_iter(DOTENV).map_err(unreadable)?;
    let dotenv = lines.collect::<Result<Environ, _>>().map_err(unreadable)?;
    if loaded.raw.environment != Environment::Dev {
        return Ok((loaded, environ.clone(), dotenv));
    }
    let both: Environ = dotenv.into_iter().chain(environ.clone()).collect();
    Ok((load(flag, &both), both, Environ::new()))
}
