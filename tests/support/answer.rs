//! An answer of the service, and what tests expect of it.

use serde_json::Value;

use super::canary::secrets;
use super::wire::find;

/// Status, headers (names in lower case) and body.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Reads the first answer in raw bytes; `None` when they are not a whole one.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let end = find(bytes, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        let rest = &bytes[end + 4..];
        let body = if chunked { dechunk(rest)? } else { rest.to_vec() };
        Some(Self { status, headers, body })
    }

    /// Every value of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The one value of a header; two are a failure of the test.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} was answered twice: {all:?}");
        all.first().copied()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// The problem's code, or nothing.
    pub(crate) fn code(&self) -> String {
        serde_json::from_slice::<Value>(&self.body)
            .ok()
            .and_then(|problem| problem["code"].as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    pub(crate) fn request_id(&self) -> &str {
        self.header("x-request-id").expect("every answer has X-Request-ID")
    }

    /// Seconds of `Retry-After`.
    pub(crate) fn retry_after(&self) -> u64 {
        self.header("retry-after").expect("Retry-After").parse().expect("Retry-After in whole seconds")
    }

    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// A mint that worked; the answer's JSON.
    #[track_caller]
    pub(crate) fn expect_minted(&self) -> Value {
        let answer = self.expect(200).json();
        let value = answer["value"].as_str().unwrap_or_default();
        assert!(value.contains(secrets::MINTED), "no minted value: {self}");
        answer
    }

    /// The session's id of a mint that worked.
    #[track_caller]
    pub(crate) fn expect_session(&self) -> String {
        self.expect_minted()["ephemint"]["session_id"].as_str().expect("a session id").to_owned()
    }

    /// A refusal, with everything that the contract says of refusals; the problem.
    #[track_caller]
    pub(crate) fn expect_problem(&self, status: u16, code: &str) -> Value {
        let found = (self.status, self.code());
        assert_eq!(found, (status, code.to_owned()), "{self}");
        let problem = self.json();
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self}");
        assert_eq!(problem["status"], status, "{self}");
        assert_eq!(problem["request_id"], self.request_id(), "{self}");
        let kind = problem["type"].as_str().unwrap_or_default();
        assert!(kind.ends_with(&format!("#{code}")), "type: {self}");
        let reference = url::Url::parse("http://ephemint/").and_then(|base| base.join(kind));
        assert!(reference.is_ok(), "type is no URI reference: {self}");
        for member in ["title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|it| !it.trim().is_empty()), "{member}: {self}");
        }
        let error = &problem["error"];
        assert_eq!(error["code"], code, "{self}");
        assert!(error["message"].as_str().is_some_and(|it| !it.is_empty()), "{self}");
        assert!(error["type"].as_str().is_some_and(|it| !it.is_empty()), "{self}");
        assert!(error.get("param").is_some(), "{self}");
        self.expect_headers_of_refusal(status, code);
        problem
    }

    #[track_caller]
    fn expect_headers_of_refusal(&self, status: u16, code: &str) {
        if status == 401 {
            let challenge = self.header("www-authenticate").unwrap_or_default();
            let of_proof = challenge.starts_with("DPoP");
            assert!(of_proof || challenge.starts_with("Bearer"), "WWW-Authenticate: {self}");
            let asks_for_claims = code == "interaction_required" && self.json().get("claims").is_some();
            let error = match (of_proof, asks_for_claims) {
                (true, _) => r#"error=""#,
                (false, true) => r#"error="insufficient_claims""#,
                (false, false) => r#"error="invalid_token""#,
            };
            let names_error = challenge.contains(error);
            assert_eq!(names_error, code != "missing_credentials", "{self}");
        }
        if status == 405 {
            assert!(self.header("allow").is_some(), "Allow: {self}");
        }
        let passes = status == 503 && code != "locked_down";
        if status == 429 || passes {
            assert!(self.retry_after() >= 1, "{self}");
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(formatter, "the answer was {}", self.status)?;
        for (name, value) in &self.headers {
            writeln!(formatter, "{name}: {value}")?;
        }
        let text = self.text();
        write!(formatter, "{}", &text[..text.floor_char_boundary(2000)])
    }
}

fn dechunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = find(bytes, b"\r\n")?;
        let size = usize::from_str_radix(&String::from_utf8_lossy(&bytes[..end]), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(end + 2..end + 2 + size)?);
        bytes = bytes.get(end + 4 + size..)?;
    }
}
