//! A hand-written HTTP/1.1 responder: every broken behaviour of a server is possible here, and everything it is sent is recorded.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::lock;
use super::reply::{End, Reply};
use super::runtime;

/// One request, as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Counts connections from 0, in the order in which they were accepted.
    pub(crate) connection: usize,
}

impl Request {
    /// Every value of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// The one value of a header; two are a failure of the test.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} was sent {} times", all.len());
        all.first().copied()
    }

    pub(crate) fn bearer(&self) -> &str {
        self.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or("")
    }

    /// The fields of a form.
    pub(crate) fn form(&self) -> std::collections::BTreeMap<String, String> {
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the request's body is JSON")
    }

    fn parse(head: &[u8], connection: usize) -> Self {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.split("\r\n");
        let mut start = lines.next().unwrap_or_default().split(' ');
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Self {
            method: start.next().unwrap_or_default().to_owned(),
            target: start.next().unwrap_or_default().to_owned(),
            headers,
            body: Vec::new(),
            connection,
        }
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// What the connections share.
struct Shared {
    handler: Box<Handler>,
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
}

/// A server on a loopback port of its own. The port stays reserved while the server refuses connections.
pub(crate) struct Responder {
    address: SocketAddr,
    shared: Arc<Shared>,
    door: Mutex<Door>,
}

enum Door {
    /// Bound, not listening: the kernel refuses connections, and nobody else gets the port.
    Refusing(TcpSocket),
    Open(AbortHandle),
    Moving,
}

impl Responder {
    /// Reserves a port; connections are refused until [`Responder::open`].
    pub(crate) fn refusing(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let socket = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a loopback port");
        Self {
            address: socket.local_addr().expect("the bound address"),
            shared: Arc::new(Shared { handler: Box::new(handler), requests: Mutex::default(), connections: AtomicUsize::new(0) }),
            door: Mutex::new(Door::Refusing(socket)),
        }
    }

    pub(crate) fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let responder = Self::refusing(handler);
        responder.open();
        responder
    }

    pub(crate) fn open(&self) {
        let mut door = lock(&self.door);
        match std::mem::replace(&mut *door, Door::Moving) {
            Door::Refusing(socket) => {
                let _runtime = runtime().enter();
                let listener = socket.listen(1024).expect("listen");
                let accepting = runtime().spawn(accept(listener, Arc::clone(&self.shared)));
                *door = Door::Open(accepting.abort_handle());
            }
            other => *door = other,
        }
    }

    /// Closes the port and every connection; from now on connections are refused.
    pub(crate) fn refuse(&self) {
        let mut door = lock(&self.door);
        if let Door::Open(accepting) = std::mem::replace(&mut *door, Door::Moving) {
            accepting.abort();
            let deadline = Instant::now() + Duration::from_secs(5);
            *door = loop {
                match bind(self.address) {
                    Ok(socket) => break Door::Refusing(socket),
                    Err(error) => assert!(Instant::now() < deadline, "the same port again: {error}"),
                }
                std::thread::sleep(Duration::from_millis(1));
            };
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything received so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// How many connections were accepted so far, used or not.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Door::Open(accepting) = &*lock(&self.door) {
            accepting.abort();
        }
    }
}

/// A socket that is bound and does not listen. Its address may be taken again while old connections fade away.
fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        let _ = stream.set_nodelay(true);
        connections.spawn(serve(stream, number, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, number: usize, shared: Arc<Shared>) {
    let mut wire = Wire { stream, buffer: Vec::new() };
    while let Some(request) = wire.read_request(number).await {
        let reply = (shared.handler)(&request);
        lock(&shared.requests).push(request);
        tokio::time::sleep(reply.delay).await;
        let written = wire.write_reply(&reply).await;
        match reply.end {
            End::KeepAlive if written => {}
            End::KeepAlive | End::Close => return,
            End::Reset => {
                let _ = wire.stream.set_zero_linger();
                return;
            }
            End::Hang => {
                while wire.fill().await {}
                return;
            }
        }
    }
}

struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    /// Reads more; false at the end of the stream.
    async fn fill(&mut self) -> bool {
        let mut chunk = [0_u8; 4096];
        loop {
            if self.stream.readable().await.is_err() {
                return false;
            }
            match self.stream.try_read(&mut chunk) {
                Ok(0) => return false,
                Ok(read) => {
                    self.buffer.extend_from_slice(&chunk[..read]);
                    return true;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
    }

    async fn read_request(&mut self, connection: usize) -> Option<Request> {
        let head = self.read_until(b"\r\n\r\n").await?;
        let mut request = Request::parse(&head, connection);
        if let Some(length) = request.header("content-length") {
            let length = length.parse().ok()?;
            request.body = self.read_exact(length).await?;
        } else if request.header("transfer-encoding").is_some() {
            loop {
                let size = self.read_until(b"\r\n").await?;
                let size = usize::from_str_radix(&String::from_utf8_lossy(&size), 16).ok()?;
                request.body.extend(self.read_exact(size).await?);
                self.read_exact(2).await?;
                if size == 0 {
                    break;
                }
            }
        }
        Some(request)
    }

    async fn read_until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = find(&self.buffer, end) {
                let rest = self.buffer.split_off(at + end.len());
                let mut head = std::mem::replace(&mut self.buffer, rest);
                head.truncate(at);
                return Some(head);
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn read_exact(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.fill().await {
                return None;
            }
        }
        let rest = self.buffer.split_off(length);
        Some(std::mem::replace(&mut self.buffer, rest))
    }

    /// False when the other side has gone.
    async fn write_reply(&self, reply: &Reply) -> bool {
        let written = self.write(&reply.bytes()).await;
        if let Some(chunk) = &reply.endless {
            while self.write(chunk).await {}
            return false;
        }
        written
    }

    async fn write(&self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            if self.stream.writable().await.is_err() {
                return false;
            }
            match self.stream.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
        true
    }
}

/// Where `needle` begins in `haystack`.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() || haystack.len() < needle.len() {
        return None;
    }
    haystack.windows(needle.len()).position(|window| window == needle)
}
