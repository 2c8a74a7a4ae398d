//! Programs in pods: the real ones, and `weir-testprog` with what it tells.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde_json::Value;

use crate::{
    pod::Pod,
    process::{Exec, Proc, sibling_program},
};

impl Pod {
    /// `weir-testprog` with these arguments; see `tests/programs/main.rs`.
    pub fn testprog(&self, args: &[&str]) -> Exec {
        self.command(sibling_program("weir-testprog", "WEIR_TESTPROG"))
            .args(args)
    }

    /// A server on all addresses of both families (one dual-stack socket), once it listens.
    #[track_caller]
    pub fn serve(&self, behaviour: &str, port: u16) -> Proc {
        self.serve_on(behaviour, &format!("[::]:{port}"))
    }

    #[track_caller]
    pub fn serve_on(&self, behaviour: &str, addr: &str) -> Proc {
        let server = self.testprog(&["serve", behaviour, addr]).spawn();
        server.event_named("listening");
        server
    }

    /// One connection through these steps (`send:TEXT`, `recv:N`, `line`, `eof`, `drain`, …),
    /// to its end.
    #[track_caller]
    pub fn talk(&self, addr: SocketAddr, steps: &[&str]) -> Talk {
        self.talk_with(&[], addr, steps)
    }

    /// With flags: `--mapped`, `--nonblocking`, `--from ADDR`, `--patience SECONDS`.
    #[track_caller]
    pub fn talk_with(&self, flags: &[&str], addr: SocketAddr, steps: &[&str]) -> Talk {
        let run = self.talker(flags, addr, steps).finish();
        let report = run
            .stdout
            .lines()
            .last()
            .and_then(|line| serde_json::from_str(line).ok());
        Talk(report.unwrap_or_else(|| panic!("weir-testprog talk told nothing: {run:?}")))
    }

    /// The same, running: the step `wait` waits for a line of [`Proc::tell`].
    #[track_caller]
    pub fn talker(&self, flags: &[&str], addr: SocketAddr, steps: &[&str]) -> Proc {
        self.testprog(&["talk"])
            .args(flags)
            .arg(addr.to_string())
            .args(steps)
            .spawn()
    }

    /// `hello` there and back.
    #[track_caller]
    pub fn hello(&self, addr: SocketAddr) -> Talk {
        self.talk(addr, &["send:hello", "recv:5"])
    }

    /// An echo to `addr` must succeed.
    #[track_caller]
    pub fn expect_echo(&self, addr: SocketAddr) {
        let talk = self.hello(addr);
        assert!(talk.is_ok() && talk.received() == "hello", "{talk:?}");
    }

    /// A client that opens `per_second` echo connections until [`Load::stop`].
    #[track_caller]
    pub fn load(&self, addr: SocketAddr, per_second: u32) -> Load {
        let load = self
            .testprog(&["load", &addr.to_string(), &per_second.to_string()])
            .spawn();
        Load(load)
    }

    /// nginx with one page.
    #[track_caller]
    pub fn nginx(&self, port: u16, body: &str) -> Proc {
        let listen = format!("listen {port}; listen [::]:{port} ipv6only=on;");
        self.nginx_with("nginx", port, &listen, body)
    }

