//! What `ephemint dev` runs in place of the outside world: a simulated `OpenAI` realtime upstream and a simulated issuer, both on
//! loopback. Nothing here is part of `ephemint serve`.
//!
//! ```text
//! upstream (HTTP, WebSockets) -> call (one task each) -> conversation (events, no I/O)
//!                                                     -> media (WebRTC), voice (recorded lines)
//! ```

// sentences that are spoken
mod voice;
// WebRTC peers
mod media;
// what may be sent, and how it is refused
mod shape;
mod refused;
// failures by name
mod scenario;
// settings of a session
mod session;
// the realtime API's events
mod conversation;
// a call: peer, conversation, sidebands, clock
mod call;
// client secrets that were minted
mod vault;
// every request: own names, CORS, deadline
mod local;
// the endpoints
mod upstream;
// the issuer
mod signin;

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::web::{self, Data};
use actix_web::{App, HttpServer};
use tokio::runtime::Builder;

use crate::domain::clock::{SharedClock, SystemClock};
use crate::http::{MoreRoutes, methods};
use media::Media;
pub(crate) use scenario::Scenario;
use signin::Signin;
pub(crate) use upstream::Keys;
use upstream::Upstream;

/// The audience of development tokens.
pub(crate) const AUDIENCE: &str = "ephemint-dev";

/// Longest body of a request for a development token.
const MAX_TOKEN_REQUEST: usize = 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_CONNECTIONS: usize = 2048;

/// The simulated outside world, bound to a port of the loopback interface.
pub(crate) struct World {
    socket: TcpListener,
    signin: Data<Signin>,
    url: String,
    clock: SharedClock,
    /// Web origins beside this machine's own whose pages may call.
    pages: Vec<String>,
}

impl World {
    /// `port` 0 takes a free one.
    pub(crate) fn bind(port: u16) -> io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let url = format!("http://{}", socket.local_addr()?);
        let clock = SystemClock::shared();
        let signin = Signin::new(url.clone(), clock.clone()).map_err(|_| io::Error::other("no random numbers"))?;
        Ok(Self { socket, signin: Data::new(signin), url, clock, pages: Vec::new() })
    }

    /// Lets pages of these origins call too.
    pub(crate) fn open_to(self, pages: Vec<String>) -> Self {
        Self { pages, ..self }
    }

    /// Base URL: the issuer's own name, and with `/v1` the upstream's.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// `POST /dev/token`, for the public listener.
    pub(crate) fn token_route(&self) -> MoreRoutes {
        let signin = self.signin.clone();
        MoreRoutes::new(move |routes| {
            let route = methods("/dev/token", "POST, OPTIONS").app_data(web::PayloadConfig::new(MAX_TOKEN_REQUEST));
            routes.app_data(signin.clone()).service(route.route(web::post().to(signin::token)));
        })
    }

    /// Serves on a thread and a runtime of its own, so that it is up before the service asks it for its keys.
    pub(crate) fn start(self, keys: Keys, ended: impl FnOnce(io::Error) + Send + 'static) -> io::Result<()> {
        let media = Media::start()?;
        thread::Builder::new().name("sandbox".into()).spawn(move || self.serve(keys, media).map_err(ended)).map(drop)
    }

    fn serve(self, keys: Keys, media: Media) -> io::Result<()> {
        let Self { socket, signin, clock, pages, .. } = self;
        let upstream = Data::new(Upstream::new(keys, media, clock, pages));
        let app = move || {
            App::new()
                .wrap(from_fn(local::guard))
                .configure(upstream::routes(upstream.clone()))
                .configure(signin::issuer(signin.clone()))
                .default_service(web::to(upstream::no_such_path))
        };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        // One worker: calls run on its thread.
        let server = HttpServer::new(app).workers(1).max_connections(MAX_CONNECTIONS).client_request_timeout(HEAD_TIMEOUT);
        runtime.block_on(async { server.disable_signals().listen(socket)?.run().await })
    }
}

#[cfg(test)]
mod tests;
