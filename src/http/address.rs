//! The client's address: the other end of the connection, or what proxies that the operator trusts say of theirs.
//!
//! A header is only as good as who wrote it, and each proxy adds what it sees at the end. So the walk begins at the end: a hop is
//! believed when the one that reported it is trusted. Whatever cannot be read ends the walk at the last hop that is known, which is a
//! proxy: a caller who spoils the header is counted with the proxy, never as somebody of their own choosing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use actix_web::HttpRequest;
use actix_web::http::header::{FORWARDED, HeaderMap, HeaderName, X_FORWARDED_FOR};

use crate::config::{self, ForwardedHeader};
use crate::domain::network::Network;

/// Which proxies are believed, and where they write.
#[derive(Default)]
pub(crate) struct Proxies {
    trusted: Vec<Network>,
    header: ForwardedHeader,
}

impl Proxies {
    pub(crate) fn new(settings: &config::Server) -> Self {
        Self { trusted: settings.trusted_proxies.clone(), header: settings.forwarded_header }
    }

    /// Whom a request comes from. All whose address is not known are one client.
    pub(super) fn client(&self, request: &HttpRequest) -> IpAddr {
        let peer = request.peer_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.ip());
        self.walk(peer, request.headers()).to_canonical()
    }

    fn walk(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let (name, read) = self.reading();
        let mut known = peer;
        // Lines are one list (RFC 9110, section 5.3), and the last of them is the newest.
        let lines: Vec<_> = if self.trusts(peer) { headers.get_all(name).collect() } else { Vec::new() };
        for hop in lines.iter().rev().flat_map(|line| FromTheEnd(Some(line.as_bytes()))) {
            match std::str::from_utf8(hop).ok().and_then(|hop| read(hop.trim_matches([' ', '\t']))) {
                Some(address) => known = address,
                None => return known,
            }
            if !self.trusts(known) {
                return known;
            }
        }
        known
    }

    fn reading(&self) -> (HeaderName, fn(&str) -> Option<IpAddr>) {
        match self.header {
            ForwardedHeader::XForwardedFor => (X_FORWARDED_FOR, node),
            ForwardedHeader::Forwarded => (FORWARDED, forwarded_for),
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }
}

/// The elements of a list header from the last to the first. What stands further left cannot change how an element is read, so nothing
/// that a caller wrote disturbs what a proxy added.
struct FromTheEnd<'a>(Option<&'a [u8]>);

impl<'a> Iterator for FromTheEnd<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let whole = self.0?;
        let (before, last) = match last_outside_quotes(whole, b',') {
            Some(at) => (whole.get(..at), whole.get(at + 1..).unwrap_or_default()),
            None => (None, whole),
        };
        self.0 = before;
        Some(last)
    }
}

