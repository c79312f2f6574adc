//! A running sandbox, requests to it, and WebSockets to it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::{HeaderName, HeaderValue};
use tungstenite::{Error, Message, WebSocket};

use crate::running::Running;
use crate::support::Answer;

pub(crate) const KEY: &str = "sk-any";
const PATIENCE: Duration = Duration::from_secs(20);

/// What Chromium offers: audio and a data channel, no candidate.
pub(crate) const OFFER: &str = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
a=extmap-allow-mixed\r\na=msid-semantic: WMS\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 0 8\r\nc=IN IP4 0.0.0.0\r\n\
a=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:bWvE\r\na=ice-pwd:5ZkUaQ0vDx3rtIZ0z7dPbZ3n\r\na=ice-options:trickle\r\n\
a=fingerprint:sha-256 6B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08\r\n\
a=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n\
a=ice-ufrag:bWvE\r\na=ice-pwd:5ZkUaQ0vDx3rtIZ0z7dPbZ3n\r\na=ice-options:trickle\r\n\
a=fingerprint:sha-256 6B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08\r\n\
a=setup:actpass\r\na=mid:1\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n";

pub(crate) struct Sandbox {
    pub(crate) running: Running,
    pub(crate) address: SocketAddr,
}

impl Sandbox {
    pub(crate) fn start() -> Self {
        let running = Running::start(&["dev", "--sandbox-only", "--port", "0"], |_| {});
        let address = running.printed("base URL", |line| {
            line.trim_start().strip_prefix("base URL")?.trim().strip_prefix("http://")?.strip_suffix("/v1")?.parse().ok()
        });
        Self { running, address }
    }

    /// One request on a connection of its own. `headers` beside Host and the length, each with its line end.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str, body: impl AsRef<[u8]>) -> Answer {
        let host = format!("Host: {}\r\n", self.address);
        self.ask_with_host(&host, method, path, headers, body)
    }

    pub(crate) fn ask_with_host(&self, host: &str, method: &str, path: &str, headers: &str, body: impl AsRef<[u8]>) -> Answer {
        let body = body.as_ref();
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let head =
            format!("{method} {path} HTTP/1.1\r\n{host}{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).expect("the head is taken");
        // What is too large may be refused before it has been read.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Answer::parse(&answer).unwrap_or_else(|| panic!("no whole answer: {}", String::from_utf8_lossy(&answer)))
    }

    pub(crate) fn get(&self, path: &str, key: &str) -> Answer {
        self.ask("GET", path, &format!("Authorization: Bearer {key}\r\n"), "")
    }

    pub(crate) fn post(&self, path: &str, key: &str, body: &Value) -> Answer {
        let headers = format!("Authorization: Bearer {key}\r\nContent-Type: application/json\r\n");
        self.ask("POST", path, &headers, body.to_string())
    }

    /// A client secret for these settings.
    pub(crate) fn mint(&self, session: &Value) -> String {
        let answer = self.post("/v1/realtime/client_secrets", KEY, &json!({"session": session}));
        answer.expect(200).json()["value"].as_str().expect("a secret").to_owned()
    }

    pub(crate) fn offer(&self, path: &str, key: &str, sdp: &str) -> Answer {
        self.ask("POST", path, &format!("Authorization: Bearer {key}\r\nContent-Type: application/sdp\r\n"), sdp)
    }

    /// The id of a new call, whose peer never connects: it lives for some seconds.
    pub(crate) fn call(&self, key: &str) -> String {
        let answer = self.offer("/v1/realtime/calls", key, OFFER);
        let location = answer.expect(201).header("location").expect("a location");
        location.strip_prefix("/v1/realtime/calls/").expect("a call").to_owned()
    }

    /// A WebSocket, or the refusal's status and body.
    pub(crate) fn connect(&self, path: &str, headers: &[(&str, &str)]) -> Result<Socket, (u16, Value)> {
        let mut request = format!("ws://{}{path}", self.address).into_client_request().expect("a request");
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a name");
            request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a value"));
        }
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        match tungstenite::client(request, stream) {
            Ok((socket, answer)) => {
                let protocol = answer.headers().get("sec-websocket-protocol").and_then(|value| value.to_str().ok());
                Ok(Socket { protocol: protocol.map(str::to_owned), socket })
            }
            Err(HandshakeError::Failure(Error::Http(answer))) => {
                let body = answer.body().as_deref().unwrap_or_default();
                Err((answer.status().as_u16(), serde_json::from_slice(body).unwrap_or_default()))
            }
            Err(other) => panic!("{path}: {other}"),
        }
    }

    /// A session of a server's, after its `session.created`.
    pub(crate) fn session(&self, query: &str) -> Socket {
        let mut socket =
            self.connect(&format!("/v1/realtime?{query}"), &[("authorization", "Bearer sk-any")]).expect("a session");
        socket.until("session.created");
        socket
    }
}

/// A refusal in OpenAI's form.
#[track_caller]
pub(crate) fn expect_refusal(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!(answer.status, status, "{answer}");
    let error = answer.json()["error"].clone();
    let shown = error["code"].as_str().unwrap_or_default();
    assert_eq!(shown, code, "{answer}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer}");
    assert!(error["type"].is_string() && error.get("param").is_some(), "{answer}");
    assert!(answer.request_id().starts_with("req_"), "{answer}");
    error
}

pub(crate) struct Socket {
    pub(crate) protocol: Option<String>,
    socket: WebSocket<TcpStream>,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With this code.
    Closed(u16),
    /// Without a goodbye.
    Cut,
}

impl Socket {
    pub(crate) fn send(&mut self, event: &Value) {
        self.send_message(Message::text(event.to_string()));
    }

    pub(crate) fn send_message(&mut self, message: Message) {
        self.socket.send(message).expect("the message is taken");
    }

    /// The raw connection.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }

    /// The next event, or how it ended.
    pub(crate) fn next(&mut self) -> Result<Value, End> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(serde_json::from_str(&text).expect("JSON")),
                Ok(Message::Close(frame)) => return Err(End::Closed(frame.map_or(1005, |frame| frame.code.into()))),
                Ok(_) => {}
                Err(_) => return Err(End::Cut),
            }
        }
    }

    /// Everything up to the first event of this type.
    #[track_caller]
    pub(crate) fn until(&mut self, kind: &str) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        let mut events: Vec<Value> = Vec::new();
        while Instant::now() < deadline {
            match self.next() {
                Ok(event) => {
                    let found = event["type"] == kind;
                    events.push(event);
                    if found {
                        return events;
                    }
                }
                Err(end) => panic!("{end:?} before {kind}: {events:#?}"),
            }
        }
        panic!("no {kind}: {events:#?}")
    }

    /// The last event of [`Socket::until`].
    #[track_caller]
    pub(crate) fn wait_for(&mut self, kind: &str) -> Value {
        self.until(kind).pop().expect("at least this event")
    }

    /// What comes until the end, and the end.
    pub(crate) fn finish(&mut self) -> (Vec<Value>, End) {
        let mut events = Vec::new();
        loop {
            match self.next() {
                Ok(event) => events.push(event),
                Err(end) => return (events, end),
            }
        }
    }

    pub(crate) fn type_text(&mut self, text: &str) {
        let content = json!([{"type": "input_text", "text": text}]);
        self.send(&json!({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}}));
    }

    pub(crate) fn ask(&mut self) {
        self.send(&json!({"type": "response.create"}));
    }
}

/// Standard base64.
pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

pub(crate) fn from_base64(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
}
