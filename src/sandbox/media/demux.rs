//! Which peer a datagram is for: STUN says so itself (RFC 8445, 7.2.2), and what follows comes from the same address.

use std::collections::HashMap;
use std::net::SocketAddr;

/// Addresses that one peer may come from at a time; a further one replaces the oldest.
const ADDRESSES: usize = 8;

/// Type and length of a STUN message, magic cookie, transaction id.
const STUN_HEADER: usize = 20;
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const STUN_USERNAME: u16 = 0x0006;

/// Peers by their ICE user fragment and by their addresses. `P` is what stands for a peer.
pub(super) struct Demux<P> {
    peers: HashMap<String, Peer<P>>,
    addresses: HashMap<SocketAddr, String>,
}

struct Peer<P> {
    peer: P,
    addresses: Vec<SocketAddr>,
}

impl<P> Demux<P> {
    pub(super) fn new() -> Self {
        Self { peers: HashMap::new(), addresses: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    /// `fragment`: what this side announced as its `ice-ufrag`.
    pub(super) fn insert(&mut self, fragment: String, peer: P) {
        self.peers.insert(fragment, Peer { peer, addresses: Vec::new() });
    }

    pub(super) fn remove(&mut self, fragment: &str) {
        for address in self.peers.remove(fragment).map(|peer| peer.addresses).unwrap_or_default() {
            self.addresses.remove(&address);
        }
    }

    /// The peer that a datagram is for. An address that names another peer in a STUN request belongs to that one from then on.
    pub(super) fn find(&mut self, datagram: &[u8], source: SocketAddr) -> Option<&P> {
        let known = self.addresses.get(&source).map(String::as_str);
        let Some(fragment) = named_in(datagram).filter(|named| known != Some(named)) else {
            return self.peers.get(known?).map(|found| &found.peer);
        };
        let (owner, before) = (self.peers.get_mut(fragment)?, self.addresses.insert(source, fragment.to_owned()));
        owner.addresses.push(source);
        let replaced = (owner.addresses.len() > ADDRESSES).then(|| owner.addresses.remove(0));
        if let Some(replaced) = replaced {
            self.addresses.remove(&replaced);
        }
        if let Some(before) = before.and_then(|before| self.peers.get_mut(&before)) {
            before.addresses.retain(|address| *address != source);
        }
        self.peers.get(fragment).map(|found| &found.peer)
    }
}

/// The user fragment of the side that a STUN message is for: what stands before the colon of its user name (RFC 8489, 14.3).
fn named_in(datagram: &[u8]) -> Option<&str> {
    let (header, mut attributes) = datagram.split_at_checked(STUN_HEADER)?;
    if header.get(4..8)? != STUN_COOKIE || header.first()? & 0xc0 != 0 {
        return None;
    }
    while let Some((&[kind_high, kind_low, length_high, length_low], rest)) = attributes.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        if u16::from_be_bytes([kind_high, kind_low]) == STUN_USERNAME {
            let name = std::str::from_utf8(rest.get(..length)?).ok()?;
            return name.split_once(':').map(|(fragment, _)| fragment);
        }
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: &str) -> Vec<u8> {
        let mut message = [&[0, 1, 0, 0], STUN_COOKIE.as_slice(), &[9; 12], &[0x80, 0x22, 0, 3, 1, 2, 3, 0]].concat();
        message.extend([0, 6, 0, u8::try_from(name.len()).unwrap()]);
        message.extend(name.as_bytes());
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    fn from(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn two() -> Demux<u8> {
        let mut demux = Demux::new();
        demux.insert("one".into(), 1);
        demux.insert("two".into(), 2);
        demux
    }

    #[test]
    fn stun_names_its_peer_and_the_rest_follows_the_address() {
        let mut demux = two();
        assert_eq!(demux.find(&[128, 111, 0], from(1)), None);
        assert_eq!(demux.find(&request("two:theirs"), from(1)), Some(&2));
        assert_eq!(demux.find(&[128, 111, 0], from(1)), Some(&2));
        assert_eq!(demux.find(&request("nobody:theirs"), from(2)), None);
        assert_eq!(demux.find(&[128, 111, 0], from(2)), None);
        assert_eq!(demux.find(&request("one:theirs"), from(1)), Some(&1));
        assert_eq!(demux.find(&[22, 254, 253], from(1)), Some(&1));
    }

    #[test]
    fn a_peer_that_has_gone_leaves_no_address_and_none_has_many() {
        let mut demux = two();
        for port in 1..=40 {
            assert_eq!(demux.find(&request("one:x"), from(port)), Some(&1));
        }
        assert_eq!(demux.addresses.len(), ADDRESSES);
        assert_eq!(demux.find(&[128, 111, 0], from(1)), None);
        demux.remove("one");
        assert_eq!((demux.len(), demux.addresses.len()), (1, 0));
        assert_eq!(demux.find(&request("one:x"), from(40)), None);
    }

    #[test]
    fn malformed_stun_names_nobody() {
        let whole = request("one:x");
        for length in 0..whole.len() - 4 {
            assert_eq!(named_in(&whole[..length]), None, "{length}");
        }
        assert_eq!(named_in(&request("one")), None);
    }
}
