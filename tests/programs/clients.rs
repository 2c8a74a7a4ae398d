//! Clients with many connections at once.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
};

use serde_json::json;

use crate::{
    Outcome,
    io::{Dial, describe, tell},
};

/// `count` connections to an echo server, each proven once; `check` on stdin proves them again.
pub(crate) fn hold(addr: SocketAddr, count: usize) -> Outcome {
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = Dial::default().connect(addr)?.stream;
        ping(&mut stream)?;
        streams.push(stream);
    }
    tell(&json!({"event": "open", "count": streams.len()}));
    for line in io::stdin().lines() {
        if line? == "check" {
            let ok = streams
                .iter_mut()
                .filter_map(|stream| ping(stream).ok())
                .count();
            tell(&json!({"event": "checked", "ok": ok}));
        }
    }
    Ok(())
}

fn ping(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"p")?;
    stream.read_exact(&mut [0])
}

/// Dials `whoami` servers, all open at once, each from the same bound address.
pub(crate) fn dial_many(from: SocketAddr, addrs: &[&str]) -> Outcome {
    let dial = Dial {
        from: Some(from),
        ..Dial::default()
    };
    let mut streams = Vec::new();
    for addr in addrs {
        streams.push((
            addr,
            dial.connect(addr.parse()?).map(|dialled| dialled.stream),
        ));
    }
    for (addr, stream) in streams {
        let answer = stream.and_then(|stream| {
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line)?;
            Ok((stream.local_addr()?, stream.peer_addr()?, line))
        });
        tell(&match answer {
            Ok((local, peer, line)) => {
                json!({"event": "dialled", "to": addr, "local": local, "peer": peer, "answer": line.trim()})
            }
            Err(error) => json!({"event": "dialled", "to": addr, "error": describe(&error)}),
        });
    }
    Ok(())
}
