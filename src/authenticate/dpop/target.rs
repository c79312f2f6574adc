//! Which request a proof is for: `htm` and `htu` (RFC 9449, section 4.2).

use url::{Position, Url};

/// Method and place of a request, as it was received.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) method: Box<str>,
    /// Host and port that the caller asked for. Absent unless named once.
    pub(crate) authority: Option<Box<str>>,
    /// As on the wire, without a query.
    pub(crate) path: Box<str>,
}

impl Target {
    /// Whether `htu` names this request, by RFC 3986, section 6.2.3: case, default port, percent-encoding, dot segments. A query and a
    /// fragment are left out of it.
    ///
    /// Without a `public_url` the host is the one that the caller asked for, and either scheme is taken: TLS may have ended elsewhere.
    pub(super) fn is_at(&self, htu: &str, public_url: Option<&Url>) -> bool {
        self.named_by(htu, public_url).unwrap_or(false)
    }

    fn named_by(&self, htu: &str, public_url: Option<&Url>) -> Option<bool> {
        let named = strict(htu)?;
        let base = match public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("{}://{}", named.scheme(), self.authority.as_deref().filter(|host| !host.contains(['/', '?', '#']))?),
        };
        let here = strict(&format!("{base}{}", self.path))?;
        let place = |url: &Url| url[..Position::BeforePath].to_owned();
        Some(place(&named) == place(&here) && unescaped(named.path())? == unescaped(here.path())?)
    }
}

/// Reads an absolute http(s) URL. The parser alone would also take tabs, backslashes and missing slashes, as browsers do.
fn strict(text: &str) -> Option<Url> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let (scheme, rest) = text.split_once("://")?;
    let is_web = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    if !plain || !is_web || rest.starts_with('/') {
        return None;
    }
    let url = Url::parse(text).ok()?;
    (url.username().is_empty() && url.password().is_none()).then_some(url)
}

/// The path with escapes of unreserved characters undone and all others in upper case (RFC 3986, section 6.2.2). `None` when an escape
/// is broken.
fn unescaped(path: &str) -> Option<String> {
    let mut pieces = path.split('%');
    let mut out = pieces.next()?.to_owned();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        let byte = u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?;
        match char::from(byte) {
            plain if plain.is_ascii_alphanumeric() || "-._~".contains(plain) => out.push(plain),
            _ => out.extend(["%", &digits.to_ascii_uppercase()]),
        }
        out.push_str(rest);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::{Target, Url};

    fn target(authority: &str, path: &str) -> Target {
        Target { method: "POST".into(), authority: Some(authority.into()), path: path.into() }
    }

    const PATH: &str = "/v1/realtime/client_secrets";

    #[test]
    fn a_proof_names_the_public_url_however_it_is_spelled() {
        for (public, htu, good) in [
            ("https://voice.example.com", "https://voice.example.com/v1/realtime/client_secrets", true),
            ("https://voice.example.com/", "HTTPS://VOICE.example.COM:443/v1/realtime/client_secrets?profile=x#y", true),
            ("https://voice.example.com:443", "https://voice.example.com/v1/./x/../realtime/client%5fsecrets", true),
            ("https://example.com/voice/", "https://example.com/voice/v1/realtime/client_secrets", true),
            ("https://b\u{fc}cher.example", "https://xn--bcher-kva.example/v1/realtime/client_secrets", true),
            ("https://example.com/voice/", "https://example.com/v1/realtime/client_secrets", false),
            ("https://voice.example.com", "http://voice.example.com/v1/realtime/client_secrets", false),
            ("https://voice.example.com", "https://voice.example.com:8443/v1/realtime/client_secrets", false),
            ("https://voice.example.com", "https://voice.example.com.evil.example/v1/realtime/client_secrets", false),
            ("https://voice.example.com", "https://voice.example.com@evil.example/v1/realtime/client_secrets", false),
            ("https://voice.example.com", "https://evil@voice.example.com/v1/realtime/client_secrets", false),
            ("https://voice.example.com", "https://voice.example.com/v1/realtime/client_secrets/", false),
            ("https://voice.example.com", "https://voice.example.com//v1/realtime/client_secrets", false),
            ("https://voice.example.com", "https://voice.example.com/V1/realtime/client_secrets", false),
            ("https://voice.example.com", "https://voice.example.com/v1/realtime%2Fclient_secrets", false),
            ("https://voice.example.com", "https:/voice.example.com/v1/realtime/client_secrets", false),
            ("https://voice.example.com", "https:///voice.example.com/v1/realtime/client_secrets", false),
            ("https://voice.example.com", "https:\\\\voice.example.com\\v1\\realtime\\client_secrets", false),
            ("https://voice.example.com", "https://voice.example.com/v1/realtime/client_\tsecrets", false),
            ("https://voice.example.com", " https://voice.example.com/v1/realtime/client_secrets", false),
            ("https://voice.example.com", "/v1/realtime/client_secrets", false),
            ("https://voice.example.com", "", false),
        ] {
            let public = Url::parse(public).unwrap();
            assert_eq!(target("evil.example", PATH).is_at(htu, Some(&public)), good, "{htu} at {public}");
        }
    }

    #[test]
    fn without_a_public_url_the_host_that_was_asked_for_counts() {
        for (host, htu, good) in [
            ("localhost:8080", "http://localhost:8080/v1/realtime/client_secrets", true),
            ("voice.example.com", "https://voice.example.com/v1/realtime/client_secrets", true),
            ("voice.example.com:443", "https://voice.example.com/v1/realtime/client_secrets", true),
            ("[::1]:8080", "http://[0:0::1]:8080/v1/realtime/client_secrets", true),
            ("voice.example.com:443", "http://voice.example.com/v1/realtime/client_secrets", false),
            ("voice.example.com", "ftp://voice.example.com/v1/realtime/client_secrets", false),
            ("a b", "http://a b/v1/realtime/client_secrets", false),
            ("", "http:///v1/realtime/client_secrets", false),
            ("voice.example.com/v1?", "http://voice.example.com/v1", false),
            ("voice.example.com", "https://voice.example.com/v1/realtime/client%5", false),
            ("voice.example.com", "https://voice.example.com/v1/realtime/client%+5secrets", false),
        ] {
            assert_eq!(target(host, PATH).is_at(htu, None), good, "{htu} at {host}");
        }
        let nowhere = Target { authority: None, ..target("", PATH) };
        assert!(!nowhere.is_at("http://localhost/v1/realtime/client_secrets", None));
    }
}
