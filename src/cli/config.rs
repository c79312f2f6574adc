//! `ephemint config print` and `ephemint config schema`.

use std::path::PathBuf;

use super::startup::stand_ins;
use super::{CONFIGURATION, FAILURE, complain, print};
use crate::config::check::Tries;
use crate::config::load::{Environ, load, schema};
use crate::config::raw::RawConfig;
use crate::config::{Config, finish};

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

/// Defaults that depend on other keys.
fn fill(raw: &mut RawConfig, config: &Config) {
    raw.server.drain_seconds = Some(config.server.drain.as_secs());
    for (name, upstream) in &config.upstreams {
        raw.upstreams.entry(name.clone()).and_modify(|raw| raw.base_url = Some(upstream.base_url.clone()));
    }
    for (name, profile) in &config.profiles {
        let lifetimes = (Some(profile.ttl.seconds()), Some(profile.max_ttl.seconds()));
        raw.profiles.entry(name.clone()).and_modify(|raw| (raw.ttl_seconds, raw.max_ttl_seconds) = lifetimes);
    }
}

pub(super) fn run(command: &Command, environ: &Environ) -> u8 {
    let text = match command {
        Command::Print { config } => {
            let mut loaded = load(config.as_deref(), environ);
            // Secrets are not read here, so nothing of them can be printed; a stand-in that passes takes their place. Nor is a file of
            // entries opened, which would create it.
            let stand_in = stand_ins(&loaded);
            match finish(&loaded, &|reference| Ok(stand_in(reference)), Tries { sink: &|_| Ok(()), redis: &|_| Ok(false) }) {
                Ok(config) => fill(&mut loaded.raw, &config),
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
