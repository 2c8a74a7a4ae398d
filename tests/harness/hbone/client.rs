//! A client of tunnels.

use std::{
    io,
    net::{SocketAddr, TcpStream as StdTcpStream},
    time::Duration,
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, Response, StatusCode, Uri};
use rustls::pki_types::ServerName;
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Reason, Stream, block_on, stream::End, tls};
use crate::{ca::Identity, pod::Pod};

const TCP_TIMEOUT: Duration = Duration::from_secs(5);

/// How to reach a tunnel's port.
pub struct Dial<'a> {
    /// The pod from which the connection comes.
    pub from: &'a Pod,
    pub to: SocketAddr,
    /// What the client trusts; what it shows, unless that is `anonymous`.
    pub identity: &'a Identity,
    pub anonymous: bool,
    /// Largest window that is announced for a stream.
    pub window: u32,
}

impl<'a> Dial<'a> {
    pub fn new(from: &'a Pod, to: &Pod, identity: &'a Identity) -> Self {
        Self::to_addr(from, to.v4(super::PORT), identity)
    }

    pub fn to_addr(from: &'a Pod, to: SocketAddr, identity: &'a Identity) -> Self {
        Self {
            from,
            to,
            identity,
            anonymous: false,
            window: 1 << 20,
        }
    }

    /// No further than TCP.
    pub fn tcp(&self) -> io::Result<StdTcpStream> {
        self.from
            .netns()
            .enter(|| StdTcpStream::connect_timeout(&self.to, TCP_TIMEOUT))
    }

    /// No further than TLS.
    pub fn tls(&self) -> io::Result<TlsStream<TcpStream>> {
        let tcp = self.tcp()?;
        tcp.set_nonblocking(true)?;
        tcp.set_nodelay(true)?;
        let shows = (!self.anonymous).then_some(self.identity);
        let connector = TlsConnector::from(tls::client_config(self.identity, shows));
        block_on("the TLS handshake", async {
            let tcp = TcpStream::from_std(tcp)?;
            connector.connect(ServerName::from(self.to.ip()), tcp).await
        })
    }

    /// Finishes TLS and says nothing more. Whether the server ends it within `deadline`.
    pub fn silence_is_ended_within(&self, deadline: Duration) -> bool {
        let mut tls = self.tls().unwrap();
        super::RUNTIME.block_on(async {
            let end = async {
                let mut buffer = [0; 4096];
                // Session tickets and HTTP/2 settings may come first.
                while matches!(tls.read(&mut buffer).await, Ok(1..)) {}
            };
            tokio::time::timeout(deadline, end).await.is_ok()
        })
    }

    /// A tunnel. A server that refuses the client's certificate shows it only in what follows
    /// (TLS 1.3), which is why the first [`Tunnel::connect`] may be what fails.
    pub fn open(&self) -> Result<Tunnel, Refused> {
        let tls = self.tls()?;
        let peer_uris = tls::uris(tls.get_ref().1.peer_certificates());
        let (send, connection) = block_on("the HTTP/2 handshake", async {
            h2::client::Builder::new()
                .initial_window_size(self.window)
                .initial_connection_window_size(16 << 20)
                .max_header_list_size(16 << 10)
                .enable_push(false)
                .handshake::<_, Bytes>(tls)
                .await
        })?;
        let connection = super::RUNTIME.spawn(connection);
        Ok(Tunnel {
            send,
            connection,
            peer_uris,
        })
    }
}

/// Why there is no tunnel, or no stream in it.
#[derive(Debug)]
pub enum Refused {
    /// An answer other than 200.
    Status(StatusCode),
    /// RST_STREAM before an answer.
    Reset(Reason),
    /// The connection: TCP, TLS or HTTP/2.
    Connection(String),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Connection(error.to_string())
    }
}

impl From<h2::Error> for Refused {
    fn from(error: h2::Error) -> Self {
        match error.reason() {
            Some(reason) if error.is_reset() => Self::Reset(reason),
            _ => Self::Connection(error.to_string()),
        }
    }
}

/// An HTTP/2 connection to a tunnel's port.
pub struct Tunnel {
    send: SendRequest<Bytes>,
    connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
    /// URI SANs of the server's certificate.
    pub peer_uris: Vec<String>,
}

impl Tunnel {
    /// CONNECT, as a well-behaved peer sends it.
    pub fn connect(&self, authority: impl ToString) -> Result<Stream, Refused> {
        self.connect_with(authority, &[])
    }

    pub fn connect_with(
        &self,
        authority: impl ToString,
        headers: &[(&str, &str)],
    ) -> Result<Stream, Refused> {
        let uri = Uri::builder()
            .authority(authority.to_string())
            .build()
            .unwrap();
        let mut request = Request::builder().method(Method::CONNECT).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (response, stream) = self.request(request.body(()).unwrap())?;
        match response.status() {
            StatusCode::OK => Ok(stream),
            status => Err(Refused::Status(status)),
        }
    }

    /// Any request, with its stream left open. The answer's headers are in the response.
    pub fn request(&self, request: Request<()>) -> Result<(Response<()>, Stream), Refused> {
        let send = self.send.clone();
        block_on("an answer", async {
            let mut send = send.ready().await?;
            let (response, send) = send.send_request(request, false)?;
            let (head, recv) = response.await?.into_parts();
            let stream = Stream {
                send,
                recv,
                unread: Vec::new(),
            };
            Ok((Response::from_parts(head, ()), stream))
        })
    }

    /// Opens streams and resets each at once, as fast as the peer takes them. Returns how many,
    /// and what ended it before `count`.
    pub fn reset_rapidly(&self, authority: SocketAddr, count: usize) -> (usize, Option<String>) {
        let uri = Uri::builder()
            .authority(authority.to_string())
            .build()
            .unwrap();
        let send = self.send.clone();
        block_on("rapid resets", async {
            let mut send = send;
            for done in 0..count {
                let request = Request::builder().method(Method::CONNECT).uri(uri.clone());
                let opened = async {
                    send = send.clone().ready().await?;
                    send.send_request(request.body(()).unwrap(), false)
                };
                match opened.await {
                    Ok((_, mut stream)) => stream.send_reset(Reason::CANCEL),
                    Err(error) => return (done, Some(error.to_string())),
                }
                tokio::task::yield_now().await;
            }
            (count, None)
        })
    }

    /// The streams that the server allows at once.
    pub fn max_streams(&self) -> usize {
        self.send.current_max_send_streams()
    }

    /// Waits for the end of the connection.
    pub fn closed_within(self, deadline: Duration) -> Option<Result<(), h2::Error>> {
        drop(self.send);
        super::RUNTIME.block_on(async {
            let ended = tokio::time::timeout(deadline, self.connection).await.ok()?;
            Some(ended.unwrap())
        })
    }

    pub fn is_open(&self) -> bool {
        !self.connection.is_finished()
    }
}

impl Refused {
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(status.as_u16()),
            _ => None,
        }
    }
}

impl From<End> for Refused {
    fn from(end: End) -> Self {
        match end {
            End::Reset(reason) => Self::Reset(reason),
            other => Self::Connection(format!("{other:?}")),
        }
    }
}
