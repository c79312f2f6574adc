//! `ephemint serve`.

use std::path::PathBuf;

use tokio::runtime::Builder;

use super::{CONFIGURATION, FAILURE, TRIES, complain};
use crate::app::{App, StartError};
use crate::config::load::{Environ, load};
use crate::config::{Config, finish};
use crate::http::MoreRoutes;
use crate::secrets;
use crate::shutdown::Signals;
use crate::telemetry::logs;

#[derive(clap::Args)]
pub(super) struct ServeArguments {
    /// Configuration file [default: $EPHEMINT_CONFIG, ./ephemint.toml, /etc/ephemint/ephemint.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: &ServeArguments, environ: &Environ) -> u8 {
    let loaded = load(arguments.config.as_deref(), environ);
    match finish(&loaded, &|reference| secrets::read(reference, environ), TRIES) {
        Ok(config) => serve(config, MoreRoutes::none(), |_| {}),
        Err(problems) => {
            complain(&problems.to_string());
            CONFIGURATION
        }
    }
}

/// Runs the service to its end. `started` is told when it listens.
pub(super) fn serve(config: Config, more: MoreRoutes, started: impl FnOnce(&App)) -> u8 {
    let _logs = logs::start(&config.telemetry);
    let outcome = Builder::new_current_thread().enable_all().build().map_err(StartError::from).and_then(|runtime| {
        runtime.block_on(async {
            let app = App::build(config, more)?;
            // Before anybody is told that it runs: whoever hears that may end it.
            let signals = Signals::listen()?;
            started(&app);
            app.serve(signals).await
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
