//! `ephemint serve`.

use std::path::PathBuf;

use tokio::runtime::Builder;

use super::{CONFIGURATION, FAILURE, complain};
use crate::app::{App, Extra, StartError};
use crate::config::Config;
use crate::config::check::check;
use crate::config::load::{Environ, Loaded, load};
use crate::config::problem::Problems;
use crate::secrets;
use crate::telemetry::logs;

#[derive(clap::Args)]
pub(super) struct ServeArguments {
    /// Configuration file [default: $EPHEMINT_CONFIG, ./ephemint.toml, /etc/ephemint/ephemint.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: &ServeArguments, environ: &Environ) -> u8 {
    match checked(load(arguments.config.as_deref(), environ), environ) {
        Ok(config) => serve(config, None, |_| {}),
        Err(problems) => {
            complain(&problems.to_string());
            CONFIGURATION
        }
    }
}

/// Checks what was loaded and reads its secrets. All problems at once.
pub(super) fn checked(loaded: Loaded, environ: &Environ) -> Result<Config, Problems> {
    let outcome = check(&loaded.raw, &|reference| secrets::read(reference, environ));
    let mut list = loaded.problems;
    match outcome {
        Ok(config) if list.is_empty() => return Ok(config),
        Ok(_) => {}
        // What could not be read was left at its default; a complaint about that default would only repeat the first one.
        Err(found) => {
            let known: Vec<String> = list.iter().map(|problem| problem.key.clone()).collect();
            let whole_file = known.iter().any(String::is_empty);
            list.extend(
                found.into_iter().filter(|problem| !whole_file && !known.iter().any(|key| problem.key.starts_with(key.as_str()))),
            );
        }
    }
    Err(Problems { origins: loaded.origins, list })
}

/// Runs the service to its end. `started` is told when it listens.
pub(super) fn serve(config: Config, extra: Option<Extra>, started: impl FnOnce(&App)) -> u8 {
    let _logs = logs::start(&config.telemetry);
    let outcome = Builder::new_current_thread().enable_all().build().map_err(StartError::from).and_then(|runtime| {
        runtime.block_on(async {
            let app = App::build(config, extra)?;
            started(&app);
            app.serve().await
        })
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            complain(&error.to_string());
            if error.is_configuration() { CONFIGURATION } else { FAILURE }
        }
    }
}
