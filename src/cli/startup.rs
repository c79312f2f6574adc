//! From a configuration as it is written to one that can be run: every secret read, wherever it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::{CONFIGURATION, FAILURE, TRIES, complain};
use crate::config::check::Tries;
use crate::config::load::{Environ, Loaded, load};
use crate::config::raw::UpstreamKind;
use crate::config::{self, Config, Environment, Problems, finish};
use crate::domain::clock::SystemClock;
use crate::domain::ids::hex;
use crate::domain::secret::{Secret, Sha256};
use crate::domain::secret_ref::SecretRef;
use crate::outbound::Outbound;
use crate::secrets::{self, Found, PAUSES, Sources};

/// Read in development alone, from the working directory.
const DOTENV: &str = ".env";
/// Of the form that a permanent key has.
const STAND_IN: &str = "sk-stand-in-that-is-never-sent-anywhere-";
/// Of the form that a webhook's secret has.
const WEBHOOK_STAND_IN: &str = "whsec_c3RhbmQtaW4tdGhhdC1pcy1uZXZlci1zZW50"; // ephemint:allow

/// What `serve` and `check` need.
pub(super) struct Ready {
    pub(super) config: Config,
    /// With what `./.env` says, where that is read.
    pub(super) environ: Arc<Environ>,
    pub(super) sources: Arc<Sources>,
    pub(super) outbound: Outbound,
    /// References whose files everybody on this machine may read.
    pub(super) open: Vec<SecretRef>,
    /// When secrets were made, seconds since 1970, as far as that is known.
    pub(super) made_at: BTreeMap<SecretRef, u64>,
    /// Whoever asked the managers goes on in it.
    pub(super) runtime: Runtime,
}

/// How a configuration is read.
pub(super) struct Manner {
    tries: Tries<'static>,
    /// Before further attempts at secret managers that do not answer.
    pauses: &'static [Duration],
    /// Secret managers are not asked; a stand-in takes the place of what they keep.
    offline: bool,
}

impl Manner {
    const SERVE: Self = Self { tries: TRIES, pauses: &PAUSES, offline: false };

    /// Sinks are left to the check itself, which leaves no file behind.
    pub(super) fn check(offline: bool) -> Self {
        let sink = &|_: &Path| Ok(());
        let tries = if offline {
            Tries { sink, redis: &|url| if is_stand_in(url) { Ok(false) } else { (TRIES.redis)(url) } }
        } else {
            Tries { sink, ..TRIES }
        };
        Self { tries, pauses: &[], offline }
    }
}

/// Why there is nothing to run.
pub(super) enum NotReady {
    Configuration(Problems),
    /// A file beside the configuration.
    Unreadable(String),
    Failure(String),
}

impl NotReady {
    /// Says so on standard error. The exit code.
    pub(super) fn tell(&self) -> u8 {
        match self {
            Self::Configuration(problems) => complain(&problems.to_string()),
            Self::Unreadable(cause) | Self::Failure(cause) => complain(cause),
        }
        self.code()
    }

    pub(super) fn code(&self) -> u8 {
        if matches!(self, Self::Failure(_)) { FAILURE } else { CONFIGURATION }
    }
}

/// Reads the file, the environment and all secrets for the service. `Err` is the exit code; what is wrong has been said.
pub(super) fn ready(flag: Option<&Path>, environ: &Environ) -> Result<Ready, u8> {
    prepare(flag, environ, &Manner::SERVE).map_err(|not_ready| not_ready.tell())
}

/// The same of a configuration that was loaded.
pub(super) fn from_loaded(loaded: &Loaded, environ: Environ, dotenv: &Environ) -> Result<Ready, u8> {
    read(loaded, environ, dotenv, &Manner::SERVE).map_err(|not_ready| not_ready.tell())
}

/// Reads the file, the environment and all secrets.
pub(super) fn prepare(flag: Option<&Path>, environ: &Environ, manner: &Manner) -> Result<Ready, NotReady> {
    let (loaded, environ, dotenv) = with_dotenv(flag, environ).map_err(NotReady::Unreadable)?;
    read(&loaded, environ, &dotenv, manner)
}

