//! A bound for WebSocket frames that holds before they are there. `actix_ws` collects a frame of any announced length and compares it
//! with its bound afterwards; this reads the frames' headers on the way (RFC 6455, section 5.2) and stops at one that is too long.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::FromRequest;
use actix_web::dev;
use actix_web::error::PayloadError;
use actix_web::web::{Bytes, Payload};
use actix_web::{Error, HttpRequest};
use futures_util::Stream;

/// Length announced by the second byte: it follows in two or in eight bytes.
const IN_TWO_BYTES: u8 = 126;
const IN_EIGHT_BYTES: u8 = 127;
const MASKED: u8 = 0x80;

/// `payload` with frames of at most `most` bytes.
pub(super) async fn bounded(request: &HttpRequest, payload: Payload, most: u64) -> Result<Payload, Error> {
    let frames = Frames { inner: payload.into_inner(), lengths: Lengths::new(most) };
    let mut payload: dev::Payload = dev::Payload::Stream { payload: Box::pin(frames) };
    Payload::from_request(request, &mut payload).await
}

struct Frames {
    inner: dev::Payload,
    lengths: Lengths,
}

impl Stream for Frames {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(Pin::new(&mut self.inner).poll_next(context));
        Poll::Ready(match next {
            Some(Ok(bytes)) if !self.lengths.allow(&bytes) => Some(Err(PayloadError::Overflow)),
            next => next,
        })
    }
}

/// Follows the headers of frames.
struct Lengths {
    most: u64,
    /// Of a header that has begun.
    head: Vec<u8>,
    /// What is left of the payload that is passing.
    rest: u64,
}

impl Lengths {
    fn new(most: u64) -> Self {
        Self { most, head: Vec::with_capacity(14), rest: 0 }
    }

    /// Whether no frame that begins in `bytes` is too long.
    fn allow(&mut self, mut bytes: &[u8]) -> bool {
        while let Some((first, others)) = bytes.split_first() {
            if self.rest > 0 {
                let passing = usize::try_from(self.rest).unwrap_or(usize::MAX).min(bytes.len());
                self.rest -= passing as u64;
                bytes = bytes.get(passing..).unwrap_or_default();
                continue;
            }
            self.head.push(*first);
            bytes = others;
            if let Some(length) = announced(&self.head) {
                if length > self.most {
                    return false;
                }
                self.rest = length;
                self.head.clear();
            }
        }
        true
    }
}

/// The payload's length, once the whole header is there.
fn announced(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let size = match second & !MASKED {
        IN_TWO_BYTES => 2,
        IN_EIGHT_BYTES => 8,
        _ => 0,
    };
    let mask = if second & MASKED == 0 { 0 } else { 4 };
    if head.len() < 2 + size + mask {
        return None;
    }
    let extended = head.get(2..2 + size)?;
    let length = extended.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
    Some(if size == 0 { u64::from(second & !MASKED) } else { length })
}

#[cfg(test)]
mod tests {
    use super::Lengths;

    fn frame(length: usize) -> Vec<u8> {
        let mut frame = vec![0x81];
        match length {
            0..126 => frame.push(0x80 | u8::try_from(length).unwrap()),
            126..65536 => {
                frame.push(0xfe);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(0xff);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend([1, 2, 3, 4]);
        frame.extend(std::iter::repeat_n(0xff, length));
        frame
    }

    #[test]
    fn frames_pass_up_to_the_bound_however_they_are_cut() {
        let lengths = [0, 1, 125, 126, 127, 1000, 65_535, 65_536, 70_000];
        let stream: Vec<u8> = lengths.iter().flat_map(|length| frame(*length)).collect();
        for piece in [1, 2, 3, 7, 100, 4096, stream.len()] {
            let mut exact = Lengths::new(70_000);
            assert!(stream.chunks(piece).all(|bytes| exact.allow(bytes)), "{piece}");
            let mut short = Lengths::new(69_999);
            assert!(!stream.chunks(piece).all(|bytes| short.allow(bytes)), "{piece}");
        }
    }

    #[test]
    fn the_header_is_enough() {
        for length in [1_u64 << 30, u64::MAX] {
            let head = [&[0x81, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat();
            assert!(!Lengths::new(16 << 20).allow(&head), "{length}");
        }
    }
}
