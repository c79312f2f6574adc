//! `ephemint config print` and `ephemint config schema`.

use std::path::PathBuf;

use super::{CONFIGURATION, FAILURE, complain, print};
use crate::config::check::Tries;
use crate::config::finish;
use crate::config::load::{Environ, load, schema};
use crate::domain::secret::Secret;
use crate::domain::secret_ref::SecretRef;

/// Of the form that a webhook's secret has.
const WEBHOOK_STAND_IN: &str = "whsec_c3RhbmQtaW4tdGhhdC1pcy1uZXZlci1zZW50"; // ephemint:allow

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Print the effective configuration: defaults, file and environment together, with references in place of secrets
    Print {
        /// Configuration file [default: as for serve]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print the JSON schema of the configuration file
    Schema,
}

pub(super) fn run(command: &Command, environ: &Environ) -> u8 {
    let text = match command {
        Command::Print { config } => {
            let mut loaded = load(config.as_deref(), environ);
            // Secrets are not read here, so nothing of them can be printed; a stand-in that passes takes their place. Nor is a file of
            // entries opened, which would create it.
            let signing: Vec<_> = loaded.raw.webhooks.secrets().map(str::to_owned).collect();
            let stand_in = |reference: &SecretRef| {
                let signs = signing.contains(&reference.to_string());
                let text = if signs { WEBHOOK_STAND_IN } else { "sk-stand-in-that-is-never-sent-anywhere" };
                Ok(Secret::from(text.to_owned()))
            };
            match finish(&loaded, &stand_in, Tries { sink: &|_| Ok(()), redis: &|_| Ok(false) }) {
                // Its default depends on another key.
                Ok(config) => loaded.raw.server.drain_seconds = Some(config.server.drain.as_secs()),
                Err(problems) => {
                    complain(&problems.to_string());
                    return CONFIGURATION;
                }
            }
            toml::to_string_pretty(&loaded.raw).map_err(|e| e.to_string())
        }
        Command::Schema => serde_json::to_string_pretty(&schema()).map_err(|e| e.to_string()),
    };
    match text {
        Ok(text) => {
            print(text.trim_end());
            0
        }
        Err(error) => {
            complain(&error);
            FAILURE
        }
    }
}
