//! Refusals in the form of `OpenAI`'s error bodies (`ErrorResponse` of its `openapi.yaml`).

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;

use super::shape::Fault;

/// A refusal: `error.type`, `error.code`, `error.message`, `error.param`.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    message: String,
    param: Option<String>,
    /// Seconds.
    retry_after: Option<u64>,
    /// The methods that the path takes.
    allow: Option<&'static str>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
        Self { status, kind, code: Some(code), message: message.into(), param: None, retry_after: None, allow: None }
    }

    pub(super) fn without_code(status: StatusCode, message: impl Into<String>) -> Self {
        Self { code: None, ..Self::new(status, "", message) }
    }

    /// Another `error.type` than the status suggests.
    pub(super) fn of_type(self, kind: &'static str) -> Self {
        Self { kind, ..self }
    }

    pub(super) fn about(self, param: &str) -> Self {
        Self { param: Some(param.to_owned()), ..self }
    }

    pub(super) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Names the methods that would not have been refused.
    pub(super) fn allow(self, methods: &'static str) -> Self {
        Self { allow: Some(methods), ..self }
    }

    pub(super) fn no_random_numbers() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "The operating system gives no random numbers.")
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self { param: fault.param, ..Self::new(StatusCode::BAD_REQUEST, fault.code, fault.message) }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl ResponseError for Refused {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let error = json!({"message": self.message, "type": self.kind, "param": self.param, "code": self.code});
        let mut answer = HttpResponse::build(self.status);
        if let Some(seconds) = self.retry_after {
            answer.insert_header((RETRY_AFTER, seconds));
        }
        if let Some(methods) = self.allow {
            answer.insert_header((ALLOW, methods));
        }
        answer.json(json!({"error": error}))
    }
}
