//! What `ephemint dev` runs in place of the outside world: a simulated `OpenAI` realtime upstream and a simulated issuer, both on
//! loopback. Nothing here is part of `ephemint serve`.

#[cfg_attr(not(test), expect(dead_code, reason = "until calls are answered"))]
mod media;
mod signin;
mod upstream;
#[cfg_attr(not(test), expect(dead_code, reason = "until calls are answered"))]
mod voice;

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use actix_web::web::{self, Data};
use actix_web::{App, HttpServer};
use tokio::runtime::Builder;

use crate::domain::clock::SystemClock;
use crate::domain::secret::Secret;
use crate::http::MoreRoutes;
use signin::Signin;
use upstream::Upstream;

/// The audience of development tokens.
pub(crate) const AUDIENCE: &str = "ephemint-dev";

/// Longest body of a request for a development token.
const MAX_TOKEN_REQUEST: usize = 1024;

/// The simulated outside world, bound to a free port of the loopback interface.
pub(crate) struct World {
    socket: TcpListener,
    signin: Data<Signin>,
    url: String,
}

impl World {
    pub(crate) fn bind() -> io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let url = format!("http://{}", socket.local_addr()?);
        let signin = Signin::new(url.clone(), SystemClock::shared()).map_err(|_| io::Error::other("no random numbers"))?;
        Ok(Self { socket, signin: Data::new(signin), url })
    }

    /// Base URL: the issuer's own name, and with `/v1` the upstream's.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// `POST /dev/token`, for the public listener.
    pub(crate) fn token_route(&self) -> MoreRoutes {
        let signin = self.signin.clone();
        MoreRoutes::new(move |routes| {
            let route = web::resource("/dev/token").app_data(web::PayloadConfig::new(MAX_TOKEN_REQUEST));
            routes.app_data(signin.clone()).service(route.route(web::post().to(signin::token)));
        })
    }

    /// Serves on a thread and a runtime of its own, so that it is up before the service asks it for its keys. The simulated upstream
    /// accepts `key` alone.
    pub(crate) fn start(self, key: &Secret, ended: impl FnOnce(io::Error) + Send + 'static) -> io::Result<()> {
        let upstream = Data::new(Upstream::new(key));
        let serve = move || {
            let Self { socket, signin, .. } = self;
            let app = move || App::new().configure(upstream::routes(upstream.clone())).configure(signin::issuer(signin.clone()));
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { HttpServer::new(app).workers(1).disable_signals().listen(socket)?.run().await })
        };
        thread::Builder::new().name("sandbox".into()).spawn(move || serve().map_err(ended)).map(drop)
    }
}
