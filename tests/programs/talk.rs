//! One connection, step by step.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    Outcome,
    io::{Dial, Dialled, describe, reset, tell},
};

/// `talk [--mapped] [--nonblocking] [--from ADDR] [--patience SECONDS] ADDR STEP…`
///
/// | step | does |
/// |---|---|
/// | `send:TEXT`, `send-bytes:N` | writes |
/// | `recv:N`, `line` | reads that many bytes, or up to a line's end |
/// | `eof` | ends its own direction |
/// | `drain` | reads to the end |
/// | `wait` | waits for a line on standard input |
/// | `reset` | closes with RST |
pub(crate) fn run(args: &[&str]) -> Outcome {
    let mut dial = Dial::default();
    let mut mapped = false;
    let mut args = args.iter();
    let addr: SocketAddr = loop {
        match *args.next().ok_or("no address")? {
            "--mapped" => mapped = true,
            "--patience" => dial.patience_seconds = Some(args.next().ok_or("no seconds")?.parse()?),
            "--nonblocking" => dial.nonblocking = true,
            "--from" => dial.from = Some(args.next().ok_or("no source address")?.parse()?),
            addr => break addr.parse()?,
        }
    };
    let addr = if mapped { as_mapped(addr) } else { addr };
    let steps: Vec<&str> = args.copied().collect();

    let start = Instant::now();
    let mut report = json!({"dialled": addr, "error": null, "received": ""});
    let result = match dial.connect(addr) {
        Ok(dialled) => converse(dialled, &steps, &mut report),
        Err(error) => {
            report["step"] = json!("connect");
            Err(error)
        }
    };
    if let Err(error) = result {
        report["error"] = json!(describe(&error));
    }
    report["ms"] = json!(start.elapsed().as_secs_f64() * 1e3);
    tell(&report);
    Ok(())
}

fn converse(dialled: Dialled, steps: &[&str], report: &mut Value) -> io::Result<()> {
    let Dialled {
        stream,
        in_progress,
    } = dialled;
    report["in_progress"] = json!(in_progress);
    report["local"] = json!(stream.local_addr().ok());
    report["peer"] = json!(stream.peer_addr().ok());
    let mut received = Vec::new();
    let mut result = Ok(());
    for step in steps {
        if *step == "reset" {
            result = reset(stream);
            break;
        }
        if let Err(error) = take(&stream, step, &mut received) {
            report["step"] = json!(step);
            result = Err(error);
            break;
        }
        tell(&json!({"event": "done", "step": step}));
    }
    report["received"] = json!(String::from_utf8_lossy(&received));
    result
}

fn take(mut stream: &TcpStream, step: &str, received: &mut Vec<u8>) -> io::Result<()> {
    let (verb, argument) = step.split_once(':').unwrap_or((step, ""));
    let number = || argument.parse::<usize>().map_err(io::Error::other);
    match verb {
        "send" => stream.write_all(argument.as_bytes()),
        "send-bytes" => stream.write_all(&vec![b'x'; number()?]),
        "recv" => {
            let mut bytes = vec![0; number()?];
            stream.read_exact(&mut bytes)?;
            received.extend(bytes);
            Ok(())
        }
        "line" => loop {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            received.extend(byte);
            if byte == *b"\n" {
                return Ok(());
            }
        },
        "eof" => stream.shutdown(Shutdown::Write),
        "drain" => stream.read_to_end(received).map(|_| ()),
        "wait" => io::stdin().read_line(&mut String::new()).map(|_| ()),
        _ => Err(ErrorKind::InvalidInput.into()),
    }
}

/// As a dual-stack application (Java, Go) dials IPv4: `::ffff:a.b.c.d` on an IPv6 socket.
fn as_mapped(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), addr.port()),
        IpAddr::V6(_) => addr,
    }
}
