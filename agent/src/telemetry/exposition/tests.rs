use prometheus_client::metrics::{
    counter::Counter, gauge::Gauge, histogram::Histogram, info::Info,
};

use super::*;

#[test]
fn a_scraper_gets_what_it_asks_for() {
    use Format::{OpenMetrics, Text};
    let prometheus_2_42 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let protobuf_first = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3";
    for (accept, format) in [
        (None, Text),
        (Some(""), Text),
        (Some("*/*"), Text),
        (Some("text/html,*/*;q=0.8"), Text),
        (Some("text/plain"), Text),
        (Some(prometheus_2_42), OpenMetrics),
        (Some(prometheus_3), OpenMetrics),
        (Some(protobuf_first), OpenMetrics),
        (Some("Application/OpenMetrics-Text"), OpenMetrics),
        (Some("application/openmetrics-text;q=0"), Text),
        (
            Some("application/openmetrics-text; version=9.9.9, text/plain"),
            Text,
        ),
        (Some("application/openmetrics-text;q=0.1,text/plain"), Text),
        (Some("application/openmetrics-text;q=banana"), Text),
        (Some(";;,,q=;="), Text),
    ] {
        assert_eq!(Format::negotiate(accept), format, "{accept:?}");
    }
}

#[test]
fn the_older_format_names_families_as_their_samples() {
    let mut registry = Registry::default();
    let counter: Counter = Counter::default();
    counter.inc_by(3);
    registry.register("hits", "Hits", counter);
    let gauge: Gauge = Gauge::default();
    registry.register("level", "Level", gauge);
    registry.register("build", "Build", Info::new([("version", "1")]));
    registry.register("size_bytes", "Size", Histogram::new([1.0]));
    assert_eq!(
        encode(&registry, Format::Text),
        "\
# HELP hits_total Hits.
# TYPE hits_total counter
hits_total 3
# HELP level Level.
# TYPE level gauge
level 0
# HELP build_info Build.
# TYPE build_info gauge
build_info{version=\"1\"} 1
# HELP size_bytes Size.
# TYPE size_bytes histogram
size_bytes_sum 0.0
size_bytes_count 0
size_bytes_bucket{le=\"1.0\"} 0
size_bytes_bucket{le=\"+Inf\"} 0
"
    );
    assert!(encode(&registry, Format::OpenMetrics).contains("# TYPE hits counter\nhits_total 3\n"));
}
