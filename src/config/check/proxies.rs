//! Whom to believe about a client's address.

use super::Check;
use crate::domain::network::Network;

impl Check<'_> {
    pub(super) fn trusted_proxies(&mut self, raw: &[String]) -> Vec<Network> {
        let mut networks = Vec::new();
        for (i, text) in raw.iter().enumerate() {
            match Network::parse(text) {
                Ok(network) => networks.push(network),
                Err(cause) => self.problem(format!("server.trusted_proxies[{i}]"), cause),
            }
        }
        networks
    }
}
