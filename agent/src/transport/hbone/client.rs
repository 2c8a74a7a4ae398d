//! The dialling side of one tunnel connection.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use thiserror::Error;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::{cork::cork, forwarded::Forwarded, keepalive, pool::PoolKey};
use crate::{
    identity::Material,
    model::{limits::HBONE_PORT, seams::PodNet},
    telemetry::{ActiveGuard, Direction, Metrics, Reason, TlsSide},
    transport::{
        copy::TunnelIo,
        dial::{DialError, dial},
        limits::*,
        tls::{self, TlsError},
    },
};

/// Why there is no tunnel. Nothing of the application's bytes was sent.
#[derive(Clone, Debug, Error)]
pub enum TunnelError {
    #[error("the tunnel's port: {0}")]
    Dial(DialError),
    #[error(transparent)]
    Tls(TlsError),
    #[error("HTTP/2 to the peer's agent: {0}")]
    Http2(String),
    #[error("the peer's agent answered {0}")]
    Status(StatusCode),
    #[error("the peer's agent did not answer CONNECT in time")]
    NoAnswer,
    #[error("the limit {0} is reached")]
    Limit(&'static str),
}

impl TunnelError {
    pub fn reason(&self) -> Reason {
        match self {
            Self::Dial(DialError::Refused(_)) => Reason::TunnelRefused,
            Self::Dial(DialError::Timeout(_)) => Reason::TunnelConnectTimeout,
            Self::Dial(other) => other.reason(),
            Self::Tls(error) => error.reason(),
            Self::Http2(_) => Reason::TunnelReset,
            Self::Status(StatusCode::TOO_MANY_REQUESTS) => Reason::RateLimited,
            Self::Status(_) => Reason::HboneRefused,
            Self::NoAnswer => Reason::ConnectTimeout,
            Self::Limit(_) => Reason::LimitReached,
        }
    }

    /// The peer's port 15008 refuses: its agent is not there, or not there yet.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Dial(DialError::Refused(_)))
    }

    /// The connection ended under the request: another one may serve it. Nothing was sent yet.
    pub fn is_worth_another_tunnel(&self) -> bool {
        matches!(self, Self::Http2(_))
    }
}

/// A connection to a peer's agent.
pub struct Tunnel {
    requests: RefCell<SendRequest<Bytes>>,
    streams: Cell<usize>,
    closed: Cell<bool>,
    /// Told when the last stream ends.
    idle: Notify,
}

impl Tunnel {
    /// Dials, shakes hands, and runs the connection as a task of this thread until it ends; then
    /// `on_end` is called.
    pub async fn connect(
        key: &PoolKey,
        net: &dyn PodNet,
        material: &Material,
        metrics: &Metrics,
        guard: ActiveGuard,
        on_end: impl FnOnce(&Rc<Self>) + 'static,
    ) -> Result<Rc<Self>, TunnelError> {
        let to = SocketAddr::new(key.destination, HBONE_PORT);
        let tcp = dial(net, to, None, CONNECT_TIMEOUT)
            .await
            .map_err(TunnelError::Dial)?;
        let stream = tls::connect(tcp, material, &key.destination_identity)
            .await
            .map_err(|error| {
                metrics.tls_handshake_failed(TlsSide::Client, error.failure.as_str());
                TunnelError::Tls(error)
            })?;
        let (corked, uncork) = cork(stream);
        let handshake = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_header_list_size(CLIENT_HEADER_LIST_BYTES_MAX)
            .max_send_buffer_size(STREAM_SEND_BUFFER_BYTES)
            .max_concurrent_reset_streams(REMEMBERED_RESETS_MAX)
            .enable_push(false)
            .handshake(corked);
        let handshake = timeout(TLS_HANDSHAKE_TIMEOUT, uncork.drive(handshake));
        let (requests, mut connection) = match handshake.await {
            Ok(Ok(pair)) => pair,
            Ok(Err(error)) => return Err(refused_after_handshake(&error, metrics)),
            Err(_elapsed) => return Err(TunnelError::NoAnswer),
        };
        let tunnel = Rc::new(Self {
            requests: RefCell::new(requests),
            streams: Cell::new(0),
            closed: Cell::new(false),
            idle: Notify::new(),
        });
        let running = Rc::clone(&tunnel);
        tokio::task::spawn_local(async move {
            let _guard = guard;
            let alive = keepalive::watch(connection.ping_pong());
            let until_end = async {
                tokio::select! {
                    _ended = &mut connection => {}
                    () = alive => {}
                    () = running.idle_too_long() => {}
                }
            };
            uncork.drive(until_end).await;
            running.closed.set(true);
            on_end(&running);
        });
        Ok(tunnel)
    }

