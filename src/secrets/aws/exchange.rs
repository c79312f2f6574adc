//! One request to a service of AWS, and its answer as a whole.

use std::collections::BTreeMap;

use bytes::Bytes;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Body, RequestBuilder, Response, StatusCode};

use super::Unreadable;
use crate::outbound::{self, BodyError};

/// Largest answer, in bytes. A secret has at most 64 KiB, which is more in base64.
const MAX_BODY: usize = 1024 * 1024;
/// Longest name of an error that is repeated.
const MAX_CODE: usize = 64;

/// What came back.
pub(super) struct Reply {
    /// Who answered.
    pub(super) who: &'static str,
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// Adds headers; none of them is printed with the request.
pub(super) fn with(mut request: RequestBuilder, headers: BTreeMap<&'static str, String>) -> RequestBuilder {
    for (name, value) in headers {
        // Whoever made them made them of visible ASCII.
        if let Ok(mut value) = HeaderValue::try_from(value) {
            value.set_sensitive(true);
            request = request.header(HeaderName::from_static(name), value);
        }
    }
    request
}

/// Why there is no whole answer.
pub(super) enum Unanswered {
    /// No connection: whoever should be there may not be there at all.
    Unreachable(String),
    /// It was there, and did not end in time.
    Late(String),
    Unread(Unreadable),
}

impl From<Unanswered> for Unreadable {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Unreachable(cause) | Unanswered::Late(cause) => Self::Away(cause),
            Unanswered::Unread(unreadable) => unreadable,
        }
    }
}

/// Asks `who`, a name that begins sentences.
pub(super) async fn ask(request: RequestBuilder, who: &'static str) -> Result<Reply, Unanswered> {
    let again = request.try_clone();
    let response = match (request.send().await, again) {
        // Most often the server has just closed a connection that was idle, and to ask again does no harm.
        (Err(error), Some(again)) if error.is_request() && !error.is_timeout() && !error.is_connect() => again.send().await,
        (outcome, _) => outcome,
    };
    let response = response.map_err(|error| unanswered(error, who))?;
    let status = response.status();
    Ok(Reply { who, status, body: body(response, who).await? })
}

async fn body(response: Response, who: &str) -> Result<Bytes, Unanswered> {
    outbound::body(Body::from(response), MAX_BODY).await.map_err(|error| match error {
        BodyError::TooLarge(_) => {
            Unanswered::Unread(Unreadable::Wrong(format!("{who} answered with more than 1 MiB; is it what answers there?")))
        }
        BodyError::Broken(error) => unanswered(error, who),
    })
}

fn unanswered(error: reqwest::Error, who: &str) -> Unanswered {
    let error = error.without_url();
    let causes = outbound::causes(&error);
    if error.is_connect() {
        Unanswered::Unreachable(format!("{who} cannot be reached: {causes}"))
    } else if error.is_timeout() {
        Unanswered::Late(format!("{who} does not answer in time"))
    } else {
        Unanswered::Unread(Unreadable::Away(format!("{who} breaks off: {causes}")))
    }
}

impl Reply {
    /// When it is neither the answer nor an error that is known by name.
    pub(super) fn unknown(&self, code: &str) -> Unreadable {
        let (who, status) = (self.who, self.status.as_u16());
        let code = name(code).map(|code| format!(" {code}")).unwrap_or_default();
        if self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS {
            return Unreadable::Away(format!("{who} answered {status}{code}"));
        }
        Unreadable::Wrong(format!("{who} answered {status}{code}; is it what answers there?"))
    }

    /// When its answer has not the form that it should have.
    pub(super) fn malformed(&self) -> Unreadable {
        Unreadable::Wrong(format!("{} answered with something else than AWS documents; is it what answers there?", self.who))
    }
}

/// `code` if it is the name of an error: those are repeated to the operator, texts of strangers are not.
pub(super) fn name(code: &str) -> Option<&str> {
    let is_name = (1..=MAX_CODE).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    is_name.then_some(code)
}