fn read(loaded: &Loaded, environ: Environ, dotenv: &Environ, manner: &Manner) -> Result<Ready, NotReady> {
    let environ = Arc::new(environ);
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| NotReady::Failure(error.to_string()))?;
    let references = config::references(loaded);
    let outbound = Outbound::new().map_err(|error| NotReady::Failure(error.to_string()))?;
    // Absent when they are written wrongly, which is said below with everything else.
    let clock = SystemClock::shared();
    let sources = config::secrets(loaded).map(|settings| Sources::new(&settings, &environ, &outbound, clock)).transpose();
    let sources = sources.map_err(|error| NotReady::Failure(error.to_string()))?;
    let asked = sources.as_ref().filter(|_| !manner.offline);
    let gathered = asked.map(|sources| runtime.block_on(sources.gather(&references, manner.pauses))).unwrap_or_default();
    let stand_in = stand_ins(loaded);
    let found = |reference: &SecretRef| {
        match (gathered.get(reference), reference) {
        (Some(outcome), _) => outcome.clone().map_err(|unreadable| unreadable.to_string()),
        (None, reference) if manner.offline && reference.is_remote() => {
            Ok(Found { secret: stand_in(reference), made_at: None })
        }
        (None, SecretRef::Env(name)) if !environ.contains_key(name) && dotenv.contains_key(name) => {
            Err("the environment variable is not set; ./.env has it, which is read in dev only: set it where the service is started, or use file://".into())
        }
        (None, _) => secrets::read(reference, &environ),
    }
    };
    let config = finish(loaded, &|reference| found(reference).map(|found| found.secret), manner.tries);
    let made_at = references.iter().filter_map(|it| Some((it.clone(), found(it).ok()?.made_at?))).collect();
    match (config, sources) {
        (Ok(config), Some(sources)) => {
            let open = references.into_iter().filter(|it| secrets::is_open_to_others(it, &environ)).collect();
            Ok(Ready { config, environ, sources: Arc::new(sources), outbound, open, made_at, runtime })
        }
        (Ok(_), None) => Err(NotReady::Configuration(Problems { origins: loaded.origins.clone(), list: Vec::new() })),
        (Err(problems), _) => Err(NotReady::Configuration(problems)),
    }
}

/// Secrets that pass, in place of those that are not read.
pub(super) fn stand_ins(loaded: &Loaded) -> impl Fn(&SecretRef) -> Secret + use<> {
    let signing: Vec<_> = loaded.raw.webhooks.secrets().map(str::to_owned).collect();
    let at_azure = loaded.raw.upstreams.values().filter(|upstream| upstream.kind == UpstreamKind::Azure);
    let of_azure: Vec<_> = at_azure.flat_map(|upstream| upstream.credential.keys.clone()).collect();
    move |reference| {
        let name = reference.to_string();
        if signing.contains(&name) {
            Secret::from(WEBHOOK_STAND_IN.to_owned())
        } else if of_azure.contains(&name) {
            Secret::from(digest(reference))
        } else {
            stand_in(reference)
        }
    }
}

/// Takes the place of a permanent key that is not read: another one for each reference.
pub(super) fn stand_in(reference: &SecretRef) -> Secret {
    Secret::from(format!("{STAND_IN}{}", digest(reference)))
}

fn digest(reference: &SecretRef) -> String {
    hex(&Sha256::of(reference.to_string().as_bytes()).0)
}

fn is_stand_in(secret: &Secret) -> bool {
    secret.reveal().starts_with(STAND_IN)
}

/// In dev, what `./.env` says beside the environment, which wins; elsewhere what it would have said, to be told of.
fn with_dotenv(flag: Option<&Path>, environ: &Environ) -> Result<(Loaded, Environ, Environ), String> {
    let loaded = load(flag, environ);
    if !Path::new(DOTENV).is_file() {
        return Ok((loaded, environ.clone(), Environ::new()));
    }
    let lines = dotenvy::from_path_iter(DOTENV).and_then(Iterator::collect::<Result<Environ, _>>);
    if loaded.raw.environment != Environment::Dev {
        return Ok((loaded, environ.clone(), lines.unwrap_or_default()));
    }
    // The parser's own text quotes the line.
    let dotenv = lines.map_err(|_| "./.env cannot be read: it has NAME=value lines".to_owned())?;
    let both: Environ = dotenv.into_iter().chain(environ.clone()).collect();
    let loaded = load(flag, &both);
    if loaded.raw.environment != Environment::Dev {
        return Err("./.env sets another environment than dev, where it is not read; set it where the service is started".into());
    }
    Ok((loaded, both, Environ::new()))
}
