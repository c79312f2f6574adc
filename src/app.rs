//! The only composition root: a [`Config`] in, a running service out.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::http::KeepAlive;
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data};
use actix_web::{App as Actix, HttpServer};
use prometheus_client::metrics::counter::Counter;
use socket2::SockRef;
use tokio::time::{sleep, timeout};

use crate::admit::Admission;
use crate::audit::{Auditor, Unopened};
use crate::authenticate::{self, Authenticator, Offer};
use crate::authorize::{Policy, Profile, Route};
use crate::bind::Bindings;
use crate::block::Blocks;
use crate::config::{self, Config, IdentifyUsers};
use crate::credentials::Credentials;
use crate::domain::clock::{SharedClock, SystemClock};
use crate::domain::ids::Pseudonymizer;
use crate::domain::secret::{Secret, random_secret};
use crate::durable;
use crate::http::address::Proxies;
use crate::http::admin::{self, Admin};
use crate::http::demo::Page;
use crate::http::edge::{Edge, guard};
use crate::http::origin::Origins;
use crate::http::{self, Health, MoreRoutes, Worker, webhook};
use crate::issue::token::{Issuer, Stages};
use crate::issue::webhook::Receiver;
use crate::leash::HangUps;
use crate::outbound::{Outbound, Unbuildable};
use crate::provider::{BuildError, Calls, Provider, Shared};
use crate::secrets::Sources;
use crate::shutdown::{Signals, Told};
use crate::store::{Store, Unusable};
use crate::tasks::Tasks;
use crate::telemetry::metrics::{Metrics, MintLabels};

const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than the idle time-out of common load balancers (60 s), so that they and not we close idle connections.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
const BACKLOG: u32 = 4096;
/// Time for the accepting thread to let go of the socket.
const PAUSE: Duration = Duration::from_millis(20);
/// Time for answers that are already written to leave, once nothing is in flight any more.
const FLUSH: Duration = Duration::from_millis(100);

