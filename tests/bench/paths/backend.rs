//! What every path leads to: nginx with one small file, over HTTP/1.1, over HTTP/2 and as a gRPC answer, and the
//! sink for bulk.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::machine;
use crate::process::Process;
use crate::sandbox::{Place, Sandbox};

/// HTTP/1.1 that is opaque to every path.
pub(crate) const HTTP_PORT: u16 = 80;
pub(crate) const BULK_PORT: u16 = 5001;
/// HTTP/1.1 that proxies parse and route.
pub(crate) const WEB_PORT: u16 = 5080;
/// HTTP/2 by prior knowledge: this nginx takes nothing else on such a port.
pub(crate) const H2C_PORT: u16 = 5081;
pub(crate) const GRPC_PORT: u16 = 5082;
/// The body of `docs/performance.md`'s figures.
pub(crate) const BODY_BYTES: usize = 1024;
/// What gRPC puts before a message: one byte of flags, four of length.
pub(crate) const GRPC_PREFIX_BYTES: usize = 5;

pub(crate) fn nginx_binary() -> Result<PathBuf> {
    let candidates = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"];
    let found = candidates.iter().map(Path::new).find(|path| path.exists());
    found
        .map(Path::to_owned)
        .context("no nginx: `cargo xtask setup` installs it (Debian: apt-get install nginx-light)")
}

pub(crate) fn start(
    sandbox: &Sandbox,
    name: &str,
    server: &Place,
    bind: Ipv4Addr,
) -> Result<Vec<Process>> {
    let nginx = nginx_binary()?;
    let dir = sandbox.dir(&format!("{name}-backend"))?;
    fs::create_dir_all(dir.join("www"))?;
    let body = "w".repeat(BODY_BYTES);
    fs::write(dir.join("www/index.html"), &body)?;
    fs::write(dir.join("www/grpc"), grpc_message(body.as_bytes()))?;
    let mut backend = Vec::new();
    // As many as cores, like `worker_processes`, but each its own process: a worker outlives a killed master,
    // and these must not outlive the run. `reuseport` spreads the connections over them.
    for worker in 0..machine::cores() {
        let prefix = dir.join(format!("nginx-{worker}"));
        fs::create_dir_all(&prefix)?;
        let config = prefix.join("nginx.conf");
        fs::write(&config, nginx_config(&prefix, &dir.join("www"), bind))?;
        let args = ["-p".into(), prefix.clone(), "-c".into(), config];
        let log = sandbox.dir("logs")?.join(format!("{name}-nginx-{worker}"));
        backend.push(Process::start(
            &format!("{name} nginx"),
            &nginx,
            args,
            server,
            &log,
        )?);
    }
    let sink = ["sink".to_owned(), format!("{bind}:{BULK_PORT}")];
    let log = sandbox.dir("logs")?.join(format!("{name}-sink"));
    backend.push(Process::start(
        &format!("{name} sink"),
        &std::env::current_exe()?,
        sink,
        server,
        &log,
    )?);
    Ok(backend)
}

/// A message as gRPC frames it, not compressed.
pub(crate) fn grpc_message(message: &[u8]) -> Vec<u8> {
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

/// The gRPC server is nginx as well, so that all works have the same speed behind them: whatever is POSTed is
/// answered with one message from a file, and trailers say that all is well. (nginx answers a POST for a file
/// with 405, and that with the file. It reads a request's body only for those who need it, as `mirror` does;
/// otherwise it would answer before the message is there, and reset every stream.)
fn nginx_config(prefix: &Path, www: &Path, bind: Ipv4Addr) -> String {
    let prefix = prefix.display();
    let www = www.display();
    format!(
        "master_process off; daemon off; pid {prefix}/pid; error_log stderr error;\n\
         worker_rlimit_nofile 20000;\n\
         events {{ worker_connections 16000; }}\n\
         http {{\n\
           access_log off; tcp_nodelay on; open_file_cache max=10;\n\
           keepalive_requests 1000000000; keepalive_timeout 600s;\n\
           client_body_temp_path {prefix}/1; proxy_temp_path {prefix}/2; fastcgi_temp_path {prefix}/3;\n\
           uwsgi_temp_path {prefix}/4; scgi_temp_path {prefix}/5;\n\
           root {www};\n\
           server {{\n\
             listen {bind}:{HTTP_PORT} reuseport backlog=16384;\n\
             listen {bind}:{WEB_PORT} reuseport backlog=16384;\n\
           }}\n\
           server {{ listen {bind}:{H2C_PORT} http2 reuseport backlog=16384; }}\n\
           server {{\n\
             listen {bind}:{GRPC_PORT} http2 reuseport backlog=16384;\n\
             default_type application/grpc;\n\
             add_trailer grpc-status 0;\n\
             location / {{ mirror /nothing; rewrite ^ /grpc break; error_page 405 =200 /grpc; }}\n\
             location = /nothing {{ internal; return 204; }}\n\
             location = /grpc {{ }}\n\
           }}\n\
         }}\n"
    )
}
