//! Connections of the mint path to one upstream, kept open between requests.
//!
//! A connection is polled by whoever uses it, in place: no task of its own stands between a request and its socket, which costs fewer
//! wake-ups than a client that spawns its connections (deploy/docs/decisions/0005). A worker's connections therefore stay on its thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};
use tower_service::Service;

use super::{BodyError, IDLE_TIMEOUT, body};

/// Pooled connections of one worker to one upstream.
///
/// HTTP/1.1 without a cap on their number: one HTTP/2 connection would cap mints at its streams divided by the latency.
pub(crate) struct Pool {
    connector: HttpsConnector<HttpConnector>,
    origin: Uri,
    idle: Rc<Idle>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) head: Parts,
    /// The whole body, unless it broke off or is too large.
    pub(crate) body: Result<Bytes, BodyError<hyper::Error>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("no connection")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the connection broke")]
    Http(#[source] hyper::Error),
    #[error("the connection was closed without an answer")]
    Closed,
}

impl Pool {
    /// `origin` is the scheme and the authority of every request's URI.
    pub(super) fn new(connector: HttpsConnector<HttpConnector>, origin: Uri) -> Self {
        Self { connector, origin, idle: Rc::default() }
    }

    /// Sends a request (its URI in origin form, with a `Host` header) and reads the answer, a body of at most `limit` bytes. Has no
    /// deadline of its own but for connecting; a connection whose exchange is dropped half-way is closed.
    pub(crate) async fn exchange(&self, mut request: Request<Full<Bytes>>, limit: usize) -> Result<Answer, Broken> {
        loop {
            let (mut live, reused) = match self.idle.take() {
                Some(live) => (live, true),
                None => (self.connect().await?, false),
            };
            let (head, incoming) = match live.send(request).await {
                Ok(response) => response.into_parts(),
                // The upstream closed it between two requests and nothing was sent: that is nobody's failed attempt.
                Err(Unsent { request: Some(unsent), .. }) if reused => {
                    request = *unsent;
                    continue;
                }
                Err(Unsent { cause, .. }) => return Err(cause),
            };
            let Some(body) = live.drive(body(incoming, limit)).await else { return Err(Broken::Closed) };
            if body.is_ok() {
                self.idle.put(live);
            }
            return Ok(Answer { head, body });
        }
    }

    async fn connect(&self) -> Result<Box<Live>, Broken> {
        let stream = self.connector.clone().call(self.origin.clone()).await.map_err(Broken::Connect)?;
        let (sender, connection) = http1::handshake(stream).await.map_err(Broken::Http)?;
        Ok(Box::new(Live { sender, connection, ended: false }))
    }
}

/// An open connection and the handle to its requests.
struct Live {
    sender: SendRequest<Full<Bytes>>,
    connection: Connection<MaybeHttpsStream<TokioIo<TcpStream>>, Full<Bytes>>,
    /// A connection that has ended must not be polled again.
    ended: bool,
}

/// A request without an answer; the request itself if nothing of it was sent.
struct Unsent {
    cause: Broken,
    request: Option<Box<Request<Full<Bytes>>>>,
}

impl Live {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Unsent> {
        let sending = self.sender.try_send_request(request);
        match drive(&mut self.connection, &mut self.ended, sending).await {
            Some(Ok(response)) => Ok(response),
            Some(Err(mut error)) => {
                let request = error.take_message().map(Box::new);
                Err(Unsent { cause: Broken::Http(error.into_error()), request })
            }
            None => Err(Unsent { cause: Broken::Closed, request: None }),
        }
    }

    async fn drive<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        drive(&mut self.connection, &mut self.ended, work).await
    }

    /// Whether another request can be sent. Sees what the upstream did meanwhile: a connection that it closed is of no use.
    fn is_ready(&mut self) -> bool {
        // Nobody waits for this connection; whoever sends the next request registers itself.
        let mut context = Context::from_waker(Waker::noop());
        self.ended = self.ended || Pin::new(&mut self.connection).poll(&mut context).is_ready();
        !self.ended && self.sender.is_ready()
    }
}

/// Polls `work` and the connection that it depends on. `None` when the connection ends and the work does not.
async fn drive<T>(connection: &mut (impl Future + Unpin), ended: &mut bool, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        *ended = *ended || Pin::new(&mut *connection).poll(context).is_ready();
        match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if *ended => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Connections that nobody uses, the last used at the back.
#[derive(Default)]
struct Idle {
    connections: RefCell<VecDeque<(Instant, Box<Live>)>>,
    is_swept: Cell<bool>,
}

impl Idle {
    /// The connection that was used last: it is the least likely to be closed.
    fn take(&self) -> Option<Box<Live>> {
        loop {
            let (_, mut live) = self.connections.borrow_mut().pop_back()?;
            if live.is_ready() {
                return Some(live);
            }
        }
    }

    fn put(self: &Rc<Self>, mut live: Box<Live>) {
        if !live.is_ready() {
            return;
        }
        self.connections.borrow_mut().push_back((Instant::now(), live));
        if !self.is_swept.replace(true) {
            spawn_local(sweep(Rc::downgrade(self)));
        }
    }

    fn close_unused(&self, for_as_long_as: Duration) {
        let mut connections = self.connections.borrow_mut();
        while connections.pop_front_if(|(since, _)| since.elapsed() >= for_as_long_as).is_some() {}
        // Those that the upstream closed give their sockets back now.
        connections.retain_mut(|(_, live)| live.is_ready());
    }
}

/// Closes what is not used, as long as there is anything to close.
async fn sweep(idle: Weak<Idle>) {
    loop {
        sleep(IDLE_TIMEOUT / 4).await;
        let Some(idle) = idle.upgrade() else { return };
        idle.close_unused(IDLE_TIMEOUT);
        if idle.connections.borrow().is_empty() {
            idle.is_swept.set(false);
            return;
        }
    }
}
