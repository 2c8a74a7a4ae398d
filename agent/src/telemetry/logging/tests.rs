use super::*;

#[test]
fn the_filter_is_rust_log_or_info() {
    for (rust_log, expected) in [
        (None, "info"),
        (Some(""), "info"),
        (Some(" "), "info"),
        (Some("debug"), "debug"),
        (Some("warn,weir=trace"), "weir=trace,warn"),
    ] {
        assert_eq!(filter(rust_log).unwrap().to_string(), expected);
    }
}

#[test]
fn a_filter_that_cannot_be_read_is_named() {
    let error = filter(Some("weir=loud=er")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(r#"RUST_LOG="weir=loud=er" cannot be read"#),
        "{error}"
    );
}

#[test]
fn formats_are_named() {
    assert_eq!("text".parse::<LogFormat>().unwrap(), LogFormat::Text);
    assert_eq!("json".parse::<LogFormat>().unwrap(), LogFormat::Json);
    assert!(
        "xml"
            .parse::<LogFormat>()
            .unwrap_err()
            .to_string()
            .contains("text or json")
    );
}

#[test]
fn logging_starts_once_and_takes_records_of_the_log_crate() {
    // Another test of this process may have been first.
    if init(Some("info"), LogFormat::Json).is_ok() {
        use tracing_log::log;
        assert_eq!(log::max_level(), log::LevelFilter::Info);
    }
    assert!(matches!(
        init(None, LogFormat::Text),
        Err(LogError::Init(_))
    ));
}