    /// A connection that failed takes no further streams.
    fn note(&self, error: &h2::Error) {
        if error.is_io() || error.is_go_away() || !error.is_reset() {
            self.retire();
        }
    }

    /// Streams that are open on it.
    pub fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Whether it takes another stream.
    pub fn has_room(&self) -> bool {
        let peer_max = self.requests.borrow().current_max_send_streams();
        let room = peer_max.min(STREAMS_PER_CONNECTION_MAX as usize) * STREAMS_SHARE_PERCENT / 100;
        !self.closed.get() && self.streams.get() < room.max(1)
    }

    /// No new stream will be put on it.
    pub fn retire(&self) {
        self.closed.set(true);
    }

    /// Opens a stream.
    pub async fn open(
        self: &Rc<Self>,
        wanted: &Connect<'_>,
        metrics: &Metrics,
    ) -> Result<OpenTunnel, TunnelError> {
        let held = Held::new(self, metrics);
        let request = wanted.head()?;
        let answer = async {
            let requests = self.requests.borrow().clone();
            let mut requests = requests.ready().await?;
            let (response, send) = requests.send_request(request, false)?;
            Ok((response.await?, send))
        };
        let (response, send) = match timeout(CONNECT_ANSWER_TIMEOUT, answer).await {
            Ok(Ok(pair)) => pair,
            Ok(Err(error)) => {
                let error: h2::Error = error;
                self.note(&error);
                return Err(refused_after_handshake(&error, metrics));
            }
            Err(_elapsed) => return Err(TunnelError::NoAnswer),
        };
        if response.status() != StatusCode::OK {
            return Err(TunnelError::Status(response.status()));
        }
        Ok(OpenTunnel {
            io: TunnelIo::new(send, response.into_body()),
            held,
        })
    }

    async fn idle_too_long(&self) {
        loop {
            let since = Instant::now();
            tokio::select! {
                () = sleep_until(since + TUNNEL_IDLE_TIMEOUT) => {
                    if self.streams.get() == 0 {
                        return;
                    }
                    self.idle.notified().await;
                }
                () = self.idle.notified() => {}
            }
        }
    }
}

/// In TLS 1.3 a server refuses the client's certificate only after the client's handshake is done:
/// the refusal arrives with the first read.
fn refused_after_handshake(error: &h2::Error, metrics: &Metrics) -> TunnelError {
    match error.get_io() {
        Some(io)
            if io
                .get_ref()
                .is_some_and(|inner| inner.is::<rustls::Error>()) =>
        {
            let error = TlsError::from_io(io);
            metrics.tls_handshake_failed(TlsSide::Client, error.failure.as_str());
            TunnelError::Tls(error)
        }
        _ => TunnelError::Http2(error.to_string()),
    }
}

/// A connection to ask the peer's agent for.
#[derive(Debug)]
pub struct Connect<'a> {
    pub destination: SocketAddr,
    /// Who dialled, and the service's name where one was dialled.
    pub forwarded: Forwarded,
    /// Who the source is, for the peer's telemetry.
    pub baggage: Option<&'a HeaderValue>,
}

impl Connect<'_> {
    fn head(&self) -> Result<Request<()>, TunnelError> {
        let invalid = |error: http::Error| TunnelError::Http2(error.to_string());
        let authority =
            Uri::try_from(self.destination.to_string()).map_err(|error| invalid(error.into()))?;
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri(authority)
            .version(http::Version::HTTP_2);
        if let Some(forwarded) = self.forwarded.write() {
            request = request.header(http::header::FORWARDED, forwarded);
        }
        if let Some(baggage) = self.baggage {
            request = request.header("baggage", baggage);
        }
        request.body(()).map_err(invalid)
    }
}

/// A stream that the peer has accepted.
pub struct OpenTunnel {
    pub io: TunnelIo,
    /// To be kept as long as the stream is in use.
    pub held: Held,
}

/// Counts a stream of a tunnel for as long as it lives.
pub struct Held {
    tunnel: Rc<Tunnel>,
    _active: ActiveGuard,
}

impl Held {
    fn new(tunnel: &Rc<Tunnel>, metrics: &Metrics) -> Self {
        tunnel.streams.set(tunnel.streams.get() + 1);
        Self {
            tunnel: Rc::clone(tunnel),
            _active: metrics.hbone_stream(Direction::Outbound),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let left = self.tunnel.streams.get() - 1;
        self.tunnel.streams.set(left);
        if left == 0 {
            self.tunnel.idle.notify_one();
        }
    }
}
