//! IP networks: those of trusted proxies, and the one that a client's address is counted by.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A network in CIDR notation (RFC 4632, RFC 4291). IPv4 written as IPv6 (`::ffff:192.0.2.1`) is IPv4 here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    /// At most 32, for IPv6 at most 128.
    bits: u32,
}

/// How many of an IPv4 address's bits stand before it when it is written as IPv6.
const MAPPED: u32 = 96;

impl Network {
    /// `10.0.0.0/8`, `2001:db8::/32`, or one address. The error is a cause for the operator.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "must be a network such as \"10.0.0.0/8\" or \"fd00::/8\", or an address";
        let (written, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let written: IpAddr = written.parse().map_err(|_| FORM)?;
        let most = width(written);
        let digits = |length: &&str| !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
        let bits = match length {
            Some(length) => Some(length).filter(digits).and_then(|length| length.parse().ok()).ok_or(FORM)?,
            None => most,
        };
        let address = written.to_canonical();
        let bits = if width(address) == most { Some(bits) } else { bits.checked_sub(MAPPED) };
        match bits {
            None | Some(0) => Err("would trust every address there is; name the proxies alone"),
            Some(bits) if bits > width(address) => Err(FORM),
            Some(bits) if rest(address, bits) != 0 => Err("has bits beyond its length; write the network's first address"),
            Some(bits) => Ok(Self { address, bits }),
        }
    }

    /// The network whose addresses are counted as one client: an IPv4 address by itself, and the /64 of an IPv6 address, which is the
    /// least that one line gets (RFC 6177) and within which a client takes whatever address it likes.
    pub(crate) fn of_client(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self { address: address.into(), bits: 32 },
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self { address: Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into(), bits: 64 }
            }
        }
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        width(address) == width(self.address) && first(address, self.bits) == first(self.address, self.bits)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The first `bits` of an address.
fn first(address: IpAddr, bits: u32) -> u128 {
    number(address).checked_shr(width(address).saturating_sub(bits)).unwrap_or_default()
}

/// What follows the first `bits`.
fn rest(address: IpAddr, bits: u32) -> u128 {
    number(address) - first(address, bits).checked_shl(width(address).saturating_sub(bits)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Network;

    fn holds(network: &str, address: &str) -> bool {
        Network::parse(network).unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_holds_its_own_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("192.0.2.128/25", "192.0.2.128", "192.0.2.127"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.7/32", "::ffff:192.0.2.7", "::192.0.2.7"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "::ffff:11.0.0.1"),
            ("128.0.0.0/1", "255.255.255.255", "127.255.255.255"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("fd00::/8", "fdff::1", "fc00::1"),
            ("::1", "::1", "127.0.0.1"),
            ("::1/128", "::1", "::2"),
            ("::/8", "::1", "10.0.0.1"),
        ] {
            assert!(holds(network, inside), "{inside} is in {network}");
            assert!(!holds(network, outside), "{outside} is not in {network}");
        }
    }

    #[test]
    fn what_is_no_network_or_every_network_is_refused() {
        for bad in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10.0.0.0/ 8",
            "10.0.0/8",
            "010.0.0.0/8",
            "10.0.0.1/8",
            "::/129",
            "2001:db8::1/64",
            "fe80::1%eth0",
            "localhost",
            "*",
            "10.0.0.0-10.0.0.9",
            "0.0.0.0/0",
            "::/0",
            "::ffff:0.0.0.0/96",
            "::ffff:10.0.0.0/64",
            "10.0.0.0/4294967296",
            "[::1]",
            "10.0.0.1:80",
        ] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_client_is_counted_by_its_address_or_its_64() {
        for (address, counted) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::", "2001:db8:1:2::/64"),
            ("::1", "::/64"),
        ] {
            assert_eq!(Network::of_client(address.parse().unwrap()).to_string(), counted);
        }
    }
}
