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
