//! Proof that the traffic took the path that the row names, from what the agents themselves counted.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use weir_tests::Metrics;

use crate::sandbox::{Place, inside};

const OPENED: &str = "istio_tcp_connections_opened_total";
const REQUESTS: &str = "istio_requests_total";
/// The source alone counts it: it chooses the route.
const ROUTED: &str = "weir_route_request_duration_milliseconds_count";
/// What the source keeps for when the service fails: nothing without a policy that says `fallback`.
const STALE_KEPT: &str = "weir_stale_answers_kept";
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

/// What a load must have made rise.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counted {
    Connections,
    /// Answered with 200, and at the source sent by a route's rule to this port of the service.
    Requests(u16),
}

pub(crate) struct Proof {
    pub(crate) watches: Vec<Watch>,
}

impl Proof {
    /// How many each watched side has counted so far.
    pub(crate) fn read(&self, what: Counted) -> Result<Vec<f64>> {
        self.watches.iter().map(|watch| watch.count(what)).collect()
    }

    /// Fails unless the source's agent acts by the TrafficPolicy, now that requests were answered.
    pub(crate) fn policy_acts(&self) -> Result<()> {
        for watch in self.watches.iter().filter(|w| w.reporter == "source") {
            let kept = watch.metrics()?.sum(STALE_KEPT, &[]);
            ensure!(kept > 0.0, "the policy is not in force: no answer was kept");
        }
        Ok(())
    }

    /// Fails when a side has seen fewer than `made` since `before`: the row is void then.
    pub(crate) fn check(&self, what: Counted, before: &[f64], made: u64) -> Result<()> {
        let deadline = Instant::now() + SETTLING;
        for (watch, before) in self.watches.iter().zip(before) {
            loop {
                let seen = watch.count(what)? - before;
                if seen >= made as f64 {
                    break;
                }
                ensure!(
                    Instant::now() < deadline,
                    "the row is void: of {made} the {}'s agent counted {seen} ({what:?}, {})",
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
    fn metrics(&self) -> Result<Metrics> {
        let text = inside(&self.place, || get(self.address, "/metrics"))?;
        Ok(Metrics::parse(body(&text)))
    }

    fn count(&self, what: Counted) -> Result<f64> {
        let metrics = self.metrics()?;
        let mut labels = vec![("reporter", self.reporter)];
        labels.extend(
            self.security
                .map(|security| ("connection_security_policy", security)),
        );
        Ok(match what {
            Counted::Connections => metrics.sum(OPENED, &labels),
            Counted::Requests(port) => {
                labels.push(("response_code", "200"));
                let requests = metrics.sum(REQUESTS, &labels);
                if self.reporter == "source" {
                    let backend = format!("bench/server:{port}");
                    requests.min(metrics.sum(ROUTED, &[("backend", &backend)]))
                } else {
                    requests
                }
            }
        })
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
