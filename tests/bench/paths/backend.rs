//! What every path leads to: nginx with one small file, and the sink for bulk.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::machine;
use crate::process::Process;
use crate::sandbox::{Place, Sandbox};

pub(crate) const HTTP_PORT: u16 = 80;
pub(crate) const BULK_PORT: u16 = 5001;
/// The body of `docs/performance.md`'s figures.
const BODY_BYTES: usize = 1024;

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
    fs::write(dir.join("www/index.html"), "w".repeat(BODY_BYTES))?;
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
           server {{ listen {bind}:{HTTP_PORT} reuseport backlog=16384; root {www}; }}\n\
         }}\n"
    )
}
