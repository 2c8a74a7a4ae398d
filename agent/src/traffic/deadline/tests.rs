use std::time::Duration;

use http::HeaderMap;
use proptest::prelude::*;

use super::{of_grpc, write_grpc};
use crate::traffic::testing::headers;

fn written(left: Duration) -> String {
    let mut headers = HeaderMap::new();
    write_grpc(&mut headers, left);
    headers["grpc-timeout"].to_str().unwrap().to_owned()
}

#[test]
fn digits_and_a_unit() {
    let read = |value| of_grpc(&headers(&[("grpc-timeout", value)]));
    for (value, expected) in [
        ("1n", Duration::from_nanos(1)),
        ("250u", Duration::from_micros(250)),
        ("100m", Duration::from_millis(100)),
        ("00000007S", Duration::from_secs(7)),
        ("2M", Duration::from_secs(120)),
        ("1H", Duration::from_secs(3_600)),
        ("0S", Duration::ZERO),
        ("99999999n", Duration::from_nanos(99_999_999)),
        ("99999999H", Duration::from_secs(99_999_999 * 3_600)),
    ] {
        assert_eq!(read(value), Some(expected), "{value}");
    }
    for bad in [
        "",
        "S",
        "1",
        "1s",
        "1h",
        "-1S",
        "+1S",
        "1.5S",
        " 1S",
        "1 S",
        "123456789S",
        "1Sü",
    ] {
        assert_eq!(read(bad), None, "{bad:?}");
    }
    assert_eq!(of_grpc(&headers(&[])), None);
    let two = [("grpc-timeout", "1S"), ("grpc-timeout", "2S")];
    assert_eq!(of_grpc(&headers(&two)), None);
}

#[test]
fn as_fine_as_fits() {
    for (left, expected) in [
        (Duration::ZERO, "0n"),
        (Duration::from_nanos(99_999_999), "99999999n"),
        (Duration::from_millis(100), "100000u"),
        (Duration::from_nanos(100_000_999), "100000u"),
        (Duration::from_millis(99_999), "99999000u"),
        (Duration::from_secs(100), "100000m"),
        (Duration::from_secs(99_999), "99999000m"),
        (Duration::from_secs(100_000), "100000S"),
        (Duration::from_secs(100_000_000), "1666666M"),
        (Duration::from_secs(6_000_000_000), "1666666H"),
        (Duration::MAX, "99999999H"),
    ] {
        assert_eq!(written(left), expected, "{left:?}");
    }
    let mut replaced = headers(&[("grpc-timeout", "1S"), ("grpc-timeout", "2S")]);
    write_grpc(&mut replaced, Duration::from_nanos(5));
    assert_eq!(replaced, headers(&[("grpc-timeout", "5n")]));
}

proptest! {
    #[test]
    fn what_is_written_is_read_a_little_short(seconds in 0_u64..400_000_000_000, nanos in 0_u32..1_000_000_000) {
        let left = Duration::new(seconds, nanos);
        let read = of_grpc(&headers(&[("grpc-timeout", &written(left))])).unwrap();
        prop_assert!(read <= left);
        // At the coarsest step, from minutes to hours, one in 1.6 million; below, far less.
        let lost = (left - read).as_secs_f64();
        let most = Duration::from_secs(99_999_999 * 3_600);
        prop_assert!(left > most || lost <= left.as_secs_f64() / 1e6 + 1e-9, "{}", lost);
    }

    #[test]
    fn any_text_is_read(value in "[ -~]{0,12}") {
        let _ = of_grpc(&headers(&[("grpc-timeout", &value)]));
    }
}