/// Mints by profile and upstream.
fn mint_counters(policy: &Policy, metrics: &Metrics) -> HashMap<Arc<str>, Box<[Counter]>> {
    let counter = |profile: &Profile, route: &Route| {
        let labels = MintLabels { profile: profile.name().to_string(), upstream: route.upstream().name.clone() };
        metrics.mints.get_or_create_owned(&labels)
    };
    let counters = |profile: &Profile| profile.routes().iter().map(|route| counter(profile, route)).collect();
    policy.profiles().map(|profile| (profile.name().clone(), counters(profile))).collect()
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The address cannot be listened on.
    #[error("{key}: cannot listen on {address}: {cause}")]
    Listen {
        /// Configuration key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        cause: io::Error,
    },
    /// An audit sink cannot be opened.
    #[error(transparent)]
    Audit(#[from] Unopened),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] Unusable),
    /// What it holds cannot be read.
    #[error("store.path: {0}")]
    Stored(#[from] durable::Unopened),
    /// Connections to an upstream cannot be set up.
    #[error(transparent)]
    Upstream(#[from] BuildError),
    /// The client for issuers' keys cannot be built.
    #[error(transparent)]
    Client(#[from] Unbuildable),
    /// Callers cannot be authenticated.
    #[error(transparent)]
    Identity(#[from] authenticate::StartError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The process may not handle signals, or a thread cannot be started.
    #[error("the operating system refuses: {0}")]
    System(#[from] io::Error),
}

impl StartError {
    /// Whether a change of the configuration mends it.
    pub(crate) fn is_configuration(&self) -> bool {
        matches!(self, Self::Audit(_) | Self::Store(_) | Self::Stored(_) | Self::Upstream(_))
    }
}

/// A service that is bound and has not begun to serve.
pub(crate) struct App {
    public: Server,
    public_socket: TcpListener,
    public_address: SocketAddr,
    admin: Server,
    admin_address: SocketAddr,
    edge: Arc<Edge>,
    store: Store,
    credentials: Credentials,
    tasks: Tasks,
    drain: Duration,
    grace: Duration,
}

impl App {
    /// Builds every stage and binds both listeners. Must run inside the process's runtime, which then keeps issuers' keys fresh.
    pub(crate) fn build(config: Config, sources: &Arc<Sources>, more: MoreRoutes) -> Result<Self, StartError> {
        let clock = SystemClock::shared();
        let (metrics, registry) = Metrics::new(clock.wall());
        let (outbound, tasks) = (Outbound::new()?, Tasks::new(metrics.panics.clone()));
        let upstreams = Shared::all(&config.upstreams, &config.profiles, sources, &outbound, &clock, &metrics)?;
        let (page, proxies) = (Page::of(&config), Arc::new(Proxies::new(&config.server)));
        let (server, admin, identity) = (config.server, config.admin, config.identity);
        let names = Pseudonymizer::new(&config.pseudonym_key.map_or_else(passing_pseudonym_key, Ok)?)
            .keeping_names(names_in_audit(&config.audit));
        let policy = Policy::new(config.profiles);
        let per_address = identity.guest.as_ref().map(|guest| guest.per_address);
        let issuers = identity.issuers();
        let authenticator =
            Authenticator::start(identity, policy.asked_claims(), names.clone(), &outbound, clock.clone(), metrics.clone())?;
        let dpop = authenticator.dpop_offer();
        let store = Store::open(config.store, &metrics)?;
        let bindings = Arc::new(Bindings::new(&store, &clock)?);
        let auditor = Arc::new(Auditor::open(config.audit, metrics.clone())?);
        let credentials = Credentials::start(&upstreams, config.followed, sources, &outbound, &auditor, &clock, &metrics)?;
        let calls = Calls::new(upstreams.clone(), &outbound, clock.clone())?;
        let stages = Arc::new(Stages {
            mints: mint_counters(&policy, &metrics),
            metrics: metrics.clone(),
            authenticator,
            admission: Admission::new(&policy, config.ceilings, per_address, names.clone(), &clock, &store, &metrics)?,
            policy,
            blocks: Blocks::new(&store, clock.clone())?,
            hang_ups: HangUps::new(calls, bindings.clone(), auditor.clone(), clock.clone(), &metrics),
            bindings,
            auditor,
            store: store.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
        });
        stages.hang_ups.take_up();
        let public_socket = listen("server.listen", server.listen)?;
        let public_address = public_socket.local_addr()?;
        let edge = edge(&server, page.as_ref().map(|_| public_address), dpop, &metrics, &clock);
        let admin_routes =
            Admin::new(admin.token.clone(), admin.open_metrics, registry, stages.clone(), credentials.clone(), names, issuers);
        let more = webhook::beside(more, config.webhook.map(|webhook| Receiver::new(webhook, stages.clone(), &metrics)));
        let workers =
            Workers { stages, upstreams, outbound, clock: clock.clone(), metrics, edge: edge.clone(), proxies, page, more };
        workers.provider()?;
        let public = serve_public(workers, &server, public_socket.try_clone()?)?;
        let (admin, admin_address) = serve_admin(&admin, admin_routes, &clock)?;
        Ok(Self {
            public,
            public_socket,
            public_address,
            admin,
            admin_address,
            edge,
            store,
            credentials,
            tasks,
            drain: server.drain,
            grace: server.grace,
        })
    }

    /// Where the public listener is bound.
    pub(crate) fn public_address(&self) -> SocketAddr {
        self.public_address
    }

    /// Where the admin listener is bound.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Serves until one of `signals`, then drains. Returns the process's exit code: 0 after an orderly end, 128 + signal after a second signal.
    pub(crate) async fn serve(self, mut signals: Signals) -> Result<u8, StartError> {
        let (public, admin) = (self.public.handle(), self.admin.handle());
        let servers = tokio::spawn(async move { tokio::try_join!(self.public, self.admin) });
        tracing::info!(listener = "public", address = %self.public_address, "listening");
        tracing::info!(listener = "admin", address = %self.admin_address, "listening");
        tokio::pin!(servers);
        tokio::select! {
            failed = &mut servers => {
                if let Ok(Err(cause)) = failed {
                    return Err(cause.into());
                }
                return Ok(1);
            }
            _ = until_told_to_end(&mut signals, &self.credentials) => {}
        }
        let ending = end(&public, &admin, &self.public_socket, &self.edge, &self.tasks, self.drain, self.grace);
        let store = self.store;
        let ending = async {
            ending.await;
            store.close().await;
        };
        tokio::select! {
            () = ending => Ok(0),
            code = until_told_to_end(&mut signals, &self.credentials) => {
                tracing::warn!("second signal: ending at once");
                Ok(code)
            }
        }
    }
}

/// The exit code of a process that is ended so. Credentials are looked for anew whenever it is told to reload.
async fn until_told_to_end(signals: &mut Signals, credentials: &Credentials) -> u8 {
    loop {
        match signals.next().await {
            Told::Reload => {
                tracing::info!("reloading: looking for new credentials");
                credentials.reload();
            }
            Told::End(code) => return code,
        }
    }
}

/// The order matters: not ready; serve on; close the listener; finish mints; let answers out; only then end the workers, whose runtimes
/// carry the mints.
async fn end(
    public: &ServerHandle,
    admin: &ServerHandle,
    socket: &TcpListener,
    edge: &Edge,
    tasks: &Tasks,
    drain: Duration,
    grace: Duration,
) {
    tracing::info!(drain_seconds = drain.as_secs(), "shutting down: not ready any more");
    edge.drain();
    sleep(drain).await;
    close(public, socket).await;
    tracing::info!(in_flight = edge.in_flight(), "the listener is closed");
    let finish = async {
        while edge.in_flight() > 0 {
            sleep(Duration::from_millis(5)).await;
        }
        tasks.drain().await;
        sleep(FLUSH).await;
    };
    if timeout(grace, finish).await.is_err() {
        tracing::warn!(in_flight = edge.in_flight(), "the grace is over: cutting what is left");
    }
    tasks.abandon();
    tokio::join!(public.stop(false), admin.stop(false));
    tracing::info!("stopped");
}

/// Closes the listener while the workers still run, and cuts nobody who was let in.
async fn close(public: &ServerHandle, socket: &TcpListener) {
    let socket = SockRef::from(socket);
    // The queue takes no more, and what is in it is still accepted.
    let _ = socket.listen(0);
    sleep(PAUSE).await;
    public.pause().await;
    // The command is on its way to the accepting thread, which logs an error should it find the socket closed first.
    sleep(PAUSE).await;
    // Connections are refused from here on. (Where an operating system does not do that for a listening socket, they wait until the
    // process ends.)
    let _ = socket.shutdown(std::net::Shutdown::Both);
}

/// What every worker is made from.
#[derive(Clone)]
struct Workers {
    stages: Arc<Stages>,
    upstreams: Vec<Arc<Shared>>,
    outbound: Outbound,
    clock: SharedClock,
    metrics: Metrics,
    edge: Arc<Edge>,
    proxies: Arc<Proxies>,
    page: Option<Page>,
    more: MoreRoutes,
}

impl Workers {
    fn provider(&self) -> Result<Provider, BuildError> {
        Provider::new(&self.upstreams, &self.outbound, &self.clock, &self.metrics)
    }

    /// Called on a worker's own thread. `provider` has succeeded before with the same settings.
    fn worker(&self) -> io::Result<Worker> {
        let provider = self.provider().map_err(io::Error::other)?;
        let issuer = Rc::new(Issuer { stages: self.stages.clone(), provider });
        Ok(Worker { issuer, edge: self.edge.clone(), proxies: self.proxies.clone() })
    }
}

fn serve_public(workers: Workers, settings: &config::Server, socket: TcpListener) -> Result<Server, StartError> {
    let count =
        if settings.workers == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { settings.workers };
    let most_connections = settings.max_in_flight.saturating_mul(4).max(4096) / count;
    let factory = move || {
        let (edge, page, more) = (workers.edge.clone(), workers.page.clone(), workers.more.clone());
        let health = Data::new(Health { stages: workers.stages.clone(), edge: edge.clone() });
        let app = Actix::new().app_data(Data::from(edge)).wrap(from_fn(guard)).default_service(web::to(http::not_found));
        let app = match workers.worker() {
            Ok(worker) => app.configure(http::public(worker, health)),
            Err(error) => {
                tracing::error!(%error, "a worker cannot be set up");
                app
            }
        };
        let app = app.configure(|routes| page.into_iter().for_each(|page| page.routes()(routes)));
        app.configure(|routes| more.add_to(routes))
    };
    let server = HttpServer::new(factory)
        .workers(count)
        .max_connections(most_connections)
        .keep_alive(KeepAlive::Timeout(KEEP_ALIVE))
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(Duration::from_secs(1))
        .tcp_nodelay(true)
        .disable_signals()
        .listen(socket)?;
    Ok(server.run())
}

fn serve_admin(settings: &config::Admin, routes: Admin, clock: &SharedClock) -> Result<(Server, SocketAddr), StartError> {
    let socket = listen("admin.listen", settings.listen)?;
    let address = socket.local_addr()?;
    if settings.token.is_none() && !settings.open_metrics {
        tracing::warn!("admin.token is not set, so every request to the admin listener is refused");
    }
    let admin = Data::new(routes);
    // Requests of operators are not counted among the users'.
    let edge = Edge::new(Origins::new(&[], false), None, "/docs".into(), 64, Metrics::new(Duration::ZERO).0, clock.clone());
    let factory = move || {
        let app = Actix::new().app_data(Data::from(edge.clone())).wrap(from_fn(guard));
        app.default_service(web::to(http::not_found)).configure(admin::routes(admin.clone()))
    };
    let server = HttpServer::new(factory)
        .workers(1)
        .max_connections(256)
        .client_request_timeout(HEAD_TIMEOUT)
        .disable_signals()
        .listen(socket)?;
    Ok((server.run(), address))
}

fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    bind(address).map_err(|cause| StartError::Listen { key, address, cause })
}

/// Opens a listener.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// With the origin of the page at this address, if it is on this machine: whatever port was free.
fn edge(
    settings: &config::Server,
    page: Option<SocketAddr>,
    dpop: Option<Offer>,
    metrics: &Metrics,
    clock: &SharedClock,
) -> Arc<Edge> {
    let mut allowed = settings.allowed_origins.clone();
    if let Some(address) = page.filter(|address| address.ip().is_loopback()) {
        allowed.extend([format!("http://{address}"), format!("http://localhost:{}", address.port())]);
    }
    let origins = Origins::new(&allowed, dpop.is_some());
    Edge::new(origins, dpop, docs_url(settings), settings.max_in_flight, metrics.clone(), clock.clone())
}

/// Where codes are explained: this service's own page.
fn docs_url(settings: &config::Server) -> String {
    settings.public_url.as_ref().map_or_else(|| "/docs".into(), |url| format!("{}/docs", url.as_str().trim_end_matches('/')))
}

fn names_in_audit(audit: &config::Audit) -> bool {
    let plain = audit.identify_users == IdentifyUsers::Plain;
    if plain {
        tracing::warn!(
            "audit.identify_users is plain: audit entries name users as their issuers do; whoever reads them learns who talked when"
        );
    }
    plain
}

fn passing_pseudonym_key() -> Result<Secret, StartError> {
    tracing::warn!("privacy.pseudonym_key is not set: users get new pseudonyms with every start");
    random_secret("").map_err(|_| StartError::System(io::Error::other("no random numbers")))
}
