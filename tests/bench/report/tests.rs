use super::*;
use crate::load::Measured;

fn sample(requests: u64, cpu_us: u64) -> Sample {
    Sample {
        load: Measured {
            requests,
            seconds: 1.0,
            p50_us: 100.0,
            ..Measured::default()
        },
        proxy_cpu: Duration::from_micros(cpu_us),
        rss_mib: vec![10.0, 20.0],
    }
}

fn value(rows: &[Row], path: PathKind, metric: &str) -> Option<f64> {
    let row = rows
        .iter()
        .find(|row| row.path == path && row.metric == metric);
    row.map(|row| row.value)
}

#[test]
fn medians() {
    assert_eq!(median(vec![]), None);
    assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
}

#[test]
fn ratios_are_to_direct_of_the_same_round() {
    // The machine was four times as fast in the second round, and the path failed in the third.
    let direct = vec![
        Some(sample(1_000, 0)),
        Some(sample(4_000, 0)),
        Some(sample(9, 0)),
    ];
    let weir = vec![Some(sample(500, 5_000)), Some(sample(2_000, 20_000)), None];
    let samples = Samples::from([
        ((Work::Req, PathKind::Direct), direct),
        ((Work::Req, PathKind::WeirCross), weir),
    ]);
    let rows = rows(&samples);
    assert_eq!(value(&rows, PathKind::WeirCross, "ratio_direct"), Some(0.5));
    assert_eq!(
        value(&rows, PathKind::WeirCross, "cpu_us_per_request"),
        Some(10.0)
    );
    assert_eq!(value(&rows, PathKind::WeirCross, "rss_mib"), Some(30.0));
}

#[test]
fn a_path_that_failed_in_every_round_has_no_rows() {
    let samples = Samples::from([((Work::Req, PathKind::WeirSame), vec![None, None])]);
    assert!(rows(&samples).is_empty());
}

#[test]
fn json_has_exactly_the_agreed_shape() {
    let report = Report {
        commit: "abc".into(),
        machine: "2 cores".into(),
        versions: String::new(),
        rounds: 1,
        counted: Duration::from_secs(1),
        foreign_share: 0.0,
        rows: vec![Row {
            work: Work::Req,
            path: PathKind::WeirCross,
            feature: None,
            metric: "cpu_us_per_request",
            value: 31.200_04,
        }],
        failures: Vec::new(),
    };
    let value: Value = serde_json::from_str(&report.json()).unwrap();
    let row = json!({"work": "l4-req", "path": "weir-cross", "metric": "cpu_us_per_request", "value": 31.2});
    assert_eq!(
        value,
        json!({"commit": "abc", "machine": "2 cores", "rows": [row]})
    );
}

#[test]
fn a_table_has_the_paths_that_were_measured() {
    let row = |work, path, metric, value| Row {
        work,
        path,
        feature: None,
        metric,
        value,
    };
    let report = Report {
        commit: "abc".into(),
        machine: "2 cores".into(),
        versions: String::new(),
        rounds: 1,
        counted: Duration::from_secs(1),
        foreign_share: 0.0,
        rows: vec![
            row(Work::L7Req, PathKind::Direct, "rps", 50_000.0),
            row(Work::L7Req, PathKind::WeirCross, "ratio_direct", 0.251),
        ],
        failures: vec!["direct: l7-conn: broken\n its log".into()],
    };
    let text = report.markdown();
    assert!(text.contains("| weir-cross | 0.25 | – |"), "{text}");
    assert!(
        text.contains("\nDirect: 50000 req/s at saturation.\n"),
        "{text}"
    );
    assert!(
        text.contains("\nFAILED direct: l7-conn: broken\n"),
        "{text}"
    );
    // Nothing of L4 was measured.
    assert_eq!(
        text.matches("| path").count() + text.matches("| L4").count(),
        0,
        "{text}"
    );
}

#[test]
fn features_are_compared_with_none() {
    let row = |feature: &str, metric, value| Row {
        work: Work::L7Features,
        path: PathKind::WeirCross,
        feature: Some(feature.to_owned()),
        metric,
        value,
    };
    let report = Report {
        commit: "abc".into(),
        machine: "2 cores".into(),
        versions: String::new(),
        rounds: 1,
        counted: Duration::from_secs(1),
        foreign_share: 0.0,
        rows: vec![
            row("none", "allocations", 30.0),
            row("none", "cpu_us_per_request", 60.0),
            row("fallback", "allocations", 36.5),
            row("fallback", "cpu_us_per_request", 59.0),
        ],
        failures: Vec::new(),
    };
    let text = report.markdown();
    assert!(
        text.contains("\n| none | 30.0 | – | – | 60.0 |\n"),
        "{text}"
    );
    let fallback = "\n| fallback | 36.5 (+6.5) | – | – | 59.0 (-1.0) |\n";
    assert!(text.contains(fallback), "{text}");
    let figures: Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(figures["rows"][2]["feature"], "fallback");
}
