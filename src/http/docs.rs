//! `/openapi.json`, and `/docs`: a page that renders it, without scripts and without anything from elsewhere.

use std::fmt::Write;
use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use serde_json::Value;

use super::openapi;
use crate::issue::refusal::Code;

static OPENAPI: LazyLock<String> = LazyLock::new(openapi::document);
static PAGE: LazyLock<String> = LazyLock::new(|| render(&serde_json::from_str(&OPENAPI).unwrap_or_default()));

/// The stylesheet is the only thing that the page may use.
const POLICY: &str = "default-src 'none'; style-src 'sha256-STYLE'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const STYLE: &str = include_str!("docs.css");

pub(super) async fn openapi() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(OPENAPI.as_str())
}

pub(super) async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((CONTENT_SECURITY_POLICY, policy()))
        .body(PAGE.as_str())
}

/// Of a page that has [`style`] and nothing else.
pub(super) fn policy() -> String {
    use base64::Engine;
    let digest = crate::domain::secret::Sha256::of(STYLE.as_bytes());
    POLICY.replace("STYLE", &base64::engine::general_purpose::STANDARD.encode(digest.0))
}

/// The one stylesheet of pages that are written here.
pub(super) fn style() -> String {
    format!("<style>{STYLE}</style>")
}

fn render(document: &Value) -> String {
    let mut page = String::with_capacity(16 * 1024);
    let text = |value: &Value| escape(value.as_str().unwrap_or_default());
    let about = document["info"]["description"].as_str().unwrap_or_default().split("\n\n").next().unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Ephemint API</title>{}</head><body><main><header><h1>Ephemint API</h1><p>{}</p><p>Version {} · <a href=\"/openapi.json\">openapi.json</a></p></header>",
        style(),
        escape(about),
        text(&document["info"]["version"])
    );
    let mut paths: Vec<_> = document["paths"].as_object().into_iter().flatten().collect();
    // What people come for stands before the probes.
    paths.sort_by_key(|(path, _)| !path.starts_with("/v1/"));
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().into_iter().flatten() {
            let _ = write!(
                page,
                "<section><h2><span class=\"method {method}\">{}</span> <code>{}</code></h2><p>{}.</p>",
                method.to_uppercase(),
                escape(path),
                text(&operation["summary"])
            );
            parameters(&mut page, operation);
            body(&mut page, operation);
            answers(&mut page, operation);
            page.push_str("</section>");
        }
    }
    page.push_str("<section><h2>Refusals</h2><p>Every refusal is <code>application/problem+json</code> (RFC 9457) with OpenAI's <code>error</code> object beside it. 429 and passing 503 carry <code>Retry-After</code>.</p><table><thead><tr><th>Status</th><th>Code</th><th>Title</th></tr></thead><tbody>");
    for row in Code::ALL.iter().map(|code| code.row()) {
        let _ = write!(
            page,
            "<tr id=\"{0}\"><td>{1}</td><td><code>{0}</code></td><td>{2}</td></tr>",
            row.name,
            row.status,
            escape(row.title)
        );
    }
    page.push_str("</tbody></table></section></main></body></html>");
    page
}

fn parameters(page: &mut String, operation: &Value) {
    let Some(parameters) = operation["parameters"].as_array().filter(|list| !list.is_empty()) else { return };
    page.push_str("<table><thead><tr><th>Parameter</th><th>In</th><th>Meaning</th></tr></thead><tbody>");
    for parameter in parameters {
        let field = |name: &str| escape(parameter[name].as_str().unwrap_or_default());
        let _ = write!(
            page,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
            field("name"),
            field("in"),
            prose(&parameter["description"])
        );
    }
    page.push_str("</tbody></table>");
}

fn body(page: &mut String, operation: &Value) {
    if operation["requestBody"].is_object() {
        page.push_str("<p>Body, all of it optional:</p><pre><code>{\"expires_after\": {\"anchor\": \"created_at\", \"seconds\": 120}, \"session\": {}}</code></pre>");
    }
}

fn answers(page: &mut String, operation: &Value) {
    page.push_str("<table><thead><tr><th>Answer</th><th>Meaning</th></tr></thead><tbody>");
    for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
        let _ = write!(page, "<tr><td><code>{}</code></td><td>{}</td></tr>", escape(status), prose(&answer["description"]));
    }
    page.push_str("</tbody></table>");
}

/// A description, its `code` marked as such.
fn prose(value: &Value) -> String {
    let text = escape(value.as_str().unwrap_or_default());
    let marked = |(i, part): (usize, &str)| if i % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() };
    text.split('`').enumerate().map(marked).collect()
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{Code, PAGE};

    #[test]
    fn every_code_has_its_place_on_the_page() {
        for code in Code::ALL {
            assert!(PAGE.contains(&format!("<tr id=\"{}\">", code.row().name)));
        }
        assert!(!PAGE.contains("<script") && !PAGE.contains("http://") && !PAGE.contains("style=\""));
    }
}
