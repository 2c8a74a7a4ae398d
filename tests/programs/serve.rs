//! Servers. Each connection is told when it is accepted and when it has ended.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};

use serde_json::json;

use crate::{
    Outcome, bulk,
    io::{describe, reset, tell},
};

/// Thousands of connections have a thread each.
const STACK_BYTES: usize = 128 << 10;

type Behaviour = fn(&TcpStream, &mut u64) -> io::Result<()>;

pub(crate) fn run(behaviour: &str, addr: SocketAddr) -> Outcome {
    let listener = TcpListener::bind(addr)?;
    tell(&json!({"event": "listening", "addr": listener.local_addr()?}));
    if let Some(bytes) = behaviour.strip_prefix("bulk:") {
        return bulk::server(&listener, bytes.parse()?);
    }
    if let Some(text) = behaviour.strip_prefix("canned:") {
        return canned(&listener, text);
    }
    let behave: Behaviour = match behaviour {
        "echo" => echo,
        "greet" => greet,
        "whoami" => whoami,
        "reply-at-eof" => reply_at_eof,
        "close-first" => close_first,
        "reset" => after_first_byte,
        "source" => source,
        "silent" => silent,
        other => return Err(format!("no such behaviour: {other}").into()),
    };
    for id in 0.. {
        let (stream, peer) = listener.accept()?;
        let resets = behaviour == "reset";
        thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || serve(id, stream, peer, behave, resets))?;
    }
    Ok(())
}

fn serve(id: u64, stream: TcpStream, peer: SocketAddr, behave: Behaviour, resets: bool) {
    tell(&json!({
        "event": "accepted",
        "id": id,
        // accept() and getpeername() are asked apart: they take different ways in the kernel.
        "accept": peer,
        "peer": stream.peer_addr().ok(),
        "local": stream.local_addr().ok(),
    }));
    let mut received = 0;
    let how = match behave(&stream, &mut received) {
        Ok(()) => "eof".to_owned(),
        Err(error) => describe(&error),
    };
    tell(&json!({"event": "closed", "id": id, "how": how, "received": received}));
    if resets {
        let _ = reset(stream);
    }
}

/// Returns what comes until the end, then ends its own direction.
fn echo(mut stream: &TcpStream, received: &mut u64) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return stream.shutdown(Shutdown::Write);
        }
        *received += length as u64;
        stream.write_all(&buffer[..length])?;
    }
}

/// Speaks first, as MySQL does.
fn greet(mut stream: &TcpStream, received: &mut u64) -> io::Result<()> {
    stream.write_all(b"5.7.0-greeter\n")?;
    echo(stream, received)
}

/// Tells the client the addresses of its connection, as this end sees them.
fn whoami(mut stream: &TcpStream, received: &mut u64) -> io::Result<()> {
    let addresses = json!({"peer": stream.peer_addr()?, "local": stream.local_addr()?});
    writeln!(stream, "{addresses}")?;
    echo(stream, received)
}

fn read_to_end(mut stream: &TcpStream, received: &mut u64) -> io::Result<()> {
    let mut buffer = [0; 64 << 10];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => *received += length as u64,
        }
    }
}

/// Answers when the client has ended its direction.
fn reply_at_eof(mut stream: &TcpStream, received: &mut u64) -> io::Result<()> {
    read_to_end(stream, received)?;
    writeln!(stream, "got {received}")
}

/// Ends its own direction first and goes on reading.
fn close_first(mut stream: &TcpStream, received: &mut u64) -> io::Result<()> {
    stream.write_all(b"bye\n")?;
    stream.shutdown(Shutdown::Write)?;
    read_to_end(stream, received)
}

/// Reads one byte; the reset follows.
fn after_first_byte(mut stream: &TcpStream, received: &mut u64) -> io::Result<()> {
    stream.read_exact(&mut [0])?;
    *received += 1;
    Ok(())
}

/// Sends until it is stopped. Tells in `received` how much was taken from it.
fn source(mut stream: &TcpStream, sent: &mut u64) -> io::Result<()> {
    let chunk = [b's'; 64 << 10];
    loop {
        *sent += stream.write(&chunk)? as u64;
    }
}

/// Neither reads nor writes.
fn silent(_: &TcpStream, _: &mut u64) -> io::Result<()> {
    loop {
        thread::park();
    }
}

/// Tells the head of each connection's first request as it came, answers with `text` (`@FILE`: what is
/// in the file) whatever was asked, and ends.
fn canned(listener: &TcpListener, text: &str) -> Outcome {
    let text = match text.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file)?,
        None => text.to_owned(),
    };
    for stream in listener.incoming() {
        let (mut stream, text) = (stream?, text.clone());
        thread::spawn(move || -> io::Result<()> {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte)?;
                head.extend(byte);
            }
            tell(&json!({"event": "head", "text": String::from_utf8_lossy(&head)}));
            stream.write_all(text.as_bytes())?;
            stream.shutdown(Shutdown::Write)?;
            read_to_end(&stream, &mut 0)
        });
    }
    Ok(())
}
