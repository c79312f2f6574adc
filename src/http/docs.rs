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
/// Objects within objects that the page opens up.
const DEEPEST: usize = 6;

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
    let mut page = String::with_capacity(48 * 1024);
    let text = |value: &Value| escape(value.as_str().unwrap_or_default());
    let about = document["info"]["description"].as_str().unwrap_or_default().split("\n\n").next().unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\"><title>Ephemint API</title>{}</head><body><main><header><h1>Ephemint API</h1><p>{}</p><p>Version {} · <a href=\"/openapi.json\">openapi.json</a> · <a href=\"#credentials\">Credentials</a> · <a href=\"#refusals\">Refusals</a></p></header>",
        style(),
        escape(about),
        text(&document["info"]["version"])
    );
    let mut paths: Vec<_> = document["paths"].as_object().into_iter().flatten().collect();
    // What people come for stands before the probes, and the first of it is open.
    paths.sort_by_key(|(path, _)| !path.starts_with("/v1/"));
    let methods = |(path, methods)| serde_json::Map::iter(methods).map(move |(method, it)| (path, method, it));
    let operations = paths.into_iter().filter_map(|(path, methods)| Some((path, methods.as_object()?))).flat_map(methods);
    for (index, (path, method, operation)) in operations.enumerate() {
        let _ = write!(
            page,
            "<section><details{}><summary><h2><span class=\"method\">{}</span> <code>{}</code></h2><span class=\"about\">{}.</span></summary><div id=\"{}\">",
            if index == 0 { " open" } else { "" },
            method.to_uppercase(),
            escape(path).replace('/', "<wbr>/"),
            text(&operation["summary"]),
            anchor(method, path),
        );
        if operation["security"].is_array() {
            page.push_str("<p>Needs <a href=\"#credentials\">credentials</a>.</p>");
        }
        parameters(&mut page, operation);
        body(&mut page, document, operation);
        answers(&mut page, document, operation);
        page.push_str("</div></details></section>");
    }
    credentials(&mut page, document);
    refusals(&mut page, document);
    page.push_str("</main></body></html>");
    page
}

/// `get-v1-sessions-id` for GET `/v1/sessions/{id}`.
fn anchor(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("-")
}

fn parameters(page: &mut String, operation: &Value) {
    let Some(parameters) = operation["parameters"].as_array().filter(|list| !list.is_empty()) else { return };
    page.push_str("<h3>Parameters</h3><dl>");
    for parameter in parameters {
        let field = |name: &str| parameter[name].as_str().unwrap_or_default();
        let optional = if parameter["required"] == true { "" } else { ", optional" };
        term(page, field("name"), &format!("{}{optional}", field("in")), &parameter["description"]);
    }
    page.push_str("</dl>");
}

fn body(page: &mut String, document: &Value, operation: &Value) {
    let body = &operation["requestBody"];
    let schema = &body["content"]["application/json"]["schema"];
    if schema.is_object() {
        let _ = write!(page, "<h3>Body</h3><p>JSON. {}</p>", prose(&body["description"]));
        shape(page, document, schema);
    }
}

fn answers(page: &mut String, document: &Value, operation: &Value) {
    page.push_str("<h3>Answers</h3><dl class=\"answers\">");
    for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
        let meaning = prose(&answer["description"]);
        if status == "default" {
            let _ = write!(page, "<div><dt>others</dt><dd>{meaning}; see <a href=\"#refusals\">refusals</a></dd></div>");
            continue;
        }
        let _ = write!(page, "<div><dt><code>{}</code></dt><dd>{meaning}", escape(status));
        let schema = &answer["content"]["application/json"]["schema"];
        if schema.is_object() {
            shape(page, document, schema);
        }
        page.push_str("</dd></div>");
    }
    page.push_str("</dl>");
}

fn credentials(page: &mut String, document: &Value) {
    page.push_str("<section id=\"credentials\"><h2>Credentials</h2><dl>");
    for scheme in document["components"]["securitySchemes"].as_object().into_iter().flat_map(serde_json::Map::values) {
        let (name, kind) = match scheme["name"].as_str() {
            Some(cookie) => (cookie, "cookie"),
            None => ("Authorization: Bearer", "header"),
        };
        term(page, name, kind, &scheme["description"]);
    }
    page.push_str("</dl></section>");
}

