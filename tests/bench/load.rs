//! Callers: each sends its next request when it has its answer.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use super::wire::Connection;

pub(crate) struct Load {
    runtime: Runtime,
    connections: Vec<Connection>,
}

impl Load {
    pub(crate) fn connect(address: SocketAddr, connections: usize) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let connect = || async move { Connection::new(TcpStream::connect(address).await.unwrap()) };
        let connections = (0..connections).map(|_| runtime.block_on(connect())).collect();
        Self { runtime, connections }
    }

    /// Sends every request once.
    pub(crate) fn each(&mut self, requests: &[Vec<u8>]) -> Vec<Duration> {
        self.run(requests, |sent| sent < requests.len())
    }

    /// Sends the requests in turn until the time is over.
    pub(crate) fn during(&mut self, time: Duration, requests: &[Vec<u8>]) -> Vec<Duration> {
        let end = Instant::now() + time;
        self.run(requests, |_| Instant::now() < end)
    }

    /// Returns how long each request took, when all are answered. Ends the program at the first answer that is not 200.
    fn run(&mut self, requests: &[Vec<u8>], go_on: impl Fn(usize) -> bool) -> Vec<Duration> {
        let sent = Cell::new(0);
        let next = || go_on(sent.get()).then(|| &requests[sent.replace(sent.get() + 1) % requests.len()]);
        let callers = self.connections.iter_mut().map(|connection| call(connection, &next));
        self.runtime.block_on(join_all(callers)).concat()
    }
}

async fn call<'r>(connection: &mut Connection, next: &impl Fn() -> Option<&'r Vec<u8>>) -> Vec<Duration> {
    let mut took = Vec::new();
    while let Some(request) = next() {
        let start = Instant::now();
        connection.send(request).await.unwrap();
        let answer = connection.receive().await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(answer));
        took.push(start.elapsed());
    }
    took
}
