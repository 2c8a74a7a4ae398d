//! The accepting side of one tunnel connection.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::{RecvStream, SendStream, server::SendResponse};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use tokio::time::timeout;
use tracing::debug;

use super::{
    cork::{Corked, cork},
    forwarded::Forwarded,
    keepalive,
};
use crate::transport::{limits::*, tls::ServerStream};

/// What a peer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub authority: Authority,
    /// The client behind the peer, as the peer says.
    pub forwarded: Forwarded,
}

/// `:authority` of a CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    Address(SocketAddr),
    /// A service's name and one of its ports.
    Service {
        host: String,
        port: u16,
    },
}

/// A request that waits for its answer.
pub struct Incoming {
    wanted: Wanted,
    body: RecvStream,
    respond: SendResponse<Bytes>,
}

impl Incoming {
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// 200: from now on the stream is the connection.
    pub fn accept(
        mut self,
        baggage: Option<&HeaderValue>,
    ) -> Result<(SendStream<Bytes>, RecvStream), h2::Error> {
        let mut response = Response::new(());
        if let Some(baggage) = baggage {
            response.headers_mut().insert("baggage", baggage.clone());
        }
        let send = self.respond.send_response(response, false)?;
        Ok((send, self.body))
    }

    pub fn refuse(mut self, status: StatusCode) {
        answer(&mut self.respond, status);
    }
}

/// Serves a connection until it ends. `handle` starts a task for each CONNECT; `drain` ends the
/// connection in order: streams that are open go on, new ones go elsewhere.
pub async fn serve(
    stream: ServerStream,
    handle: impl Fn(Incoming),
    drain: impl Future<Output = ()>,
) -> Result<(), h2::Error> {
    let (corked, uncork) = cork(stream);
    let handshake = h2::server::Builder::new()
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(SERVER_HEADER_LIST_BYTES_MAX)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_send_buffer_size(STREAM_SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(REMEMBERED_RESETS_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .handshake::<_, Bytes>(corked);
    let connection = match timeout(TLS_HANDSHAKE_TIMEOUT, uncork.drive(handshake)).await {
        Ok(connection) => connection?,
        Err(_elapsed) => return Ok(()),
    };
    uncork.drive(serve_streams(connection, handle, drain)).await
}

async fn serve_streams(
    mut connection: h2::server::Connection<Corked<ServerStream>, Bytes>,
    handle: impl Fn(Incoming),
    drain: impl Future<Output = ()>,
) -> Result<(), h2::Error> {
    let alive = keepalive::watch(connection.ping_pong());
    tokio::pin!(alive, drain);
    let mut draining = false;
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                None => return Ok(()),
                Some(Err(error)) => return Err(error),
                Some(Ok((request, respond))) => {
                    if let Some(incoming) = read_request(request, respond) {
                        handle(incoming);
                    }
                }
            },
            () = &mut alive => {
                connection.abrupt_shutdown(h2::Reason::NO_ERROR);
                return Ok(());
            }
            () = &mut drain, if !draining => {
                draining = true;
                connection.graceful_shutdown();
            }
        }
    }
}

/// Answers 400 itself where it is not a CONNECT that can be understood.
fn read_request(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Option<Incoming> {
    let Some(wanted) = wanted(&request) else {
        debug!(method = %request.method(), uri = %request.uri(), "not a CONNECT to an address");
        answer(&mut respond, StatusCode::BAD_REQUEST);
        return None;
    };
    Some(Incoming {
        wanted,
        body: request.into_body(),
        respond,
    })
}

fn wanted(request: &Request<RecvStream>) -> Option<Wanted> {
    if request.method() != Method::CONNECT
        || request.extensions().get::<h2::ext::Protocol>().is_some()
    {
        return None;
    }
    let authority = request.uri().authority()?;
    let forwarded = request.headers().get(http::header::FORWARDED);
    Some(Wanted {
        authority: Authority::read(authority.as_str())?,
        forwarded: forwarded.map(Forwarded::read).unwrap_or_default(),
    })
}

impl Authority {
    fn read(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse() {
            return Some(Self::Address(address));
        }
        let (host, port) = text.rsplit_once(':')?;
        let named = host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
        (named && !host.is_empty()).then_some(Self::Service {
            host: host.to_ascii_lowercase(),
            port: port.parse().ok()?,
        })
    }
}

fn answer(respond: &mut SendResponse<Bytes>, status: StatusCode) {
    let mut response = Response::new(());
    *response.status_mut() = status;
    let _ = respond.send_response(response, true);
}

#[cfg(test)]
mod tests;