fn refusals(page: &mut String, document: &Value) {
    page.push_str("<section id=\"refusals\"><h2>Refusals</h2><p>Every refusal is <code>application/problem+json</code> (RFC 9457) with OpenAI's <code>error</code> object beside it. 429 and passing 503 carry <code>Retry-After</code>.</p>");
    shape(page, document, &document["components"]["schemas"]["Problem"]);
    page.push_str("<h3>Codes</h3><dl class=\"codes\">");
    for row in Code::ALL.iter().map(|code| code.row()) {
        let _ = write!(
            page,
            "<div id=\"{0}\"><dt><span>{1}</span> <code>{0}</code></dt><dd>{2}</dd></div>",
            row.name,
            row.status,
            escape(row.title)
        );
    }
    page.push_str("</dl></section>");
}

/// The fields of a JSON object, those of objects within it by their path: `session.model`, `data[].state`.
fn shape(page: &mut String, document: &Value, schema: &Value) {
    page.push_str("<dl>");
    fields(page, document, schema, "", DEEPEST);
    page.push_str("</dl>");
}

fn fields(page: &mut String, document: &Value, schema: &Value, within: &str, depth: usize) {
    let schema = resolved(document, schema);
    let required = schema["required"].as_array();
    for (name, field) in schema["properties"].as_object().into_iter().flatten().filter(|_| depth > 0) {
        let optional = if required.is_some_and(|names| names.iter().any(|it| it == name)) { "" } else { ", optional" };
        let (field, about) = (resolved(document, field), &field["description"]);
        let items = resolved(document, &field["items"]);
        let path = format!("{within}{name}");
        let about = if about.is_string() { about } else { &field["description"] };
        // Of an object that nobody describes, its fields say all there is.
        if about.is_string() || !field["properties"].is_object() {
            term(page, &path, &format!("{}{optional}", kind(field, items)), about);
        }
        fields(page, document, field, &format!("{path}."), depth - 1);
        fields(page, document, items, &format!("{path}[]."), depth - 1);
    }
}

/// What a reference names, and of what may be `null` the other form.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let name = |schema: &'a Value| schema["$ref"].as_str().and_then(|it| it.strip_prefix("#/components/schemas/"));
    let follow = |schema| name(schema).map_or(schema, |name| &document["components"]["schemas"][name]);
    let schema = follow(schema);
    let mut forms = schema["oneOf"].as_array().into_iter().flatten().filter(|form| form["type"] != "null");
    match (forms.next(), forms.next()) {
        (Some(only), None) => follow(only),
        _ => schema,
    }
}

/// `integer, 60 to 600`, `string`, `array of object`.
fn kind(schema: &Value, items: &Value) -> String {
    let forms = schema["oneOf"].as_array().map_or(std::slice::from_ref(schema), Vec::as_slice);
    let types = forms.iter().flat_map(|form| match &form["type"] {
        Value::Array(types) => types.as_slice(),
        one => std::slice::from_ref(one),
    });
    let mut kind = types.filter_map(Value::as_str).filter(|name| *name != "null").collect::<Vec<_>>().join(" or ");
    if let Some(of) = items["type"].as_str() {
        let _ = write!(kind, " of {of}");
    }
    if let (Some(least), Some(most)) = (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
        let _ = write!(kind, ", {least} to {most}");
    }
    kind
}

fn term(page: &mut String, name: &str, kind: &str, meaning: &Value) {
    let _ = write!(
        page,
        "<div><dt><code>{}</code></dt><dd><span class=\"kind\">{}</span> {}</dd></div>",
        escape(name),
        escape(kind),
        prose(meaning)
    );
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
            assert!(PAGE.contains(&format!("<div id=\"{}\">", code.row().name)));
        }
        assert!(!PAGE.contains("<script") && !PAGE.contains("http://") && !PAGE.contains("style=\""));
    }

    #[test]
    fn bodies_and_answers_are_shown_field_by_field() {
        let section = |id: &str| {
            let (_, rest) = PAGE.split_once(&format!(" id=\"{id}\">")).unwrap_or_else(|| panic!("no section {id}"));
            rest.split("</section>").next().unwrap().to_owned()
        };
        for (id, fields) in [
            (
                "post-v1-realtime-client_secrets",
                ["expires_after.seconds", "value", "ephemint.calls_url", "session.audio.output.voice"].as_slice(),
            ),
            ("post-auth-guest", &["proof", "access_token"]),
            ("get-v1-sessions", &["data[].session_id"]),
            ("get-auth-me", &["groups"]),
            ("refusals", &["request_id", "error.code"]),
        ] {
            let section = section(id);
            for field in fields {
                assert!(section.contains(&format!("<dt><code>{field}</code></dt>")), "{id}: {field}");
            }
        }
        let mint = section("post-v1-realtime-client_secrets");
        assert!(mint.contains("integer, 60 to 600, optional") && mint.contains("string or object, optional"), "{mint}");
        assert!(section("get-auth-me").contains("array of string"));
        assert!(!section("post-auth-guest").contains("expires_after"), "another route's body");
    }
}
