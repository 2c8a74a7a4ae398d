//! `weir tap`

mod line;

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    process::ExitCode,
};

use anyhow::Context as _;
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::signal;

use super::{admin_client, output::Output};
use crate::traffic::form;

/// Size of one line of the agent's: 128 headers of 256 bytes, and all else, are far below it.
const LINE_BYTES_MAX: usize = 1 << 20;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Requests that begin or end in this namespace
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,

    /// Requests of or to this pod: NAMESPACE/POD, or POD
    #[arg(long, value_name = "POD")]
    pod: Option<String>,

    /// Requests for this service: NAMESPACE/NAME, or a NAME in --namespace
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,

    /// Paths that begin so
    #[arg(long, value_name = "PREFIX")]
    path: Option<String>,

    /// The method
    #[arg(short = 'X', long, value_name = "METHOD")]
    method: Option<String>,

    /// The status of the answer: 404, or 5xx
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,

    /// Why it ended, as x-weir-reason and the access log have it: no_route
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,

    /// Ends after so many requests
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,

    /// The admin address of the agent
    #[arg(long, value_name = "ADDR", default_value = admin_client::ADMIN_ADDR)]
    admin: SocketAddr,

    /// How requests are told: a line each, or JSON with the headers, secrets redacted
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Runs until Ctrl-C, `--max`, or the end of the agent.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    admin_client::block_on(async {
        tokio::select! {
            told = follow(args) => told,
            interrupted = signal::ctrl_c() => interrupted.context("cannot wait for Ctrl-C"),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn follow(args: &Args) -> anyhow::Result<()> {
    let target = format!("/debug/tap?{}", form::encode(filter(args)));
    let response = admin_client::get(args.admin, &target).await?;
    let mut lines = Lines {
        body: response.into_body(),
        buffer: BytesMut::new(),
    };
    let mut left = args.max;
    while left != Some(0) {
        let Some(line) = lines.next().await? else {
            eprintln!("weir: the agent has ended the tap");
            return Ok(());
        };
        let told = line::read(&line)?;
        let shown = match args.output {
            Output::Json => line.to_vec(),
            Output::Text => told.to_string().into_bytes(),
        };
        if !print(&shown)? {
            return Ok(());
        }
        if told.is_request() {
            left = left.map(|left| left - 1);
        }
    }
    Ok(())
}

fn filter(args: &Args) -> impl Iterator<Item = (&str, &str)> {
    [
        ("namespace", &args.namespace),
        ("pod", &args.pod),
        ("service", &args.service),
        ("path", &args.path),
        ("method", &args.method),
        ("status", &args.status),
        ("reason", &args.reason),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.as_deref()?)))
}

/// False once nobody reads any more, as after `weir tap | head`.
fn print(line: &[u8]) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    let written = out.write_all(line).and_then(|()| out.write_all(b"\n"));
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true),
    }
}

/// An answer, line by line.
struct Lines {
    body: Incoming,
    buffer: BytesMut,
}

impl Lines {
    async fn next(&mut self) -> anyhow::Result<Option<BytesMut>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(end + 1);
                line.truncate(end);
                return Ok(Some(line));
            }
            anyhow::ensure!(
                self.buffer.len() <= LINE_BYTES_MAX,
                "the agent sends a line without end"
            );
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let frame = frame.context("the agent is gone")?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}
