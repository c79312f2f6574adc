//! Where the store is: one node, the master that Sentinel names, or a cluster.
//!
//! `redis://[user:password@]host[:port][/db]`, `redis+sentinel://[user:password@]host[:port],…/master[/db]`,
//! `redis+cluster://[user:password@]host[:port],…`; each with `rediss` for TLS.

use std::time::Duration;

use redis::aio::PubSubStream;
use redis::cluster::ClusterClient;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, TlsMode};

use super::link::Link;
use crate::domain::secret::Secret;

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// A peer that is silent for so long while it owes something is gone.
const PEER_GONE: Duration = Duration::from_secs(5);
/// How often a cluster's client sends a command again that a node did not take, within the call's deadline.
const CLUSTER_RETRIES: u32 = 3;

/// A URL that names no store. Says nothing of the URL, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadUrl {
    #[error(
        "must be redis://[user:password@]host[:port][/db], redis+sentinel://host[:port],host[:port]/master or redis+cluster://host[:port],host[:port]; rediss instead of redis for TLS"
    )]
    Form,
    #[error("names no master: write redis+sentinel://host[:port],host[:port]/master")]
    NoMaster,
    #[error("must not have a path: a cluster has one database")]
    ClusterWithDatabase,
}

/// A parsed URL.
pub(crate) struct Origin {
    kind: Kind,
    is_tls: bool,
    /// The node, the sentinels, or nodes of the cluster; at least one. With what to sign in at the data nodes.
    nodes: Vec<ConnectionInfo>,
}

enum Kind {
    Node(Box<Client>),
    /// The master's name.
    Sentinel(String),
    Cluster(Box<ClusterClient>),
}

impl Origin {
    /// Parses a URL. Nothing is connected to.
    pub(crate) fn parse(url: &Secret) -> Result<Self, BadUrl> {
        let (scheme, rest) = url.reveal().split_once("://").ok_or(BadUrl::Form)?;
        let (tls, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        let is_tls = match tls {
            "redis" => false,
            "rediss" => true,
            _ => return Err(BadUrl::Form),
        };
        if rest.contains(['?', '#']) {
            return Err(BadUrl::Form);
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (sign_in, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
        let named: Vec<&str> = hosts.split(',').collect();
        if named.iter().any(|host| host.is_empty()) || (kind.is_empty() && named.len() > 1) {
            return Err(BadUrl::Form);
        }
        let (master, database) = match kind {
            "sentinel" => path.split_once('/').unwrap_or((path, "")),
            _ => ("", path),
        };
        let port = if kind == "sentinel" { SENTINEL_PORT } else { REDIS_PORT };
        let node = |host: &&str| {
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
            let port = if has_port { String::new() } else { format!(":{port}") };
            let sign_in = if sign_in.is_empty() { String::new() } else { format!("{sign_in}@") };
            let url = format!("{tls}://{sign_in}{host}{port}/{database}");
            let info = url.as_str().into_connection_info().map_err(|_| BadUrl::Form)?;
            // Who we are is said by the user's name alone: `CLIENT SETINFO` is not in every server's ACL.
            let settings = info.redis_settings().clone().set_skip_set_lib_name();
            Ok(info.set_redis_settings(settings).set_tcp_settings(tcp()))
        };
        let nodes = named.iter().map(node).collect::<Result<Vec<_>, BadUrl>>()?;
        let kind = match (kind, nodes.as_slice()) {
            ("", [only]) => Kind::Node(Box::new(Client::open(only.clone()).map_err(|_| BadUrl::Form)?)),
            ("sentinel", _) if master.is_empty() => return Err(BadUrl::NoMaster),
            ("sentinel", _) => Kind::Sentinel(master.to_owned()),
            ("cluster", _) if !path.is_empty() => return Err(BadUrl::ClusterWithDatabase),
            ("cluster", _) => {
                let builder = ClusterClient::builder(nodes.clone()).retries(CLUSTER_RETRIES).tcp_settings(tcp());
                Kind::Cluster(Box::new(builder.build().map_err(|_| BadUrl::Form)?))
            }
            _ => return Err(BadUrl::Form),
        };
        Ok(Self { kind, is_tls, nodes })
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.kind, Kind::Cluster(_))
    }

    /// Whether what is sent could be read on its way.
    pub(crate) fn is_open(&self) -> bool {
        let is_here = |node: &ConnectionInfo| match node.addr() {
            ConnectionAddr::Tcp(host, _) => host == "localhost" || host == "::1" || host.starts_with("127."),
            _ => false,
        };
        !self.is_tls && !self.nodes.iter().all(is_here)
    }

    pub(super) async fn connect(&self, deadline: Duration) -> Result<Link, RedisError> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(Some(deadline));
        match &self.kind {
            Kind::Node(client) => client.get_multiplexed_async_connection_with_config(&config).await.map(Link::Node),
            Kind::Sentinel(master) => self.sentinel(master)?.get_async_connection_with_config(&config).await.map(Link::Node),
            Kind::Cluster(client) => client.get_async_connection().await.map(Link::Cluster),
        }
    }

    pub(super) async fn subscribe(&self, channel: &str) -> Result<PubSubStream, RedisError> {
        let client = match &self.kind {
            Kind::Node(client) => Client::clone(client),
            Kind::Sentinel(master) => self.sentinel(master)?.async_get_client().await?,
            // A cluster carries messages to all its nodes.
            Kind::Cluster(_) => return self.subscribe_anywhere(channel).await,
        };
        let mut messages = client.get_async_pubsub().await?;
        messages.subscribe(channel).await?;
        Ok(messages.into_on_message())
    }

    /// At the first node that can be reached.
    async fn subscribe_anywhere(&self, channel: &str) -> Result<PubSubStream, RedisError> {
        let mut last = None;
        for node in &self.nodes {
            let subscribed = async {
                let mut messages = Client::open(node.clone())?.get_async_pubsub().await?;
                messages.subscribe(channel).await?;
                Ok(messages.into_on_message())
            };
            match subscribed.await {
                Ok(messages) => return Ok(messages),
                Err(error) => last = Some(error),
            }
        }
        // There is at least one.
        Err(last.unwrap_or_else(|| (redis::ErrorKind::ClusterConnectionNotFound, "no node").into()))
    }

    fn sentinel(&self, master: &str) -> Result<SentinelClient, RedisError> {
        let addresses = self.nodes.iter().map(|node| node.addr().clone());
        let mut builder =
            SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?.set_client_to_redis_tcp_settings(tcp());
        if self.is_tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure).set_client_to_sentinel_tls_mode(TlsMode::Secure);
        }
        if let Some(settings) = self.nodes.first().map(ConnectionInfo::redis_settings) {
            builder = builder.set_client_to_redis_db(settings.db());
            if let Some(user) = settings.username() {
                builder = builder.set_client_to_redis_username(user);
            }
            if let Some(password) = settings.password() {
                builder = builder.set_client_to_redis_password(password);
            }
        }
        builder.build()
    }
}

