//! The peer: two Envoys, one beside the client, one beside the server, as sidecars would be; or the first alone.
//!
//! As good as it gets: as many workers as cores, no access log, no filter that the job does not need, loopback to
//! the apps, TLS 1.3 only, P-256 leaves, limits out of the way, sessions resumed.

mod http;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::{PathKind, Running, backend, wait_for};
use crate::certs::{Authority, LeafFiles};
use crate::machine;
use crate::process::Process;
use crate::sandbox::{Place, Sandbox, inside};

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Added to the server's port: where the source's Envoy listens for the app, and the destination's for its peer.
const OUTBOUND: u16 = 10_000;
const INBOUND: u16 = 11_000;
const ADMIN: u16 = 15000;

const TCP_PROXY: &str =
    "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
const HCM: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
const HTTP_OPTIONS: &str =
    "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const UPSTREAM_TLS: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const DOWNSTREAM_TLS: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";

pub(super) fn start(
    sandbox: &mut Sandbox,
    ca: &Authority,
    kind: PathKind,
    binary: &Path,
) -> Result<Running> {
    let name = kind.name();
    let node = sandbox.node("plain")?;
    let pair = sandbox.pair(name, &node, &node)?;
    let one_hop = kind == PathKind::EnvoyOneHop;
    let bind = if one_hop {
        Ipv4Addr::UNSPECIFIED
    } else {
        LOOPBACK
    };
    let backend = backend::start(sandbox, name, &pair.server, bind)?;
    let leaves = Leaves {
        ca,
        source: ca.leaf(&format!("{name}-source"))?,
        destination: ca.leaf(&format!("{name}-destination"))?,
    };
    let mut ways = Vec::new();
    if kind.carries_l4() {
        let opaque = |port| opaque(port, kind == PathKind::EnvoyHbone, &leaves, pair.server_ip);
        ways.extend([backend::HTTP_PORT, backend::BULK_PORT].map(opaque));
    }
    if kind.carries_l7() {
        let peer = (!one_hop).then_some(&leaves);
        ways.extend(http::ALL.map(|app| app.way(peer, pair.server_ip)));
    }
    let (source, destination): (Vec<_>, Vec<_>) = ways
        .into_iter()
        .map(|way| (way.source, way.destination))
        .unzip();
    let destination: Vec<_> = destination.into_iter().flatten().collect();
    let mut sides = vec![("source", &pair.client, source)];
    if !destination.is_empty() {
        sides.push(("destination", &pair.server, destination));
    }
    let start = |(side, place, hops)| {
        run(
            sandbox,
            &format!("{name}-{side}"),
            binary,
            place,
            &bootstrap(hops),
        )
    };
    Ok(Running {
        kind,
        proxies: sides.into_iter().map(start).collect::<Result<_>>()?,
        client: pair.client,
        ip: LOOPBACK.into(),
        port_offset: OUTBOUND,
        proof: None,
        backend,
    })
}

/// A listener and the cluster that it leads to.
type Hop = (Value, Value);

/// One port of the server, through the Envoys.
struct Way {
    source: Hop,
    /// None where there is but one Envoy.
    destination: Option<Hop>,
}

/// Who the two Envoys are.
struct Leaves<'a> {
    ca: &'a Authority,
    source: LeafFiles,
    destination: LeafFiles,
}

impl Leaves<'_> {
    fn upstream_tls(&self, http2: bool) -> Value {
        tls(
            self.ca,
            &self.source,
            &self.destination.spiffe,
            UPSTREAM_TLS,
            http2,
        )
    }

    fn downstream_tls(&self, http2: bool) -> Value {
        tls(
            self.ca,
            &self.destination,
            &self.source.spiffe,
            DOWNSTREAM_TLS,
            http2,
        )
    }
}

/// Bytes: a TLS connection for each connection, or a CONNECT stream.
fn opaque(port: u16, tunnel: bool, leaves: &Leaves<'_>, server: Ipv4Addr) -> Way {
    let peer = INBOUND + port;
    let to_peer = tcp_proxy(peer, tunnel.then(|| format!("{server}:{peer}")));
    let to_app = if tunnel {
        connect_terminator(port)
    } else {
        tcp_proxy(port, None)
    };
    let (upstream_tls, downstream_tls) =
        (leaves.upstream_tls(tunnel), leaves.downstream_tls(tunnel));
    Way {
        source: (
            listener(LOOPBACK, OUTBOUND + port, &to_peer, None),
            cluster(server, peer, Some(&upstream_tls), tunnel),
        ),
        destination: Some((
            listener(server, peer, &to_app, Some(&downstream_tls)),
            cluster(LOOPBACK, port, None, false),
        )),
    }
}

