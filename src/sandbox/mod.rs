//! What `ephemint dev` runs in place of the outside world: a simulated `OpenAI` realtime upstream and a simulated issuer, both on
//! loopback. Nothing here is part of `ephemint serve`.

mod signin;
mod upstream;

use std::net::{Ipv4Addr, TcpListener};

use actix_web::dev::Server;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, HttpServer};

use crate::domain::secret::Secret;
pub(crate) use signin::Signin;
use upstream::Upstream;

/// The audience of development tokens.
pub(crate) const AUDIENCE: &str = "ephemint-dev";

/// Starts the simulated outside world. The simulated upstream accepts `key` alone.
pub(crate) fn start(key: &Secret, signin: Data<Signin>, socket: TcpListener) -> std::io::Result<Server> {
    let upstream = Data::new(Upstream::new(key));
    let server = HttpServer::new(move || {
        App::new().configure(upstream::routes(upstream.clone())).configure(signin::issuer(signin.clone()))
    });
    Ok(server.workers(1).disable_signals().listen(socket)?.run())
}

/// A free port of the loopback interface.
pub(crate) fn socket() -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}

/// `POST /dev/token`, for the public listener.
pub(crate) fn token_route(signin: &Data<Signin>, routes: &mut ServiceConfig) {
    routes
        .app_data(signin.clone())
        .service(web::resource("/dev/token").app_data(web::PayloadConfig::new(1024)).route(web::post().to(signin::token)));
}
