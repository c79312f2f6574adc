//! What a fake server answers: well-formed, broken, slow, endless, or nothing.

use std::time::Duration;

use serde_json::Value;

/// What happens to the connection after the reply's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    KeepAlive,
    /// An orderly close.
    Close,
    /// A TCP reset.
    Reset,
    /// Nothing more is sent and the connection stays open.
    Hang,
}

/// One scripted answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) delay: Duration,
    pub(crate) end: End,
    /// Repeated until the other side closes.
    pub(crate) endless: Option<Vec<u8>>,
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// How many bytes of the body are sent; the announced length stays that of the whole.
    cut: Option<usize>,
    /// Sent instead of status, headers and body.
    raw: Option<Vec<u8>>,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            delay: Duration::ZERO,
            end: End::KeepAlive,
            endless: None,
            status,
            headers: Vec::new(),
            body: Vec::new(),
            cut: None,
            raw: None,
        }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, "application/json", body.to_string())
    }

    pub(crate) fn text(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut reply = Self::new(status).header("Content-Type", content_type);
        reply.body = body.into();
        reply
    }

    /// Bytes that need not be HTTP.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        let mut reply = Self::new(0);
        reply.raw = Some(bytes.into());
        reply.end(End::Close)
    }

    /// Accepts the request and never answers.
    pub(crate) fn never() -> Self {
        Self::raw(Vec::new()).end(End::Hang)
    }

    /// A body that does not end.
    pub(crate) fn endless(content_type: &str, chunk: &[u8]) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut reply = Self::raw(head);
        let mut bytes = format!("{:x}\r\n", chunk.len()).into_bytes();
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
        reply.endless = Some(bytes);
        reply
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    pub(crate) fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// Sends only `length` bytes of the body, then `end`.
    pub(crate) fn cut(mut self, length: usize, end: End) -> Self {
        self.cut = Some(length);
        self.end(end)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        let mut bytes = format!("HTTP/1.1 {} Scripted\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if self.status != 204 {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        let sent = self.cut.map_or(self.body.len(), |cut| cut.min(self.body.len()));
        bytes.extend_from_slice(&self.body[..sent]);
        bytes
    }
}
