//! Requests to the service: through a real client, or byte by byte. Every answer is shown to the canary.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use super::answer::Answer;
use super::canary::{Canary, WITH_COOKIES};
use super::service::Service;

/// Where clients mint.
pub(crate) const MINT: &str = "/v1/realtime/client_secrets";

impl Service {
    /// Mints with an empty body.
    pub(crate) async fn mint(&self, token: &str) -> Answer {
        self.call(Method::POST, MINT).bearer(token).send().await
    }

    /// Mints with a JSON body.
    pub(crate) async fn mint_with(&self, token: &str, body: &Value) -> Answer {
        self.call(Method::POST, MINT).bearer(token).json(body).send().await
    }

    /// Mints from a profile.
    pub(crate) async fn mint_from(&self, profile: &str, token: &str) -> Answer {
        self.call(Method::POST, &format!("{MINT}?profile={profile}")).bearer(token).send().await
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.call(Method::GET, path).bearer(token).send().await
    }

    pub(crate) async fn delete(&self, path: &str, token: &str) -> Answer {
        self.call(Method::DELETE, path).bearer(token).send().await
    }

    /// The status of a mint, or nothing when the service is gone before it answers.
    pub(crate) async fn try_mint(&self, token: &str) -> Option<u16> {
        self.call(Method::POST, MINT).bearer(token).try_send().await.map(|answer| answer.status)
    }

    /// Reports the call of a session.
    pub(crate) async fn report(&self, session: &str, call: &str, token: &str) -> Answer {
        let path = format!("/v1/sessions/{session}/call");
        self.call(Method::POST, &path).bearer(token).json(&serde_json::json!({ "call_id": call })).send().await
    }
}

/// One request in the making.
#[derive(Debug)]
pub(crate) struct Call {
    canary: Arc<Canary>,
    name: String,
    request: reqwest::RequestBuilder,
}

impl Call {
    pub(super) fn new(client: &reqwest::Client, canary: &Arc<Canary>, method: Method, address: SocketAddr, path: &str) -> Self {
        Self {
            canary: Arc::clone(canary),
            name: format!("{method} {path}"),
            request: client.request(method, format!("http://{address}{path}")),
        }
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.canary.guard_credential(token);
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// A token that is bound to a key, with a proof for it.
    pub(crate) fn proven(self, token: &str, proof: &str) -> Self {
        self.canary.guard_credential(token);
        self.canary.guard_credential(proof);
        self.header("authorization", &format!("DPoP {token}")).header("dpop", proof)
    }

    /// The `Cookie` header of a browser.
    pub(crate) fn cookie(mut self, cookies: &str) -> Self {
        self.name.push_str(WITH_COOKIES);
        self.header("cookie", cookies)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let value = reqwest::header::HeaderValue::from_bytes(value.as_bytes()).expect("a header's value");
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub(crate) fn body(mut self, content_type: &str, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.body(body);
        self.header("content-type", content_type)
    }

    /// A body without a content type.
    pub(crate) fn bare_body(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.body(body);
        self
    }

    pub(crate) async fn send(self) -> Answer {
        let name = self.name.clone();
        self.try_send().await.unwrap_or_else(|| panic!("{name}: no answer"))
    }

    /// `None` when there is no answer, or not all of one.
    pub(crate) async fn try_send(self) -> Option<Answer> {
        let response = self.request.send().await.ok()?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect();
        let body = response.bytes().await.ok()?.to_vec();
        let answer = Answer { status, headers, body };
        self.canary.saw_answer(&self.name, status, &answer.headers, &answer.body);
        Some(answer)
    }
}

/// A raw connection to a listener; blocking.
pub(crate) struct Raw {
    canary: Arc<Canary>,
    address: SocketAddr,
    patience: Duration,
}

impl Raw {
    pub(super) fn new(canary: &Arc<Canary>, address: SocketAddr) -> Self {
        Self { canary: Arc::clone(canary), address, patience: Duration::from_secs(15) }
    }

    /// How long to wait for the other side to close.
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends exactly `bytes` and resets the connection some milliseconds later, without having read anything.
    pub(crate) fn and_reset(&self, bytes: &[u8]) {
        let mut stream = self.connect().expect("the service accepts connections");
        let _ = stream.write_all(bytes);
        std::thread::sleep(Duration::from_millis(3));
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }

    /// Sends exactly `bytes` and returns everything that comes back until the service closes or patience ends.
    pub(crate) fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().expect("the service accepts connections");
        // The service may refuse and close before it has read everything; what it said is still worth reading.
        let _ = stream.write_all(bytes);
        self.read(&mut stream, &String::from_utf8_lossy(bytes))
    }

    /// Like [`Raw::exchange`], and the answer must be a whole one.
    pub(crate) fn ask(&self, bytes: &[u8]) -> Answer {
        let answered = self.exchange(bytes);
        Answer::parse(&answered).unwrap_or_else(|| panic!("no whole answer: {:?}", String::from_utf8_lossy(&answered)))
    }

    /// Sends `head`, then one byte of `body` after another with pauses, until an answer has come.
    pub(crate) fn trickle(&self, head: &[u8], body: &[u8], pause: Duration) -> Vec<u8> {
        let mut stream = self.connect().expect("the service accepts connections");
        stream.write_all(head).expect("the head is taken");
        let deadline = Instant::now() + self.patience;
        let mut received = Vec::new();
        stream.set_read_timeout(Some(pause)).expect("a timeout");
        for byte in body.iter().cycle() {
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => received.extend_from_slice(&chunk[..read]),
                Err(_) if Instant::now() > deadline => break,
                Err(_) => {
                    let _ = stream.write_all(&[*byte]);
                }
            }
        }
        self.show(&String::from_utf8_lossy(head), &received);
        received
    }

    /// A GET, without the canary's notice: for polling and for the last look at metrics.
    pub(crate) fn blocking_get(&self, path: &str, headers: &str) -> Option<Answer> {
        let mut stream = self.connect()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: ephemint\r\n{headers}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut received = Vec::new();
        stream.read_to_end(&mut received).ok()?;
        Answer::parse(&received)
    }

    fn connect(&self) -> Option<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5)).ok()?;
        stream.set_read_timeout(Some(self.patience)).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(stream)
    }

    fn read(&self, stream: &mut TcpStream, asked: &str) -> Vec<u8> {
        let deadline = Instant::now() + self.patience;
        let mut received = Vec::new();
        let mut chunk = [0; 16 * 1024];
        while let Ok(read) = stream.read(&mut chunk) {
            received.extend_from_slice(&chunk[..read]);
            if read == 0 || Instant::now() > deadline {
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
        self.show(asked, &received);
        received
    }

    fn show(&self, asked: &str, received: &[u8]) {
        let name = asked.lines().next().unwrap_or_default();
        if let Some(answer) = Answer::parse(received) {
            self.canary.saw_answer(name, answer.status, &answer.headers, &answer.body);
        } else if !received.is_empty() {
            self.canary.saw(super::canary::Place::Answer, name, received);
        }
    }
}
