//! Proof that the traffic took the path that the row names, from what the agents themselves counted.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use weir_tests::Metrics;

use crate::sandbox::{Place, inside};

const OPENED: &str = "istio_tcp_connections_opened_total";
/// An agent may fold its counters after the connection's end.
const SETTLING: Duration = Duration::from_secs(3);
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// One agent's `/metrics`, and what must rise there.
pub(crate) struct Watch {
    pub(crate) place: Place,
    pub(crate) address: SocketAddr,
    pub(crate) reporter: &'static str,
    /// `connection_security_policy` that is asked for; none: any.
    pub(crate) security: Option<&'static str>,
}

pub(crate) struct Proof {
    pub(crate) watches: Vec<Watch>,
}

impl Proof {
    /// Connections that each watched side has counted so far.
    pub(crate) fn read(&self) -> Result<Vec<f64>> {
        self.watches.iter().map(Watch::opened).collect()
    }

    /// Fails when a side has seen fewer than `connections` new ones since `before`: the row is void then.
    pub(crate) fn check(&self, before: &[f64], connections: u64) -> Result<()> {
        let deadline = Instant::now() + SETTLING;
        for (watch, before) in self.watches.iter().zip(before) {
            loop {
                let seen = watch.opened()? - before;
                if seen >= connections as f64 {
                    break;
                }
                ensure!(
                    Instant::now() < deadline,
                    "the row is void: {connections} connections were made, but the {}'s agent counted {seen} ({OPENED}, {})",
                    watch.reporter,
                    watch.security.unwrap_or("any security"),
                );
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        Ok(())
    }
}

impl Watch {
    fn opened(&self) -> Result<f64> {
        let text = inside(&self.place, || get(self.address, "/metrics"))?;
        let mut labels = vec![("reporter", self.reporter)];
        labels.extend(
            self.security
                .map(|security| ("connection_security_policy", security)),
        );
        Ok(Metrics::parse(body(&text)).sum(OPENED, &labels))
    }
}

/// What follows the head of an answer.
fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// A GET to an admin address, status line and head included.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, SETTLING)?;
    stream.set_read_timeout(Some(SETTLING))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    ensure!(
        answer.starts_with("HTTP/1.1 200"),
        "{path}: {}",
        answer.lines().next().unwrap_or_default()
    );
    Ok(answer)
}
