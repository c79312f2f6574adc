//! `ephemint serve`.

use std::path::PathBuf;

use super::startup::{Ready, ready};
use super::{CONFIGURATION, FAILURE, complain};
use crate::app::App;
use crate::config::load::Environ;
use crate::hardening;
use crate::http::MoreRoutes;
use crate::shutdown::Signals;
use crate::telemetry::logs;

#[derive(clap::Args)]
pub(super) struct ServeArguments {
    /// Configuration file [default: $EPHEMINT_CONFIG, ./ephemint.toml, /etc/ephemint/ephemint.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: &ServeArguments, environ: &Environ) -> u8 {
    match ready(arguments.config.as_deref(), environ) {
        Ok(ready) => serve(ready, MoreRoutes::none(), true, |_| {}),
        Err(code) => code,
    }
}

/// Runs the service to its end. SIGHUP ends it too unless it `reloads`. `started` is told when it listens.
pub(super) fn serve(ready: Ready, more: MoreRoutes, reloads: bool, started: impl FnOnce(&App)) -> u8 {
    let Ready { config, sources, open, runtime, .. } = ready;
    let _logs = logs::start(&config.telemetry);
    for reference in open {
        tracing::warn!(%reference, "everybody on this machine may read this file; take the permission from others (chmod o-r, or defaultMode in Kubernetes)");
    }
    let outcome = runtime.block_on(async {
        // Before anybody is told that it runs: whoever hears that may end it.
        let signals = Signals::listen(reloads)?;
        let app = App::build(config, &sources, more)?;
        hardening::hide_memory();
        started(&app);
        app.serve(signals).await
    });
    // What hangs in a file system is not waited for.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) => {
            complain(&error.to_string());
            if error.is_configuration() { CONFIGURATION } else { FAILURE }
        }
    }
}