fn tcp() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(PEER_GONE).with_interval(Duration::from_secs(1)).with_retries(3);
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(PEER_GONE)
}

#[cfg(test)]
mod tests {
    use super::{BadUrl, Origin, Secret};

    fn parse(url: &str) -> Result<Origin, BadUrl> {
        Origin::parse(&Secret::from(url.to_owned()))
    }

    #[tokio::test]
    async fn one_node_sentinels_and_clusters_are_named_by_their_url() {
        for url in [
            "redis://localhost",
            "redis://user:p%40ss@10.0.0.1:6380/2",
            "rediss://:pass@redis.example.com",
            "redis+sentinel://a,b:26380,c/main",
            "rediss+sentinel://user:pass@a,b/main/3",
            "redis+cluster://a,b:7001",
            "rediss+cluster://user:pass@a",
        ] {
            let origin = parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(origin.is_cluster(), url.contains("cluster"), "{url}");
        }
        for (url, is_open) in
            [("redis://127.0.0.1:1", false), ("redis://a", true), ("rediss://a", false), ("redis+cluster://localhost,a", true)]
        {
            assert_eq!(parse(url).unwrap_or_else(|error| panic!("{url}: {error}")).is_open(), is_open, "{url}");
        }
    }

    #[test]
    fn a_url_of_another_form_is_refused_without_being_named() {
        for url in [
            "",
            "hunter2",
            "http://user:hunter2@host",
            "redis+tcp://user:hunter2@host",
            "redis://",
            "redis://a,b",
            "redis://user:hunter2@",
            "redis+sentinel://user:hunter2@a,b",
            "redis+sentinel://a,,b/main",
            "redis+cluster://a/1",
            "redis://a/x",
            "redis://a?password=hunter2",
            "redis://a:port",
            "redis+sentinel://a/main/x",
        ] {
            let error = parse(url).err().unwrap_or_else(|| panic!("{url} is taken"));
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{url}");
        }
    }
}
