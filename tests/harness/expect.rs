//! What agents must have counted: how a scenario shows that traffic went through the mesh.

use std::time::Duration;

use crate::{agent::Agent, mesh::Mesh, metrics::Metrics, pod::Pod, poll::eventually};

/// Metrics follow the connection.
const METRICS_DEADLINE: Duration = Duration::from_secs(5);
/// The label of connections whose bytes were protected on the wire.
pub const MUTUAL_TLS: [(&str, &str); 1] = [("connection_security_policy", "mutual_tls")];
const OPENED: &str = "istio_tcp_connections_opened_total";
const REQUESTS: &str = "istio_requests_total";

impl Mesh {
    /// Connections that both agents count as mutual TLS between exactly these two identities.
    /// Nothing that went round the mesh is in it.
    #[track_caller]
    pub fn expect_tunnelled(&self, client: &Pod, server: &Pod, at_least: u32) {
        self.expect_counted(client, server, &MUTUAL_TLS, at_least);
    }

    /// As [`Mesh::expect_tunnelled`], with `labels` instead of the security policy.
    #[track_caller]
    pub fn expect_counted(
        &self,
        client: &Pod,
        server: &Pod,
        labels: &[(&str, &str)],
        at_least: u32,
    ) {
        self.expect_reported(
            "source",
            &self.agent_of(client),
            client,
            server,
            labels,
            at_least,
        );
        let agent = self.agent_of(server);
        self.expect_reported("destination", &agent, client, server, labels, at_least);
    }

    /// What one agent has counted, as `source` or `destination`.
    #[track_caller]
    pub fn expect_reported(
        &self,
        reporter: &str,
        agent: &Agent,
        client: &Pod,
        server: &Pod,
        labels: &[(&str, &str)],
        at_least: u32,
    ) {
        let what = format!("{at_least} connections counted by the {reporter}'s agent");
        eventually(&what, METRICS_DEADLINE, || {
            let metrics = agent.metrics();
            let seen = opened(&metrics, reporter, client, server, labels);
            if seen >= f64::from(at_least) {
                return Ok(());
            }
            Err(format!("{seen} of {:#?}", metrics.starting_with(OPENED)))
        });
    }

    /// HTTP requests between exactly these two identities that both agents have counted, with this
    /// status and `labels`.
    #[track_caller]
    pub fn expect_requests(
        &self,
        client: &Pod,
        server: &Pod,
        status: u16,
        labels: &[(&str, &str)],
        at_least: u32,
    ) {
        let code = status.to_string();
        for (reporter, pod) in [("source", client), ("destination", server)] {
            let agent = self.agent_of(pod);
            let mut extra = vec![("response_code", code.as_str())];
            extra.extend_from_slice(labels);
            let what =
                format!("{at_least} requests with {status} counted by the {reporter}'s agent");
            eventually(&what, METRICS_DEADLINE, || {
                let metrics = agent.metrics();
                let seen = between(&metrics, REQUESTS, reporter, client, server, &extra);
                if seen >= f64::from(at_least) {
                    return Ok(());
                }
                Err(format!("{seen} of {:#?}", metrics.starting_with(REQUESTS)))
            });
        }
    }

    /// Dials until a connection goes through the mesh: for a pod that is new, of which the client's
    /// agent hears in its own time.
    #[track_caller]
    pub fn expect_soon_tunnelled(&self, client: &Pod, server: &Pod, port: u16) {
        let before = self.tunnelled(client, server);
        eventually(
            "a new pod is reached through the mesh",
            METRICS_DEADLINE,
            || {
                let talk = client.hello(server.v4(port));
                let through = talk.is_ok() && self.tunnelled(client, server) > before;
                through.then_some(()).ok_or(talk)
            },
        );
    }

    /// How many connections between these identities the client's agent has counted.
    pub fn tunnelled(&self, client: &Pod, server: &Pod) -> u64 {
        let metrics = self.agent_of(client).metrics();
        opened(&metrics, "source", client, server, &MUTUAL_TLS) as u64
    }

    /// Plaintext connections to the pod that its agent let in.
    #[track_caller]
    pub fn expect_plaintext_in(&self, server: &Pod, at_least: u32) {
        let agent = self.agent_of(server);
        let labels = [
            ("reporter", "destination"),
            ("destination_workload", server.name()),
            ("source_principal", "unknown"),
            ("connection_security_policy", "none"),
        ];
        eventually(
            "plaintext counted by the destination",
            METRICS_DEADLINE,
            || {
                let metrics = agent.metrics();
                if metrics.sum(OPENED, &labels) >= f64::from(at_least) {
                    return Ok(());
                }
                Err(format!("{:#?}", metrics.starting_with(OPENED)))
            },
        );
    }
}

fn opened(
    metrics: &Metrics,
    reporter: &str,
    client: &Pod,
    server: &Pod,
    extra: &[(&str, &str)],
) -> f64 {
    between(metrics, OPENED, reporter, client, server, extra)
}

fn between(
    metrics: &Metrics,
    name: &str,
    reporter: &str,
    client: &Pod,
    server: &Pod,
    extra: &[(&str, &str)],
) -> f64 {
    let (source, destination) = (client.principal(), server.principal());
    let mut labels = vec![
        ("reporter", reporter),
        ("source_principal", &source),
        ("destination_principal", &destination),
        ("source_workload", client.name()),
        ("destination_workload", server.name()),
    ];
    labels.extend_from_slice(extra);
    metrics.sum(name, &labels)
}
