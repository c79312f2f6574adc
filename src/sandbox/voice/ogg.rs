//! Reads the packets of an Ogg Opus file (RFC 3533, RFC 7845), as `record.sh` writes them: one logical stream.

use bytes::Bytes;

/// Bytes of a page's header before its segment table; the last one says how many segments follow.
const PAGE_HEADER: usize = 27;

/// The header packets before the audio: `OpusHead` and `OpusTags`.
const HEADERS: usize = 2;

/// The audio packets. Reading ends where the file stops being Ogg.
pub(super) fn packets(file: &[u8]) -> Vec<Bytes> {
    let (mut packets, mut packet, mut rest) = (Vec::new(), Vec::new(), file);
    while let Some((segments, after)) = page(rest) {
        let mut body = after;
        for &length in segments {
            let Some((segment, next)) = body.split_at_checked(length.into()) else { return packets };
            packet.extend_from_slice(segment);
            body = next;
            // A segment of 255 bytes is continued by the next one, if need be on the next page.
            if length < u8::MAX {
                packets.push(Bytes::from(std::mem::take(&mut packet)));
            }
        }
        rest = body;
    }
    packets.drain(..HEADERS.min(packets.len()));
    packets
}

/// The segment table of the page that begins here, and what follows the table.
fn page(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = file.split_at_checked(PAGE_HEADER)?;
    if !header.starts_with(b"OggS") {
        return None;
    }
    rest.split_at_checked((*header.last()?).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_of(segments: &[&[u8]]) -> Vec<u8> {
        let mut page = b"OggS".to_vec();
        page.resize(PAGE_HEADER - 1, 0);
        page.push(segments.len().try_into().unwrap());
        page.extend(segments.iter().map(|segment| u8::try_from(segment.len()).unwrap()));
        page.extend(segments.concat());
        page
    }

    #[test]
    fn packets_follow_the_two_headers_and_may_cross_pages() {
        let file = [page_of(&[b"OpusHead"]), page_of(&[b"OpusTags"]), page_of(&[b"one", &[7; 255]]), page_of(&[b"end"])].concat();
        let packets = packets(&file);
        assert_eq!(packets.len(), 2);
        assert_eq!(packets[0], "one");
        assert_eq!(packets[1].len(), 258);
    }

    #[test]
    fn what_is_not_ogg_holds_no_packets() {
        let cut = &page_of(&[b"OpusHead"])[..30];
        for file in [b"".as_slice(), b"RIFF....WAVE", &[b'O'; 100], cut] {
            assert!(packets(file).is_empty());
        }
    }
}
