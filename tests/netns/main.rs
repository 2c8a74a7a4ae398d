//! Weir from outside: one scenario a file, with real programs in captured pods.
//!
//! Each shows what an application or a peer sees, *and* that the traffic went through the mesh: by
//! the agents' metrics with both identities, by what the kernel's socket tables say, or by what is
//! on the wire. None of them passes without the mesh.
//!
//! `WEIR_BIN` names the agent's binary, `WEIR_ENVOY` an Envoy; run as root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

/// An enrolled pod that no agent serves, where a peer that is not Weir's code runs, and a captured
/// one: `peer` says it is on `n3`, `pod` is on `n1`, whose agent is running.
fn peer_and_pod(name: &str) -> (weir_tests::Mesh, weir_tests::Pod, weir_tests::Pod) {
    let mesh = weir_tests::Mesh::new(1);
    let peer = mesh.pod("peer", "n3").enrolled();
    let pod = mesh.pod(name, "n1").enrolled();
    mesh.start_agents();
    (mesh, peer, pod)
}

// The way of a connection.
mod bulk;
mod cross_node;
mod half_close;
mod idle_connections;
mod ipv4_mapped;
mod ipv6;
mod nonblocking_connect;
mod one_source_port;
mod pod_address;
mod reset;
mod same_node;
mod seen_addresses;
mod server_first;
mod service_address;
mod udp;

// What fails, and how.
mod address_reuse;
mod dead_endpoint;
mod node_without_agent;
mod pod_deleted;

// Who may speak to whom.
mod permissive_and_strict;
mod strict_per_port;
mod unenrolled_server;

// Enrolment.
mod broken_manifests;
mod kernel_log;
mod label_under_load;
mod namespace_label;
mod not_the_meshs_business;
mod skip_annotations;

// Agents come and go.
mod agents_overlap;
mod dead_agent;
mod older_pins;
mod release;
mod restart_over_pins;
mod several_agents;
mod uninstall;

// Request by request.
mod http;

// Parts fail, and the service lives on.
mod resilience;

// HBONE with peers that are not Weir's code.
mod envoy_client;
mod envoy_server;
mod expired_certificate;
mod hostile_client;
mod hostile_server;
mod other_certificates;
mod plaintext_to_the_tunnel;
mod silent_peer;
mod wire;
mod wrong_spiffe_id;
mod wrong_trust_domain;
