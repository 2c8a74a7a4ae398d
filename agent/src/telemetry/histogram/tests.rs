use prometheus_client::{encoding::text, registry::Registry};

use super::*;

#[test]
fn a_value_is_in_the_bucket_of_its_upper_bound() {
    let mut registry = Registry::default();
    let milliseconds = Histogram::<1000>::default();
    for micros in [0, 500, 501, 1_000, 3_600_000_000, 3_600_000_001] {
        milliseconds.observe(micros);
    }
    registry.register("t", "T", Registered(milliseconds));
    let mut out = String::new();
    text::encode(&mut out, &registry).unwrap();
    let value = |line: &str| {
        let found = out.lines().find_map(|found| found.strip_prefix(line));
        found.unwrap_or_default().trim().to_owned()
    };
    assert_eq!(value(r#"t_bucket{le="0.5"}"#), "2");
    assert_eq!(value(r#"t_bucket{le="1.0"}"#), "4");
    assert_eq!(value(r#"t_bucket{le="1800000.0"}"#), "4");
    assert_eq!(value(r#"t_bucket{le="3600000.0"}"#), "5");
    assert_eq!(value(r#"t_bucket{le="+Inf"}"#), "6");
    assert_eq!(value("t_count"), "6");
    assert_eq!(value("t_sum"), "7200002.002");
}

/// As a registry wants it.
#[derive(Debug)]
struct Registered(Histogram<1000>);

impl EncodeMetric for Registered {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric_type()
    }
}
