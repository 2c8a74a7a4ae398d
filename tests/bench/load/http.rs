//! Just enough HTTP/1.1 to know where a reply ends, without parsing each one.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, Result, ensure};

use super::PATIENCE;

pub(crate) const KEEP: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";
pub(crate) const CLOSE: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200";
/// A reply is about 1,300 bytes; room for several.
pub(crate) const BUFFER_BYTES: usize = 16 << 10;

/// Whether the bytes that a reply begins with say that it is a good one.
pub(crate) fn is_ok(start: &[u8]) -> bool {
    start.starts_with(OK)
}

/// Connects, asks once, and answers how long a reply is. nginx serves one static file, so every reply to the same
/// request is as long as the first (even `Date` has a fixed width).
pub(crate) fn probe(dest: SocketAddr, request: &[u8]) -> Result<(TcpStream, usize)> {
    let mut stream = connect(dest)?;
    stream.write_all(request)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut got = 0;
    loop {
        let n = stream
            .read(&mut buffer[got..])
            .with_context(|| format!("no reply from {dest}"))?;
        ensure!(
            n > 0,
            "{dest} closed the connection after {got} bytes of a reply"
        );
        got += n;
        if let Some(length) = reply_bytes(&buffer[..got]).filter(|length| *length <= got) {
            ensure!(is_ok(&buffer), "{dest} did not answer 200");
            return Ok((stream, length));
        }
    }
}

/// A blocking connection that does not block for ever.
pub(crate) fn connect(dest: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&dest, PATIENCE)
        .with_context(|| format!("cannot connect to {dest}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Head and body together, once the head is whole.
fn reply_bytes(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..head]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    })?;
    Some(head + length)
}

#[cfg(test)]
mod tests;