    /// nginx with one page over TLS of its own, with a certificate that nobody knows.
    #[track_caller]
    pub fn nginx_tls(&self, port: u16, body: &str) -> Proc {
        let dir = self.dir();
        let (cert, key) = (dir.join("tls.crt"), dir.join("tls.key"));
        let openssl = self
            .command("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ])
            .args(["-nodes", "-subj", "/CN=app", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&cert);
        openssl.run().expect_ok();
        let listen = format!(
            "listen {port} ssl; listen [::]:{port} ipv6only=on ssl;\n    \
             ssl_certificate {}; ssl_certificate_key {};",
            cert.display(),
            key.display()
        );
        self.nginx_with("nginx-tls", port, &listen, body)
    }

    #[track_caller]
    fn nginx_with(&self, name: &str, port: u16, listen: &str, body: &str) -> Proc {
        let dir = self.dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let config = format!(
            "daemon off; master_process off; user root; pid {dir}/pid; error_log stderr;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n  access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;\n  \
             fastcgi_temp_path {dir}/fcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;\n  \
             server {{\n    {listen}\n    \
             location / {{ return 200 '{body}'; }}\n    \
             location /whoami {{ return 200 '$remote_addr'; }}\n  }}\n}}\n",
            dir = dir.display()
        );
        let file = dir.join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let nginx = self
            .command("nginx")
            .arg("-c")
            .arg(&file)
            .arg("-p")
            .arg(&dir)
            .spawn();
        nginx.wait_listening(port);
        nginx
    }

    #[track_caller]
    pub fn redis(&self, port: u16) -> Proc {
        let redis = self
            .command("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "0.0.0.0",
                "::",
                "--save",
                "",
            ])
            .args(["--protected-mode", "no", "--dir"])
            .arg(self.dir())
            .spawn();
        redis.wait_listening(port);
        redis
    }

    /// What a server answers to `GET http://addr/path`.
    #[track_caller]
    pub fn curl(&self, addr: SocketAddr, path: &str) -> String {
        self.command("curl")
            .args(["-sS", "--max-time", "10", &format!("http://{addr}{path}")])
            .run()
            .expect_ok()
    }
}

/// What a client told of its one connection.
#[derive(Clone, Debug)]
pub struct Talk(pub Value);

impl Talk {
    /// All steps were done.
    pub fn is_ok(&self) -> bool {
        self.0["error"].is_null()
    }

    /// `refused`, `reset`, `timeout`, `eof`, …; empty when all went well.
    pub fn error(&self) -> &str {
        self.0["error"].as_str().unwrap_or("")
    }

    /// The kernel or the agent refused: at once, or right after the dial (datapath.md).
    pub fn is_refused(&self) -> bool {
        matches!(self.error(), "refused" | "reset") && self.received().is_empty()
    }

    pub fn received(&self) -> &str {
        self.0["received"].as_str().unwrap_or("")
    }

    /// getsockname(), as the program saw it.
    pub fn local(&self) -> SocketAddr {
        self.addr("local")
    }

    /// getpeername(), as the program saw it.
    pub fn peer(&self) -> SocketAddr {
        self.addr("peer")
    }

    fn addr(&self, field: &str) -> SocketAddr {
        let text = self.0[field].as_str().unwrap_or_default();
        text.parse()
            .unwrap_or_else(|_| panic!("no {field} address in {self:?}"))
    }

    /// From the dial to the end of the last step.
    pub fn took(&self) -> Duration {
        Duration::from_secs_f64(self.0["ms"].as_f64().unwrap_or_default() / 1e3)
    }
}

/// A client that dials without end.
pub struct Load(Proc);

impl Load {
    /// Waits until `n` more connections have succeeded.
    #[track_caller]
    pub fn wait_for_more(&self, n: u64) {
        let so_far = || {
            self.0
                .events()
                .last()
                .map_or(0, |report| number(report, "ok"))
        };
        let goal = so_far() + n;
        self.0.event(|report| number(report, "ok") >= goal);
    }

    /// Stops it: how many connections succeeded, and why the others did not.
    #[track_caller]
    pub fn stop(self) -> (u64, Vec<String>) {
        let finished = self.0.finish();
        let report = crate::process::json_lines(&finished.stdout)
            .pop()
            .unwrap_or_default();
        let failures = report["failures"].as_array().into_iter().flatten();
        (
            number(&report, "ok"),
            failures.map(Value::to_string).collect(),
        )
    }
}

fn number(report: &Value, field: &str) -> u64 {
    report[field].as_u64().unwrap_or(0)
}

/// The address in a `"10.9.1.2:8080"` of an event.
pub fn ip_in(event: &Value, field: &str) -> Option<IpAddr> {
    Some(event[field].as_str()?.parse::<SocketAddr>().ok()?.ip())
}
