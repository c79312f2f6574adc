//! `multipart/form-data` with the parts `sdp` and `session`, read from a whole body of bounded length (RFC 7578).

use actix_web::http::StatusCode;
use serde_json::Value;

use super::super::refused::Refused;

/// Longest boundary (RFC 2046).
const MOST_BOUNDARY: usize = 70;
const MOST_HEADERS: usize = 1024;

#[derive(Debug)]
pub(super) struct Form {
    pub(super) sdp: String,
    /// Null when the part is absent.
    pub(super) session: Value,
}

/// Reads the form. `content_type` is the header's value.
pub(super) fn parse(content_type: &str, body: &[u8]) -> Result<Form, Refused> {
    let boundary = boundary(content_type).ok_or_else(|| broken("The Content-Type names no boundary."))?;
    let delimiter = format!("\r\n--{boundary}");
    // The first delimiter may stand at the very beginning.
    let body = [b"\r\n", body].concat();
    let mut rest = after(&body, delimiter.as_bytes()).ok_or_else(|| broken("The body has no part."))?;
    let (mut sdp, mut session) = (None, None);
    while !rest.starts_with(b"--") {
        let part = rest.strip_prefix(b"\r\n").ok_or_else(|| broken("A delimiter does not end its line."))?;
        let end = find(part, delimiter.as_bytes()).ok_or_else(|| broken("The last delimiter is missing."))?;
        let (part, next) = part.split_at(end);
        rest = next.get(delimiter.len()..).unwrap_or_default();
        let (name, content) = named(part)?;
        let place = match name.as_str() {
            "sdp" => &mut sdp,
            "session" => &mut session,
            name => {
                let message = format!("Unknown parameter: '{name}'.");
                return Err(Refused::new(StatusCode::BAD_REQUEST, "unknown_parameter", message).about(name));
            }
        };
        if place.replace(content).is_some() {
            return Err(broken("A part is there twice."));
        }
    }
    let Some(sdp) = sdp else {
        let message = "Missing required parameter: 'sdp'.";
        return Err(Refused::new(StatusCode::BAD_REQUEST, "missing_required_parameter", message).about("sdp"));
    };
    Ok(Form { sdp: text(sdp)?, session: session.map_or(Ok(Value::Null), super::json)? })
}

fn boundary(content_type: &str) -> Option<&str> {
    let mut parameters = content_type.split(';').map(str::trim).skip(1);
    let value = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then_some(value)
    })?;
    let boundary = value.trim_matches('"');
    let valid = (1..=MOST_BOUNDARY).contains(&boundary.len()) && boundary.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    valid.then_some(boundary)
}

/// A part's name and content.
fn named(part: &[u8]) -> Result<(String, &[u8]), Refused> {
    let end =
        find(part, b"\r\n\r\n").filter(|end| *end <= MOST_HEADERS).ok_or_else(|| broken("A part has no end of headers."))?;
    let headers =
        std::str::from_utf8(part.get(..end).unwrap_or_default()).map_err(|_| broken("A part's headers are not text."))?;
    let disposition = headers.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    });
    let mut parameters = disposition.unwrap_or_default().split(';').map(str::trim);
    let name = parameters.find_map(|parameter| parameter.strip_prefix("name="));
    let name = name.map(|name| name.trim_matches('"')).filter(|name| !name.is_empty() && name.len() <= 64);
    let name = name.ok_or_else(|| broken("A part has no name."))?;
    Ok((name.to_owned(), part.get(end + 4..).unwrap_or_default()))
}

fn text(bytes: &[u8]) -> Result<String, Refused> {
    String::from_utf8(bytes.to_vec()).map_err(|_| broken("A part is not UTF-8."))
}

fn broken(message: &str) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "invalid_multipart_form_data", message)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn after<'a>(haystack: &'a [u8], needle: &[u8]) -> Option<&'a [u8]> {
    haystack.get(find(haystack, needle)? + needle.len()..)
}

#[cfg(test)]
mod tests {
    use super::parse;

    const TYPE: &str = "multipart/form-data; boundary=xyz";

    fn part(name: &str, content: &str) -> String {
        format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{content}\r\n")
    }

    #[test]
    fn both_parts_in_any_order() {
        let (sdp, session) = (part("sdp", "v=0\r\no=-\r\n"), part("session", r#"{"type":"realtime"}"#));
        for body in
            [format!("{sdp}{session}--xyz--\r\n"), format!("{session}{sdp}--xyz--"), format!("preamble\r\n{sdp}{session}--xyz--")]
        {
            let form = parse(TYPE, body.as_bytes()).expect("a form");
            assert_eq!((form.sdp.as_str(), &form.session["type"]), ("v=0\r\no=-\r\n", &"realtime".into()), "{body}");
        }
        let quoted =
            parse("multipart/form-data; charset=utf-8; Boundary=\"xyz\"", format!("{sdp}--xyz--").as_bytes()).expect("a form");
        assert!(quoted.session.is_null());
    }

    #[test]
    fn what_is_broken_is_refused() {
        let sdp = part("sdp", "v=0");
        for (kind, body) in [
            ("multipart/form-data", format!("{sdp}--xyz--")),
            ("multipart/form-data; boundary=", format!("{sdp}--xyz--")),
            (TYPE, String::new()),
            (TYPE, "--xyz--".into()),
            (TYPE, sdp.clone()),
            (TYPE, format!("{sdp}{sdp}--xyz--")),
            (TYPE, format!("{sdp}{}--xyz--", part("other", "1"))),
            (TYPE, format!("{sdp}{}--xyz--", part("session", "{"))),
            (TYPE, format!("{}--xyz--", part("", "v=0"))),
            (TYPE, "--xyz\r\n\r\nno headers\r\n--xyz--".into()),
            (TYPE, "--xyzrubbish\r\nContent-Disposition: form-data; name=\"sdp\"\r\n\r\nv=0\r\n--xyz--".into()),
            (TYPE, format!("--xyz\r\nContent-Disposition: form-data; name=sdp; x={}\r\n\r\nv=0\r\n--xyz--", "y".repeat(2000))),
        ] {
            assert!(parse(kind, body.as_bytes()).is_err(), "{kind}: {body}");
        }
        let binary =
            [b"--xyz\r\nContent-Disposition: form-data; name=\"sdp\"\r\n\r\n\xff\xfe".as_slice(), b"\r\n--xyz--"].concat();
        assert!(parse(TYPE, &binary).is_err());
    }
}
