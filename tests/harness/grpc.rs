//! gRPC and WebSocket from outside: Python's own stacks (`tests/programs/*.py`).

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};

use crate::{
    pod::Pod,
    process::{Exec, Proc, json_lines},
};

/// Debian's, which has the modules that setup installs; another on the PATH may not.
const PYTHON: &str = "/usr/bin/python3";

impl Pod {
    /// One of `tests/programs/*.py`.
    pub fn python(&self, script: &str, args: &[&str]) -> Exec {
        let script = format!("{}/programs/{script}", env!("CARGO_MANIFEST_DIR"));
        self.command(PYTHON).arg(script).args(args)
    }

    /// A gRPC server; its answers name the pod.
    #[track_caller]
    pub fn grpc(&self, port: u16) -> Proc {
        self.listening("grpc_server.py", &[&port.to_string(), self.name()])
    }

    #[track_caller]
    pub fn websocket(&self, port: u16) -> Proc {
        self.listening("websocket_server.py", &[&port.to_string()])
    }

    #[track_caller]
    fn listening(&self, script: &str, args: &[&str]) -> Proc {
        let server = self.python(script, args).spawn();
        server.event_named("listening");
        server
    }

    /// A call to be: `/package.Service/Bidi`, whose last part is its kind (grpc_server.py).
    pub fn call(&self, addr: SocketAddr, method: &str) -> Calls {
        Calls {
            exec: self.python("grpc_client.py", &[&addr.to_string(), method]),
        }
    }

    /// What `grpc.health.v1.Health/Check` says of a service: `SERVING`, …, or the status of its failure.
    #[track_caller]
    pub fn grpc_health(&self, addr: SocketAddr, service: &str) -> String {
        let check = self.call(addr, "/grpc.health.v1.Health/Check");
        let call = check.message(&json!({"service": service})).send();
        let health = call.answers().first().map(|answer| &answer["health"]);
        let health = health.and_then(Value::as_str);
        health.unwrap_or(call.code()).to_owned()
    }

    /// A conversation over a WebSocket, to its end: see websocket_client.py.
    #[track_caller]
    pub fn websocket_talk(&self, addr: SocketAddr, path: &str, messages: &[&str]) -> Value {
        let url = format!("ws://{addr}{path}");
        let client = self.python("websocket_client.py", &[&url]).args(messages);
        let run = client.run().expect_ok();
        serde_json::from_str(&run).unwrap_or_else(|e| panic!("{e}: {run}"))
    }
}

/// Calls over one channel.
pub struct Calls {
    exec: Exec,
}

impl Calls {
    /// Of the message that is sent, or of each.
    #[must_use]
    pub fn message(self, message: &Value) -> Self {
        self.flag("--message", &message.to_string())
    }

    /// How many messages a client's stream has.
    #[must_use]
    pub fn messages(self, count: u32) -> Self {
        self.flag("--messages", &count.to_string())
    }

    #[must_use]
    pub fn metadata(self, key: &str, value: &str) -> Self {
        self.flag("--metadata", &format!("{key}={value}"))
    }

    /// How long the client waits for the end.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        self.flag("--deadline", &deadline.as_secs_f64().to_string())
    }

    fn flag(mut self, flag: &str, value: &str) -> Self {
        self.exec = self.exec.args([flag, value]);
        self
    }

    #[track_caller]
    pub fn send(self) -> Call {
        let mut calls = self.send_all(1);
        calls.remove(0)
    }

    /// So many, one after the other.
    #[track_caller]
    pub fn send_all(self, count: usize) -> Vec<Call> {
        let run = self.flag("--calls", &count.to_string()).exec.run();
        let calls: Vec<_> = json_lines(&run.stdout).into_iter().map(Call).collect();
        assert_eq!(calls.len(), count, "{run:?}");
        calls
    }
}

/// What a client told of a call at its end.
#[derive(Clone, Debug)]
pub struct Call(pub Value);

impl Call {
    /// `OK`, `UNAVAILABLE`, …
    pub fn code(&self) -> &str {
        self.0["code"].as_str().unwrap_or_default()
    }

    pub fn answers(&self) -> &[Value] {
        self.0["answers"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The pod that answered first; empty where none did.
    pub fn server(&self) -> &str {
        let first = self.answers().first();
        first
            .and_then(|answer| answer["server"].as_str())
            .unwrap_or_default()
    }

    /// How long after the beginning each of the answers came.
    pub fn arrivals(&self) -> Vec<Duration> {
        let at = self.0["at"].as_array().into_iter().flatten();
        at.filter_map(Value::as_f64)
            .map(Duration::from_secs_f64)
            .collect()
    }

    pub fn took(&self) -> Duration {
        Duration::from_secs_f64(self.0["took"].as_f64().unwrap_or_default())
    }
}
