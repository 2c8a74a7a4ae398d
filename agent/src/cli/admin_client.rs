//! Asks a running agent's admin address.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header::HOST};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, runtime, time::timeout};

/// For the connection, and for the answer to begin.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Size of a refusal that is shown.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// Where an agent answers that was told nothing else.
pub(super) const ADMIN_ADDR: &str = "127.0.0.1:15021";

/// Runs one command's conversation.
pub(super) fn block_on<T>(talk: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(talk)
}

/// # Errors
/// When no agent answers there, or when it answers with anything but 200: in its own words.
pub(super) async fn get(admin: SocketAddr, target: &str) -> anyhow::Result<Response<Incoming>> {
    let response = timeout(ANSWER_TIMEOUT, ask(admin, target))
        .await
        .map_err(|_| anyhow!("the agent at {admin} does not answer"))?
        .map_err(|error| {
            anyhow!("no agent answers at {admin} (--admin says where it is): {error:#}")
        })?;
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response);
    }
    let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX);
    let why = body.collect().await.map(|body| body.to_bytes());
    let why = why.unwrap_or_default();
    let why = String::from_utf8_lossy(&why);
    Err(match why.trim() {
        "" => anyhow!("the agent answers {status}"),
        why => anyhow!("{why}"),
    })
}

/// The whole of the answer.
///
/// # Errors
/// As [`get`], and when the answer ends early.
pub(super) async fn fetch(admin: SocketAddr, target: &str) -> anyhow::Result<Vec<u8>> {
    let response = get(admin, target).await?;
    let body = response.into_body().collect().await;
    let body = body.context("the agent's answer ended early")?;
    Ok(body.to_bytes().to_vec())
}

async fn ask(admin: SocketAddr, target: &str) -> anyhow::Result<Response<Incoming>> {
    let stream = TcpStream::connect(admin).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer's body.
    tokio::spawn(connection);
    let request = Request::get(target)
        .header(HOST, admin.to_string())
        .body(Empty::<Bytes>::new())?;
    Ok(sender.send_request(request).await?)
}
