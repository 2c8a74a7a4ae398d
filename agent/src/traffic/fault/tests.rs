use std::time::Duration;

use http::{HeaderName, StatusCode};

use super::{Injected, decide};
use crate::{
    model::{
        route::TextMatch,
        traffic_policy::{AbortFault, AbortWith, DelayFault, Fault},
    },
    traffic::testing::{exact, headers},
};

const SECOND: Duration = Duration::from_secs(1);
const ANSWER: AbortWith = AbortWith::Status(StatusCode::SERVICE_UNAVAILABLE);

fn fault(delay_percent: u8, abort_percent: u8, wanted: &[(HeaderName, TextMatch)]) -> Fault {
    Fault {
        delay: Some(DelayFault {
            percent: delay_percent,
            duration: SECOND,
            headers: wanted.to_vec(),
        }),
        abort: Some(AbortFault {
            percent: abort_percent,
            answer: ANSWER,
            headers: Vec::new(),
        }),
    }
}

/// SplitMix64.
fn random(number: u64) -> u64 {
    let mut bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[test]
fn each_befalls_its_share_and_both_what_chance_has() {
    let fault = fault(20, 50, &[]);
    let headers = headers(&[]);
    let (mut delays, mut aborts, mut both) = (0, 0, 0);
    for number in 1..=100_000 {
        let Injected { delay, abort } = decide(&fault, &headers, random(number));
        assert!(delay.is_none_or(|delay| delay == SECOND));
        assert!(abort.is_none_or(|abort| abort == ANSWER));
        delays += u32::from(delay.is_some());
        aborts += u32::from(abort.is_some());
        both += u32::from(delay.is_some() && abort.is_some());
    }
    assert!((19_500..=20_500).contains(&delays), "{delays}");
    assert!((49_500..=50_500).contains(&aborts), "{aborts}");
    assert!((9_700..=10_300).contains(&both), "{both}");
}

#[test]
fn none_and_all() {
    let headers = headers(&[]);
    for number in (0..1_000).map(random).chain([0, u64::MAX]) {
        let all = Injected {
            delay: Some(SECOND),
            abort: Some(ANSWER),
        };
        assert_eq!(decide(&fault(100, 100, &[]), &headers, number), all);
        let none = Injected::default();
        assert_eq!(decide(&fault(0, 0, &[]), &headers, number), none);
        assert_eq!(decide(&Fault::default(), &headers, number), none);
    }
}

#[test]
fn only_what_has_all_the_headers() {
    let name = HeaderName::from_static;
    let wanted = [
        (name("x-user"), exact("jane")),
        (name("x-test"), exact("1")),
    ];
    let fault = fault(100, 100, &wanted);
    let delayed = |lines: &[(&str, &str)]| {
        let injected = decide(&fault, &headers(lines), 0);
        // It has no conditions of its own.
        assert_eq!(injected.abort, Some(ANSWER));
        injected.delay.is_some()
    };
    assert!(delayed(&[("x-user", "jane"), ("x-test", "1")]));
    assert!(!delayed(&[("x-user", "jane")]));
    assert!(!delayed(&[("x-user", "jane"), ("x-test", "2")]));
    assert!(!delayed(&[]));
}
