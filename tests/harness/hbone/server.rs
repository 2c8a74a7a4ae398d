//! A server of tunnels.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdTcpListener},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use rustls::{ServerConfig, server::Acceptor};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::LazyConfigAcceptor;

use super::{PORT, Reason, Stream, tls};
use crate::{ca::Identity, mesh::lock, pod::Pod, poll::eventually};

const PORT_DEADLINE: Duration = Duration::from_secs(5);

/// What the server does with each request.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// 200, then every byte back.
    Echo,
    /// This status, and the end.
    Status(u16),
    /// Nothing at all.
    Never,
    /// 200; RST_STREAM at the first data.
    Reset(Reason),
    /// 200 and these bytes, then END_STREAM; goes on reading.
    SayAndFinish(&'static [u8]),
}

/// A request as it came, with what came before it on its connection.
#[derive(Clone, Debug)]
pub struct Seen {
    pub peer: SocketAddr,
    pub peer_uris: Vec<String>,
    pub alpn_offered: Vec<String>,
    pub server_name: Option<String>,
    pub method: Method,
    pub authority: String,
    pub path: String,
    pub headers: HeaderMap,
}

/// Listens on 15008 in a pod that no agent has captured. Stops when dropped.
pub struct HboneServer {
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
    task: JoinHandle<()>,
}

impl HboneServer {
    pub fn start(pod: &Pod, identity: &Identity, answer: Answer) -> Self {
        Self::start_with(pod, identity, answer, 200)
    }

    /// With MAX_CONCURRENT_STREAMS.
    pub fn start_with(pod: &Pod, identity: &Identity, answer: Answer, max_streams: u32) -> Self {
        // The port of a server before this one may be taken for a moment more: whatever program
        // another test is just starting holds a copy of all descriptors until it execs.
        let listener = eventually("port 15008 is free", PORT_DEADLINE, || {
            pod.netns().enter(|| StdTcpListener::bind(("::", PORT)))
        });
        listener.set_nonblocking(true).unwrap();
        let server = Server {
            config: tls::server_config(identity),
            answer,
            max_streams,
            seen: Arc::default(),
            connections: Arc::default(),
        };
        Self {
            seen: Arc::clone(&server.seen),
            connections: Arc::clone(&server.connections),
            task: super::RUNTIME.spawn(async move { server.run(listener).await }),
        }
    }

    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }

    /// TLS connections that came so far.
    pub fn connections(&self) -> usize {
        *lock(&self.connections)
    }

    #[track_caller]
    pub fn wait_for_request(&self) -> Seen {
        eventually(
            "a request at the HBONE server",
            Duration::from_secs(10),
            || self.seen().into_iter().next().ok_or("none"),
        )
    }
}

impl Drop for HboneServer {
    fn drop(&mut self) {
        self.task.abort();
        // It listens no more when this returns.
        let _ = super::RUNTIME.block_on(&mut self.task);
    }
}

#[derive(Clone)]
struct Server {
    config: Arc<ServerConfig>,
    answer: Answer,
    max_streams: u32,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
}

impl Server {
    async fn run(self, listener: StdTcpListener) {
        let listener = TcpListener::from_std(listener).unwrap();
        // The connections end with the listener.
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let Ok((tcp, peer)) = listener.accept().await else {
                continue;
            };
            let server = self.clone();
            connections.spawn(async move { server.serve(tcp, peer).await });
        }
    }

    async fn serve(self, tcp: TcpStream, peer: SocketAddr) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let start = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
        let hello = start.client_hello();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let alpn_offered = hello
            .alpn()
            .into_iter()
            .flatten()
            .map(text)
            .collect::<Vec<_>>();
        let server_name = hello.server_name().map(str::to_owned);
        let tls = start.into_stream(Arc::clone(&self.config)).await?;
        *lock(&self.connections) += 1;
        let peer_uris = tls::uris(tls.get_ref().1.peer_certificates());

        let mut h2 = h2::server::Builder::new()
            .initial_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .max_concurrent_streams(self.max_streams)
            .handshake::<_, Bytes>(tls)
            .await
            .map_err(io::Error::other)?;
        let mut requests = tokio::task::JoinSet::new();
        while let Some(request) = h2.accept().await {
            let (request, respond) = request.map_err(io::Error::other)?;
            lock(&self.seen).push(Seen {
                peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
                peer_uris: peer_uris.clone(),
                alpn_offered: alpn_offered.clone(),
                server_name: server_name.clone(),
                method: request.method().clone(),
                authority: request
                    .uri()
                    .authority()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                path: request.uri().path().to_owned(),
                headers: request.headers().clone(),
            });
            requests.spawn(answer(self.answer, request, respond));
        }
        Ok(())
    }
}

async fn answer(
    answer: Answer,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let recv = request.into_body();
    let status = match answer {
        Answer::Status(status) => StatusCode::from_u16(status).unwrap(),
        Answer::Never => return std::future::pending().await,
        Answer::Echo | Answer::Reset(_) | Answer::SayAndFinish(_) => StatusCode::OK,
    };
    let head = Response::builder().status(status).body(()).unwrap();
    let ends = status != StatusCode::OK;
    let send = respond.send_response(head, ends)?;
    if ends {
        return Ok(());
    }
    let mut stream = Stream {
        send,
        recv,
        unread: Vec::new(),
    };
    match answer {
        Answer::Reset(reason) => {
            if stream.more().await.is_ok() {
                stream.reset(reason);
            }
        }
        Answer::SayAndFinish(bytes) => {
            stream.send(bytes);
            stream.finish();
            while stream.more().await.is_ok() {}
        }
        _ => {
            while stream.more().await.is_ok() {
                let data = std::mem::take(&mut stream.unread);
                stream.send(&data);
            }
            stream.finish();
        }
    }
    Ok(())
}
