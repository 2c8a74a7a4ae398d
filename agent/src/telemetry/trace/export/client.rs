//! One connection to a collector: OTLP/HTTP and OTLP/gRPC on hyper, without the SDK's own client.

use std::{fmt, io, time::Duration};

use bytes::{BufMut, Bytes};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Collected, Full, LengthLimitError, Limited};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};

use super::super::otlp::ExportTraceServiceResponse;
use crate::model::mesh::{Collector, OtlpProtocol};

/// From the connection's begin to the end of the answer.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer says no more than how many spans were refused and why.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// gRPC's frame around a message: whether it is compressed, and its length.
const FRAME_BYTES: usize = 5;

#[derive(Debug, Error)]
pub(super) enum ExportError {
    #[error("connecting: {0}")]
    Connect(#[source] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("no request can be made for this address: {0}")]
    Request(#[from] http::Error),
    #[error("no answer within {EXPORT_TIMEOUT:?}")]
    Timeout,
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("it answered with grpc-status {0}")]
    Grpc(u16),
    #[error("its answer is longer than {ANSWER_BYTES_MAX} bytes or broke off")]
    Answer,
}

impl ExportError {
    /// Whether the same batch may be taken when it is sent again (OTLP, "Failures").
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Http(_) | Self::Timeout | Self::Answer => true,
            Self::Status(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::Grpc(status) => matches!(status, 1 | 4 | 10 | 11 | 14 | 15),
            Self::Request(_) => false,
        }
    }
}

enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// Keeps one connection while it works.
#[derive(Default)]
pub(super) struct Client(Option<(Collector, Connection)>);

impl Client {
    /// Sends one encoded message; how many of its spans were refused.
    pub(super) async fn export(
        &mut self,
        collector: &Collector,
        message: &[u8],
    ) -> Result<u64, ExportError> {
        let exchange = timeout(EXPORT_TIMEOUT, self.exchange(collector, message)).await;
        let result = exchange.unwrap_or(Err(ExportError::Timeout));
        if result.is_err() {
            self.0 = None;
        }
        result
    }

    async fn exchange(
        &mut self,
        collector: &Collector,
        message: &[u8],
    ) -> Result<u64, ExportError> {
        let request = request(collector, message)?;
        let connection = self.connection(collector).await?;
        let response = match connection {
            Connection::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Connection::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        answer(collector.protocol, response).await
    }

    async fn connection(&mut self, collector: &Collector) -> Result<&mut Connection, ExportError> {
        let usable = self.0.take().filter(|(to, connection)| {
            to == collector
                && match connection {
                    Connection::Http1(sender) => !sender.is_closed(),
                    Connection::Http2(sender) => !sender.is_closed(),
                }
        });
        let connection = match usable {
            Some(connection) => connection,
            None => (collector.clone(), connect(collector).await?),
        };
        Ok(&mut self.0.insert(connection).1)
    }
}

async fn connect(collector: &Collector) -> Result<Connection, ExportError> {
    let host = collector.host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, collector.port))
        .await
        .map_err(ExportError::Connect)?;
    // What becomes of the connection shows in the next request.
    match collector.protocol {
        OtlpProtocol::Http => {
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            Ok(Connection::Http1(sender))
        }
        OtlpProtocol::Grpc => {
            let io = TokioIo::new(stream);
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            Ok(Connection::Http2(sender))
        }
    }
}

fn request(collector: &Collector, message: &[u8]) -> Result<Request<Full<Bytes>>, http::Error> {
    let Collector {
        host, port, path, ..
    } = collector;
    let request = match collector.protocol {
        OtlpProtocol::Http => Request::post(&**path)
            .header(header::HOST, format!("{host}:{port}"))
            .header(header::CONTENT_TYPE, "application/x-protobuf"),
        OtlpProtocol::Grpc => Request::post(format!("http://{host}:{port}{path}"))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers"),
    };
    let body = match collector.protocol {
        OtlpProtocol::Http => Bytes::copy_from_slice(message),
        OtlpProtocol::Grpc => framed(message),
    };
    let version = env!("CARGO_PKG_VERSION");
    request
        .header(header::USER_AGENT, format!("weir/{version}"))
        .body(Full::new(body))
}

fn framed(message: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(FRAME_BYTES + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.into()
}

/// How many spans were refused of a batch that was taken.
async fn answer(protocol: OtlpProtocol, response: Response<Incoming>) -> Result<u64, ExportError> {
    if !response.status().is_success() {
        return Err(ExportError::Status(response.status()));
    }
    let head = grpc_status(response.headers());
    let body: Collected<Bytes> = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| match error.downcast::<LengthLimitError>() {
            Ok(_) => ExportError::Answer,
            Err(error) => match error.downcast::<hyper::Error>() {
                Ok(error) => ExportError::Http(*error),
                Err(_) => ExportError::Answer,
            },
        })?;
    let message = match protocol {
        OtlpProtocol::Http => body.to_bytes(),
        OtlpProtocol::Grpc => {
            let status = body.trailers().and_then(grpc_status).or(head);
            match status {
                Some(0) => {}
                Some(status) => return Err(ExportError::Grpc(status)),
                None => return Err(ExportError::Answer),
            }
            let framed = body.to_bytes();
            framed.slice(FRAME_BYTES.min(framed.len())..)
        }
    };
    // An answer that is no such message, as of a plain web server, refuses nothing.
    let partial = ExportTraceServiceResponse::decode(message)
        .ok()
        .and_then(|response| response.partial_success);
    Ok(partial.map_or(0, |partial| {
        u64::try_from(partial.rejected_spans).unwrap_or_default()
    }))
}

fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
