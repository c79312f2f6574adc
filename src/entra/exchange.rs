//! One question to a server of Azure's.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode, Url};

use super::Trouble;
use crate::outbound::{self, BodyError, causes};

/// Less than the reading of a secret may take, so that it can be told who does not answer; and a first token may take some seconds.
const DEADLINE: Duration = Duration::from_secs(6);
const MAX_BODY: usize = 1024 * 1024;
/// `EAI_NONAME` and `EAI_NODATA` in the words of glibc and musl. Other failures of a look-up may pass.
const UNKNOWN_HOST: [&str; 4] =
    ["Name or service not known", "No address associated with hostname", "Name does not resolve", "Name has no usable address"];

/// Status and body of the answer. `whom` begins the sentence of what went wrong.
pub(crate) async fn exchange(request: RequestBuilder, whom: &str) -> Result<(StatusCode, Bytes), Trouble> {
    exchange_whole(request, whom).await.map(|(status, _, body)| (status, body))
}

/// Like [`exchange`], with the headers of the answer.
pub(super) async fn exchange_whole(request: RequestBuilder, whom: &str) -> Result<(StatusCode, HeaderMap, Bytes), Trouble> {
    let response = request.timeout(DEADLINE).send().await.map_err(|error| unanswered(whom, &error.without_url()))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = outbound::body(reqwest::Body::from(response), MAX_BODY).await;
    let body = body.map_err(|error| match error {
        BodyError::TooLarge(_) => Trouble::Wrong(format!("{whom} answers with more than 1 MiB")),
        BodyError::Broken(error) => unanswered(whom, &error.without_url()),
    })?;
    Ok((status, headers, body))
}

/// Whether another attempt may succeed.
pub(crate) fn is_passing(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) || status.is_server_error()
}

/// The host and port of a URL: what an operator knows a server by.
pub(crate) fn place(url: &Url) -> &str {
    &url[url::Position::BeforeHost..url::Position::AfterPort]
}

fn unanswered(whom: &str, error: &reqwest::Error) -> Trouble {
    if error.is_timeout() {
        return Trouble::Away(format!("{whom} does not answer in time"));
    }
    broken(whom, &causes(error))
}

fn broken(whom: &str, cause: &str) -> Trouble {
    if UNKNOWN_HOST.iter().any(|words| cause.contains(words)) {
        return Trouble::Wrong(format!("{whom} is not a host that is known here; look for a slip in its name"));
    }
    Trouble::Away(format!("{whom} does not answer: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::{Trouble, broken};

    #[test]
    fn a_name_that_nobody_has_is_told_from_a_name_server_that_is_away() {
        let lookup = "client error (Connect): dns error: failed to lookup address information: ";
        for words in ["Name or service not known", "No address associated with hostname"] {
            assert!(matches!(broken("it", &format!("{lookup}{words}")), Trouble::Wrong(_)), "{words}");
        }
        for words in ["Temporary failure in name resolution", "Try again"] {
            assert!(matches!(broken("it", &format!("{lookup}{words}")), Trouble::Away(_)), "{words}");
        }
    }
}
