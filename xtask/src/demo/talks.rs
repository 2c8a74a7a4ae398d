//! Who talked to whom: what the agents counted, under the identities that TLS proved to them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use weir_tests::{Metrics, Pod, Sample};

use super::cast::Cast;

const OPENED: &str = "istio_tcp_connections_opened_total";
const RECEIVED: &str = "istio_tcp_received_bytes_total";
const SENT: &str = "istio_tcp_sent_bytes_total";

/// Source, destination, and how the connection was protected.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    source: String,
    destination: String,
    policy: String,
}

impl Pair {
    /// Between two identities of the mesh nothing is plain but what never leaves an agent.
    fn protection(&self) -> &str {
        match self.policy.as_str() {
            "none" if self.source.starts_with("spiffe://") => "within one node",
            policy => policy,
        }
    }
}

#[derive(Default)]
struct Volume {
    connections: f64,
    bytes: f64,
}

pub(super) fn tell(cast: &Cast) -> Result<()> {
    let mut pairs = BTreeMap::new();
    for node in ["n1", "n2"] {
        add(&mut pairs, &cast.mesh.agent_on(node).metrics());
    }
    println!("\nWho talked to whom, as the destination's agent verified it");
    let width = |name: fn(&Pair) -> &String| pairs.keys().map(|pair| name(pair).len()).max();
    let source_width = width(|pair| &pair.source).unwrap_or_default();
    let destination_width = width(|pair| &pair.destination).unwrap_or_default();
    for (pair, volume) in &pairs {
        println!(
            "    {:<source_width$} → {:<destination_width$}  {:<15}  {:>5} connections  {:>9.1} KiB",
            pair.source,
            pair.destination,
            pair.protection(),
            volume.connections,
            volume.bytes / 1024.0,
        );
    }

    for (client, server) in [
        (&cast.shopper, &cast.web),
        (&cast.cart, &cast.redis),
        (&cast.office, &cast.catalog),
    ] {
        expect_mutual_tls(&pairs, client, server)?;
    }
    Ok(())
}

fn expect_mutual_tls(pairs: &BTreeMap<Pair, Volume>, client: &Pod, server: &Pod) -> Result<()> {
    let expected = Pair {
        source: client.principal(),
        destination: server.principal(),
        policy: "mutual_tls".to_owned(),
    };
    let missing = || {
        format!(
            "no agent saw {} talk to {}",
            expected.source, expected.destination
        )
    };
    let volume = pairs.get(&expected).with_context(missing)?;
    ensure!(volume.connections >= 1.0, missing());
    Ok(())
}

fn add(pairs: &mut BTreeMap<Pair, Volume>, metrics: &Metrics) {
    let of_destination = [("reporter", "destination")];
    for sample in metrics.find(OPENED, &of_destination) {
        pairs.entry(pair(sample)).or_default().connections += sample.value;
    }
    for name in [RECEIVED, SENT] {
        for sample in metrics.find(name, &of_destination) {
            pairs.entry(pair(sample)).or_default().bytes += sample.value;
        }
    }
}

fn pair(sample: &Sample) -> Pair {
    let label = |name: &str| sample.labels.get(name).cloned().unwrap_or_default();
    Pair {
        source: label("source_principal"),
        destination: label("destination_principal"),
        policy: label("connection_security_policy"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_pair_are_added_up_and_the_sources_own_are_left_out() {
        let labels = |reporter: &str, service: &str| {
            format!(
                "reporter=\"{reporter}\",source_principal=\"a\",destination_principal=\"b\",\
                 connection_security_policy=\"mutual_tls\",destination_service=\"{service}\""
            )
        };
        let text = format!(
            "{OPENED}{{{}}} 2\n{OPENED}{{{}}} 3\n{OPENED}{{{}}} 7\n{SENT}{{{}}} 1024\n",
            labels("destination", "x"),
            labels("destination", "y"),
            labels("source", "x"),
            labels("destination", "x"),
        );
        let mut pairs = BTreeMap::new();
        add(&mut pairs, &Metrics::parse(&text));
        assert_eq!(pairs.len(), 1);
        let volume = pairs.values().next().unwrap();
        assert_eq!((volume.connections, volume.bytes), (5.0, 1024.0));
    }
}