fn run(
    sandbox: &Sandbox,
    name: &str,
    binary: &Path,
    place: &Place,
    config: &Value,
) -> Result<Process> {
    let file = sandbox.dir("envoy")?.join(format!("{name}.json"));
    fs::write(&file, serde_json::to_vec_pretty(config)?)?;
    let workers = machine::cores().to_string();
    let file = file.to_string_lossy().into_owned();
    let args = [
        "-c",
        &file,
        "--concurrency",
        &workers,
        "--disable-hot-restart",
        "-l",
        "error",
    ];
    let mut envoy = Process::start(name, binary, args, place, &sandbox.dir("logs")?.join(name))?;
    let ready = || {
        let admin = (LOOPBACK, ADMIN).into();
        Ok(inside(place, || super::metrics::get(admin, "/ready"))?.contains("LIVE"))
    };
    wait_for(&mut envoy, "ready", ready)?;
    Ok(envoy)
}

fn bootstrap(hops: Vec<Hop>) -> Value {
    let (listeners, clusters): (Vec<_>, Vec<_>) = hops.into_iter().unzip();
    json!({
        "admin": {"address": address(LOOPBACK, ADMIN)},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    })
}

fn listener(ip: Ipv4Addr, port: u16, filter: &Value, tls: Option<&Value>) -> Value {
    let mut chain = json!({"filters": [filter]});
    if let Some(tls) = tls {
        chain["transport_socket"] = tls.clone();
    }
    json!({"name": format!("in-{port}"), "address": address(ip, port), "filter_chains": [chain]})
}

fn cluster(ip: impl Into<IpAddr>, port: u16, tls: Option<&Value>, http2: bool) -> Value {
    let endpoint = json!({"endpoint": {"address": address(ip, port)}});
    let mut cluster = json!({
        "name": format!("to-{port}"),
        "type": "STATIC",
        "connect_timeout": "5s",
        // The defaults of 1,024 are protection, not speed, but would refuse here.
        "circuit_breakers": {"thresholds": [
            {"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000}
        ]},
        "load_assignment": {"cluster_name": format!("to-{port}"), "endpoints": [{"lb_endpoints": [endpoint]}]},
    });
    if let Some(tls) = tls {
        cluster["transport_socket"] = tls.clone();
    }
    if http2 {
        cluster["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": HTTP_OPTIONS, "explicit_http_config": {"http2_protocol_options": {}},
            }
        });
    }
    cluster
}

fn tcp_proxy(to: u16, tunnel_to: Option<String>) -> Value {
    let mut config =
        json!({"@type": TCP_PROXY, "stat_prefix": "tcp", "cluster": format!("to-{to}")});
    if let Some(authority) = tunnel_to {
        config["tunneling_config"] = json!({"hostname": authority});
    }
    json!({"name": "tcp", "typed_config": config})
}

fn connect_terminator(to: u16) -> Value {
    let route = json!({
        "match": {"connect_matcher": {}},
        "route": {
            "cluster": format!("to-{to}"),
            "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
            "timeout": "0s",
        },
    });
    json!({"name": "hcm", "typed_config": {
        "@type": HCM,
        "stat_prefix": "hbone",
        "codec_type": "HTTP2",
        "http2_protocol_options": {"allow_connect": true},
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }})
}

fn tls(ca: &Authority, own: &LeafFiles, peer: &str, context: &str, http2: bool) -> Value {
    let mut common = json!({
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [
            {"certificate_chain": {"filename": own.cert}, "private_key": {"filename": own.key}}
        ],
        "validation_context": {
            "trusted_ca": {"filename": ca.ca.cert},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer}}],
        },
    });
    if http2 {
        common["alpn_protocols"] = json!(["h2"]);
    }
    let mut config = json!({"@type": context, "common_tls_context": common});
    if context == DOWNSTREAM_TLS {
        config["require_client_certificate"] = json!(true);
    } else {
        // Envoy keeps one session by default; with as many as there are connections nearly every handshake is a
        // resumption: a quarter less CPU for each.
        config["max_session_keys"] = json!(64);
    }
    json!({"name": "envoy.transport_sockets.tls", "typed_config": config})
}

fn address(ip: impl Into<IpAddr>, port: u16) -> Value {
    json!({"socket_address": {"address": ip.into().to_string(), "port_value": port}})
}