/// Where `separator` last stands outside a quoted string (RFC 9110, section 5.6.4), found from the end.
fn last_outside_quotes(text: &[u8], separator: u8) -> Option<usize> {
    let mut quoted = false;
    for (at, &byte) in text.iter().enumerate().rev() {
        let escapes = || text.iter().take(at).rev().take_while(|&&before| before == b'\\').count();
        match byte {
            b'"' if escapes() % 2 == 0 => quoted = !quoted,
            byte if byte == separator && !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// The `for` of one element of `Forwarded` (RFC 7239, section 4). `None` also for `unknown` and names that hide an address.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let (mut rest, mut found) = (element, None);
    loop {
        let at = last_outside_quotes(rest.as_bytes(), b';');
        let pair = at.map_or(rest, |at| rest.get(at + 1..).unwrap_or_default());
        if let Some((name, value)) = pair.trim_matches([' ', '\t']).split_once('=')
            && name.eq_ignore_ascii_case("for")
        {
            let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
            // Two of them, or one that is none: neither is believed.
            if found.replace(node(bare)?).is_some() {
                return None;
            }
        }
        match at {
            Some(at) => rest = rest.get(..at).unwrap_or_default(),
            None => return found,
        }
    }
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn node(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().filter(IpAddr::is_ipv6);
    let with_port = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    text.parse().ok().or_else(with_port).or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

    use super::{ForwardedHeader, Network, Proxies, node};

    const PROXY: &str = "10.0.0.1";

    /// The client, for a request from `peer` with these lines of the header, of which `10.0.0.0/8` and `fd00::/8` are proxies.
    fn client(header: ForwardedHeader, peer: &str, lines: &[&[u8]]) -> String {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|text| Network::parse(text).unwrap()).into();
        let mut headers = HeaderMap::new();
        for name in ["x-forwarded-for", "forwarded"] {
            let ours = (name == "forwarded") == (header == ForwardedHeader::Forwarded);
            let other: &[&[u8]] = &[b"203.0.113.99", b"for=203.0.113.99"];
            for line in if ours { lines } else { other } {
                headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(line).unwrap());
            }
        }
        Proxies { trusted, header }.walk(peer.parse().unwrap(), &headers).to_canonical().to_string()
    }

    #[track_caller]
    fn x(peer: &str, lines: &[&str], expected: &str) {
        let bytes: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
        assert_eq!(client(ForwardedHeader::XForwardedFor, peer, &bytes), expected, "{peer} {lines:?}");
    }

    #[track_caller]
    fn forwarded(lines: &[&str], expected: &str) {
        let bytes: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
        assert_eq!(client(ForwardedHeader::Forwarded, PROXY, &bytes), expected, "{lines:?}");
    }

    #[test]
    fn a_peer_that_is_no_proxy_is_the_client_whatever_it_says() {
        for peer in ["192.0.2.9", "2001:db8::9", "127.0.0.1"] {
            x(peer, &["203.0.113.1"], peer);
            x(peer, &["10.0.0.1, 203.0.113.1, 10.0.0.2"], peer);
            x(peer, &[], peer);
        }
        x("::ffff:192.0.2.9", &["203.0.113.1"], "192.0.2.9");
    }

    #[test]
    fn the_rightmost_hop_that_is_no_proxy_is_the_client() {
        for (lines, expected) in [
            (&["192.0.2.7"][..], "192.0.2.7"),
            (&["203.0.113.1, 192.0.2.7"], "192.0.2.7"),
            (&["203.0.113.1,192.0.2.7 , 10.9.9.9\t,10.0.0.2"], "192.0.2.7"),
            (&["203.0.113.1", "192.0.2.7"], "192.0.2.7"),
            (&["192.0.2.7", "10.0.0.2"], "192.0.2.7"),
            (&["10.0.0.3, 203.0.113.1, 192.0.2.7", "10.0.0.2"], "192.0.2.7"),
            (&["192.0.2.7:4711"], "192.0.2.7"),
            (&["2001:db8::7"], "2001:db8::7"),
            (&["[2001:db8::7]"], "2001:db8::7"),
            (&["[2001:db8::7]:4711, [fd00::1]:80, fd00::2"], "2001:db8::7"),
            (&["::ffff:192.0.2.7, ::ffff:10.0.0.2"], "192.0.2.7"),
        ] {
            x(PROXY, lines, expected);
            x("::ffff:10.0.0.1", lines, expected);
        }
    }

    #[test]
    fn when_all_hops_are_proxies_the_first_of_them_is_the_client() {
        x(PROXY, &[], PROXY);
        x(PROXY, &["10.0.0.9, 10.0.0.2"], "10.0.0.9");
    }

    #[test]
    fn what_cannot_be_read_ends_the_walk_at_the_last_proxy_that_is_known() {
        for garbage in [
            "",
            "unknown",
            "_hidden",
            "-",
            "203.0.113.1.",
            "203.0.113",
            "0203.0.113.1",
            "203.0.113.1:",
            "203.0.113.1:port",
            "203.0.113.1:99999",
            "[203.0.113.1]",
            "[2001:db8::7",
            "2001:db8::7]",
            "[2001:db8::7]x",
            "2001:db8::7%eth0",
            "\"203.0.113.1\"",
            "for=203.0.113.1",
            "203.0.113.1;10.0.0.1",
            "203.0.113.1 203.0.113.2",
            "0xcb007101",
            "3405803777",
            "localhost",
            "10.0.0.1/8",
            "\u{ff11}.0.0.1",
        ] {
            x(PROXY, &[garbage], PROXY);
            x(PROXY, &[&format!("203.0.113.1, {garbage}")], PROXY);
            x(PROXY, &[&format!("203.0.113.1, {garbage}, 10.0.0.2")], "10.0.0.2");
            x(PROXY, &["203.0.113.1", garbage, "10.0.0.2"], "10.0.0.2");
            // To the left of the client, nothing matters.
            x(PROXY, &[&format!("{garbage}, 192.0.2.7, 10.0.0.2")], "192.0.2.7");
        }
        let bytes: &[&[u8]] = &[b"203.0.113.1, \xff\xfe"];
        assert_eq!(client(ForwardedHeader::XForwardedFor, PROXY, bytes), PROXY);
        let bytes: &[&[u8]] = &[b"\xff\xfe, 192.0.2.7"];
        assert_eq!(client(ForwardedHeader::XForwardedFor, PROXY, bytes), "192.0.2.7");
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        for (lines, expected) in [
            (&["for=192.0.2.43"][..], "192.0.2.43"),
            (&["For=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17"),
            (&["for=192.0.2.60;proto=http;by=203.0.113.43"], "192.0.2.60"),
            (&["for=192.0.2.43, for=198.51.100.17"], "198.51.100.17"),
            (&["proto=https; FOR=\"192.0.2.43:80\" ;host=a"], "192.0.2.43"),
            (&["for=192.0.2.43, for=10.0.0.2", "for=\"[fd00::1]\""], "192.0.2.43"),
            (&["for=unknown"], PROXY),
            (&["for=\"_gazonk\""], PROXY),
            (&["for=192.0.2.43, for=_secret"], PROXY),
            (&["for=192.0.2.43, by=10.0.0.2"], PROXY),
            (&["for=192.0.2.43;for=192.0.2.44"], PROXY),
            (&["for=192.0.2.43;for=unknown"], PROXY),
            (&["for=\"192\\.0.2.43\""], PROXY),
            (&["for="], PROXY),
            (&["192.0.2.43"], PROXY),
            (&[""], PROXY),
        ] {
            forwarded(lines, expected);
        }
    }

    #[test]
    fn quotes_of_a_caller_do_not_disturb_what_the_proxy_added() {
        for (sent, expected) in [
            // An open quote before the proxy's own element.
            ("for=\"203.0.113.1, for=192.0.2.7", "192.0.2.7"),
            ("\", for=192.0.2.7", "192.0.2.7"),
            ("for=203.0.113.1\\, for=192.0.2.7", "192.0.2.7"),
            // What the proxy repeats of the caller stands in quotes, which do not end where the caller wants.
            (r#"for=192.0.2.7;host="a, for=203.0.113.1""#, "192.0.2.7"),
            (r#"for=192.0.2.7;host="a;for=203.0.113.1""#, "192.0.2.7"),
            (r#"for=192.0.2.7;host="a\", for=203.0.113.1;x=\"b""#, "192.0.2.7"),
            (r#"for=192.0.2.7;host="a\\""#, "192.0.2.7"),
            (r#"host="for=203.0.113.1";for=192.0.2.7"#, "192.0.2.7"),
        ] {
            forwarded(&[sent], expected);
        }
    }

    #[test]
    fn a_node_is_an_address_with_or_without_a_port() {
        assert!(node("[::1]:65535").is_some() && node("1.2.3.4:0").is_some());
        assert!(node("[1.2.3.4]:80").is_none() && node("::1:80:").is_none() && node("").is_none());
    }
}
