//! As much of HTTP/1.1 as both ends of a connection between acquaintances need: one message at a time, with its length.

use std::io;

use tokio::net::TcpStream;

const LARGEST: usize = 64 * 1024;

pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Box<[u8]>,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: vec![0; LARGEST].into() }
    }

    pub(crate) async fn send(&self, message: &[u8]) -> io::Result<()> {
        let mut rest = message;
        while !rest.is_empty() {
            self.stream.writable().await?;
            rest = &rest[ready(self.stream.try_write(rest))?.unwrap_or(0)..];
        }
        Ok(())
    }

    /// The next whole message; an error when the other side is gone.
    pub(crate) async fn receive(&mut self) -> io::Result<&[u8]> {
        let mut filled = 0;
        while !is_whole(&self.buffer[..filled]) {
            self.stream.readable().await?;
            match ready(self.stream.try_read(&mut self.buffer[filled..]))? {
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read.unwrap_or(0),
            }
        }
        Ok(&self.buffer[..filled])
    }
}

/// `None` when there is nothing to do yet.
fn ready(outcome: io::Result<usize>) -> io::Result<Option<usize>> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        outcome => outcome.map(Some),
    }
}

fn is_whole(message: &[u8]) -> bool {
    let Some(end) = message.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = std::str::from_utf8(&message[..end]).unwrap();
    let length =
        head.lines().filter_map(|line| line.split_once(": ")).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    message.len() == end + 4 + length.map_or(0, |(_, bytes)| bytes.parse().unwrap())
}
