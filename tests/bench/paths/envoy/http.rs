//! Envoy as a proxy of requests: the same table of routes as Weir's in `weir.rs`, HTTP/2 over mutual TLS between the
//! two, and to the app what the app speaks.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::{HCM, Hop, INBOUND, LOOPBACK, Leaves, OUTBOUND, ROUTER, Way, cluster, listener};
use crate::paths::backend;

/// What listens on one of the server's ports.
#[derive(Clone, Copy)]
pub(super) struct App {
    port: u16,
    http2: bool,
    /// The matches of its routes, the one that is taken last.
    matches: fn() -> [Value; 5],
}

pub(super) const ALL: [App; 3] = [
    App {
        port: backend::WEB_PORT,
        http2: false,
        matches: http_matches,
    },
    App {
        port: backend::H2C_PORT,
        http2: true,
        matches: http_matches,
    },
    App {
        port: backend::GRPC_PORT,
        http2: true,
        matches: grpc_matches,
    },
];

impl App {
    /// Through the peer's Envoy, or to the server itself.
    pub(super) fn way(self, peer: Option<&Leaves<'_>>, server: Ipv4Addr) -> Way {
        let Self { port, http2, .. } = self;
        let listen = |to| listener(LOOPBACK, OUTBOUND + port, &self.routed(to), None);
        let Some(leaves) = peer else {
            return Way {
                source: (listen(port), cluster(server, port, None, http2)),
                destination: None,
            };
        };
        let between = INBOUND + port;
        let all = json!([{"match": {"prefix": "/"}, "route": route(port)}]);
        let to_app = manager("HTTP2", &all);
        let destination: Hop = (
            listener(server, between, &to_app, Some(&leaves.downstream_tls(true))),
            cluster(LOOPBACK, port, None, http2),
        );
        Way {
            source: (
                listen(between),
                cluster(server, between, Some(&leaves.upstream_tls(true)), true),
            ),
            destination: Some(destination),
        }
    }

    /// Takes requests from the app and routes them to the cluster of port `to`.
    fn routed(self, to: u16) -> Value {
        let routes = (self.matches)().map(|one| json!({"match": one, "route": route(to)}));
        manager(if self.http2 { "HTTP2" } else { "HTTP1" }, &json!(routes))
    }
}

fn route(to: u16) -> Value {
    json!({"cluster": format!("to-{to}"), "timeout": "0s"})
}

fn manager(codec: &str, routes: &Value) -> Value {
    // Without what it would add to each request and answer: an id, its own header fields.
    let router = json!({"@type": ROUTER, "suppress_envoy_headers": true});
    json!({"name": "hcm", "typed_config": {
        "@type": HCM,
        "stat_prefix": "web",
        "codec_type": codec,
        "generate_request_id": false,
        "http_filters": [{"name": "router", "typed_config": router}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    }})
}

fn has(name: &str, value: &str) -> Value {
    json!([{"name": name, "string_match": {"exact": value}}])
}

fn http_matches() -> [Value; 5] {
    [
        json!({"prefix": "/", "headers": has("x-canary", "always")}),
        json!({"path": "/healthz"}),
        json!({"path_separated_prefix": "/api/v2"}),
        json!({"path_separated_prefix": "/search", "query_parameters": has("beta", "1")}),
        json!({"prefix": "/"}),
    ]
}

fn grpc_matches() -> [Value; 5] {
    [
        json!({"path_separated_prefix": "/bench.Echo", "headers": has("x-canary", "always")}),
        json!({"path": "/grpc.health.v1.Health/Check"}),
        json!({"path_separated_prefix": "/grpc.health.v1.Health"}),
        json!({"path_separated_prefix": "/bench.Search", "headers": has("x-beta", "1")}),
        json!({"path_separated_prefix": "/bench.Echo"}),
    ]
}
