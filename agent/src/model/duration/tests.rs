use super::*;

#[test]
fn reads_what_the_gateway_api_allows() {
    for (text, ms) in [
        ("0s", 0),
        ("500ms", 500),
        ("10s", 10_000),
        ("1h30m", 5_400_000),
        ("1h1m1s1ms", 3_661_001),
        ("99999ms", 99_999),
    ] {
        assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
    }
}

#[test]
fn is_written_as_it_is_read() {
    for (ms, written) in [
        (0, "0s"),
        (1, "1ms"),
        (1500, "1500ms"),
        (90_000, "90s"),
        (5_400_000, "90m"),
        (604_800_000, "168h"),
    ] {
        let duration = Duration::from_millis(ms);
        assert_eq!(text(duration), written);
        assert_eq!(parse(written), Ok(duration));
    }
}

#[test]
fn refuses_everything_else() {
    for text in [
        "",
        "10",
        "s",
        "1.5s",
        "-1s",
        " 1s",
        "1s ",
        "100000s",
        "1d",
        "1h1h1h1h1h",
        "1µs",
    ] {
        assert_eq!(parse(text), Err(DurationError), "{text}");
    }
}
