//! One endpoint: how it is reached, and reaching it.

use std::{borrow::Cow, future::pending, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    model::{
        pod::Workload,
        service::{Endpoint, ServiceState},
    },
    proxy::{
        guarded::Guards,
        l7::detect,
        pods::LocalPod,
        way::{self, Way},
        worker::Worker,
    },
    telemetry::{ConnectionInfo, ConnectionRecord, Reason, Reporter},
    transport::{
        dial::{DialError, dial},
        hbone::{
            client::{Connect, OpenTunnel, TunnelError},
            forwarded::Forwarded,
        },
        limits::CONNECT_TIMEOUT,
    },
};

/// Between two tries of a tunnel port that refuses while its pod's enrolment is fresh.
const REFUSED_BACKOFF: Duration = Duration::from_millis(50);

/// A connection that stands.
pub(super) enum Upstream {
    /// To a captured pod of another node. Kept as long as the stream is in use.
    Tunnel(OpenTunnel),
    /// To a captured pod of this node: no wire, so no TLS.
    Local(Box<LocalUpstream>),
    /// To a pod that is not captured.
    Plain(TcpStream),
}

pub(super) struct LocalUpstream {
    pub(super) stream: TcpStream,
    /// The destination's half, which another node would report.
    pub(super) record: ConnectionRecord,
}

/// Why an endpoint, or a whole connection, failed.
pub(super) struct Failure {
    pub(super) reason: Reason,
    pub(super) detail: Cow<'static, str>,
}

impl Failure {
    pub(super) fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        Self::new(error.reason(), error.to_string())
    }
}

/// Why there is no tunnel, or nothing at its end.
enum TunnelFailure {
    Tunnel(TunnelError),
    /// `timeouts.connect` is over.
    Timeout,
}

impl From<TunnelFailure> for Failure {
    fn from(failure: TunnelFailure) -> Self {
        match failure {
            TunnelFailure::Tunnel(error) => Self::new(error.reason(), error.to_string()),
            TunnelFailure::Timeout => Self::new(Reason::ConnectTimeout, "no connection in time"),
        }
    }
}

/// One endpoint for one connection.
pub(super) struct Attempt<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) source: &'a Rc<LocalPod>,
    pub(super) client: SocketAddr,
    pub(super) dialled: SocketAddr,
    pub(super) service: Option<Arc<ServiceState>>,
    pub(super) endpoint: Endpoint,
    /// `timeouts.connect`.
    pub(super) timeout: Duration,
}

pub(super) struct Outcome {
    /// Who has the endpoint's address.
    pub(super) destination: Option<Arc<Workload>>,
    pub(super) upstream: Result<Upstream, Failure>,
}

pub(super) async fn connect(attempt: &Attempt<'_>) -> Outcome {
    loop {
        let snapshot = attempt.worker.snapshot();
        let (way, destination) = way::to(attempt.worker, &snapshot, attempt.endpoint);
        drop(snapshot);
        let upstream = match (way, &destination) {
            (Way::Denied, _) => Err(Failure::new(Reason::PolicyDenied, way::DENIED)),
            (Way::SameNode(pod), _) => attempt.same_node(&pod).await,
            (Way::Tunnel, Some(workload)) => match attempt.tunnel(workload).await {
                // Another node's agent may not be there yet, or not any more: look again.
                Err(TunnelFailure::Tunnel(error))
                    if error.is_refused() && way::is_fresh(workload) =>
                {
                    sleep(REFUSED_BACKOFF).await;
                    continue;
                }
                outcome => outcome.map(Upstream::Tunnel).map_err(Failure::from),
            },
            _ => attempt.plain().await,
        };
        return Outcome {
            destination,
            upstream,
        };
    }
}

impl Attempt<'_> {
    fn to(&self) -> SocketAddr {
        SocketAddr::new(self.endpoint.address, self.endpoint.port)
    }

    async fn same_node(&self, pod: &LocalPod) -> Result<Upstream, Failure> {
        let source = self.source.workload();
        let destination = pod.workload();
        let mut info = ConnectionInfo::new(Reporter::Destination, self.client, self.dialled);
        info.destination_address = self.to();
        info.source_principal = Some(source.identity.clone());
        info.destination_principal = Some(destination.identity.clone());
        info.source = Some(source);
        info.destination = Some(destination);
        info.service.clone_from(&self.service);
        let mut record = self.worker.telemetry.begin(info);
        let guards = self.worker.guarded.of(self.worker, self.to());
        let over = |guards: Guards| {
            let limited = guards.limit_rate(self.worker, record.info(), None);
            limited.is_err()
        };
        if guards.is_some_and(over) {
            record.finish(Reason::RateLimited, None);
            return Err(Failure::new(
                Reason::RateLimited,
                "more than the rate limit",
            ));
        }
        match dial(&*pod.net, self.to(), Some(self.client), self.timeout).await {
            Ok(stream) => {
                record.established();
                Ok(Upstream::Local(Box::new(LocalUpstream { stream, record })))
            }
            Err(error) => {
                record.finish(error.reason(), Some(error.to_string().into()));
                Err(error.into())
            }
        }
    }

    async fn tunnel(&self, destination: &Workload) -> Result<OpenTunnel, TunnelFailure> {
        let key = way::pool_key(self.source, self.to(), destination);
        let baggage = self.source.baggage();
        let wanted = Connect {
            destination: self.to(),
            forwarded: Forwarded {
                client: Some(self.client),
                host: self
                    .service
                    .as_ref()
                    .map(|service| self.worker.host_name(service)),
            },
            baggage: baggage.as_ref(),
        };
        let (pool, dialler) = (&self.worker.pool, self.source.dialler());
        let opening = pool.open(&key, &dialler, &wanted);
        if self.timeout == CONNECT_TIMEOUT {
            // The tunnel's own limits are longer: they tell what is wrong with it.
            return opening.await.map_err(TunnelFailure::Tunnel);
        }
        let opened = timeout(self.timeout, opening).await;
        opened
            .map_err(|_elapsed| TunnelFailure::Timeout)?
            .map_err(TunnelFailure::Tunnel)
    }

    async fn plain(&self) -> Result<Upstream, Failure> {
        let stream = dial(&*self.source.net, self.to(), None, self.timeout).await?;
        Ok(Upstream::Plain(stream))
    }
}

impl Upstream {
    /// Completes once the server has greeted, or ended the connection. The SETTINGS of an HTTP/2
    /// server are no greeting.
    pub(super) async fn greets(&mut self) {
        let is_settings = match self {
            Self::Tunnel(tunnel) => detect::is_settings(tunnel.io.peek().await),
            Self::Local(local) => peeks_settings(&local.stream).await,
            Self::Plain(stream) => peeks_settings(stream).await,
        };
        if is_settings {
            pending().await
        }
    }

    /// Passes on what was read of the client while finding out what it speaks.
    pub(super) async fn begin_with(&mut self, bytes: Bytes) -> std::io::Result<()> {
        match self {
            Self::Tunnel(tunnel) => {
                let sent = tunnel.io.send.send_data(bytes, false);
                sent.map_err(std::io::Error::other)
            }
            Self::Local(local) => local.stream.write_all(&bytes).await,
            Self::Plain(stream) => stream.write_all(&bytes).await,
        }
    }
}

async fn peeks_settings(server: &TcpStream) -> bool {
    let mut head = [0; 16];
    // What is wrong with it shows when it is read. (Readiness alone may be a false alarm.)
    let length = server.peek(&mut head).await.unwrap_or(0);
    detect::is_settings(&head[..length])
}
