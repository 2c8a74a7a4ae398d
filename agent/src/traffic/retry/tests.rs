use std::time::Duration;

use http::{Method, StatusCode};
use proptest::prelude::*;

use super::{Retries, Tried, retry_after};
use crate::{
    model::traffic_policy::{RetryOn, RetryPolicy},
    traffic::testing::headers,
};

const NONE: RetryOn = RetryOn {
    connect_failure: false,
    refused_stream: false,
    reset: false,
    gateway_error: false,
    server_error: false,
    retriable_4xx: false,
    timeout: false,
    statuses: Vec::new(),
    grpc: 0,
};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn on(on: RetryOn) -> RetryPolicy {
    RetryPolicy {
        on: Some(on),
        ..RetryPolicy::default()
    }
}

fn answered(status: u16) -> Tried {
    Tried::Answered {
        status: StatusCode::from_u16(status).unwrap(),
        grpc: None,
    }
}

fn called(status: u16, grpc: u32) -> Tried {
    Tried::Answered {
        status: StatusCode::from_u16(status).unwrap(),
        grpc: Some(grpc),
    }
}

const ENDS: [Tried; 4] = [Tried::Unsent, Tried::Refused, Tried::Reset, Tried::TimedOut];

/// Of GET requests that end so, those that are tried again.
fn again(policy: &RetryPolicy) -> (Vec<Tried>, Vec<u16>) {
    let retries = Retries::of([policy]);
    let ends = ENDS.into_iter();
    let ends = ends.filter(|end| retries.again(*end, &Method::GET, false));
    let statuses =
        (100..=599).filter(|status| retries.again(answered(*status), &Method::GET, false));
    (ends.collect(), statuses.collect())
}

#[test]
fn each_condition_means_what_it_names() {
    use Tried::{Refused, Reset, TimedOut, Unsent};
    let gateway = vec![502, 503, 504];
    let server = (500..=599).collect::<Vec<_>>();
    let none = Vec::new();
    for (policy, ends, statuses) in [
        (RetryPolicy::default(), vec![Unsent, Refused], &none),
        (on(NONE), vec![], &none),
        (
            on(RetryOn {
                connect_failure: true,
                ..NONE
            }),
            vec![Unsent],
            &none,
        ),
        (
            on(RetryOn {
                refused_stream: true,
                ..NONE
            }),
            vec![Refused],
            &none,
        ),
        (
            on(RetryOn {
                reset: true,
                ..NONE
            }),
            vec![Reset, TimedOut],
            &none,
        ),
        (
            on(RetryOn {
                timeout: true,
                ..NONE
            }),
            vec![TimedOut],
            &none,
        ),
        (
            on(RetryOn {
                gateway_error: true,
                ..NONE
            }),
            vec![TimedOut],
            &gateway,
        ),
        (
            on(RetryOn {
                server_error: true,
                ..NONE
            }),
            vec![TimedOut],
            &server,
        ),
        (
            on(RetryOn {
                retriable_4xx: true,
                ..NONE
            }),
            vec![],
            &vec![409],
        ),
        (
            on(RetryOn {
                statuses: vec![StatusCode::IM_A_TEAPOT],
                ..NONE
            }),
            vec![],
            &vec![418],
        ),
    ] {
        assert_eq!(again(&policy), (ends, statuses.clone()), "{policy:?}");
    }
}

#[test]
fn what_may_have_been_processed_only_where_it_does_no_harm() {
    let mut policy = on(RetryOn {
        reset: true,
        gateway_error: true,
        ..RetryOn::ALWAYS_SAFE
    });
    let allowed = |policy: &RetryPolicy, tried: Tried| {
        let retries = Retries::of([policy]);
        let methods = [
            Method::GET,
            Method::HEAD,
            Method::OPTIONS,
            Method::TRACE,
            Method::PUT,
            Method::DELETE,
            Method::POST,
            Method::PATCH,
            Method::CONNECT,
        ];
        let mut allowed = methods.to_vec();
        allowed.retain(|method| retries.again(tried, method, false));
        (allowed.len(), allowed.contains(&Method::POST))
    };
    for tried in [Tried::Reset, Tried::TimedOut, answered(503)] {
        policy.methods = None;
        assert_eq!(allowed(&policy, tried), (6, false), "{tried:?}");
        // The list is in place of the idempotent ones.
        policy.methods = Some(vec![Method::POST]);
        assert_eq!(allowed(&policy, tried), (1, true), "{tried:?}");
    }
    for tried in [Tried::Unsent, Tried::Refused] {
        assert_eq!(allowed(&policy, tried), (9, true), "{tried:?}");
    }
}

#[test]
fn calls_are_tried_again_by_their_statuses() {
    let unavailable = on(RetryOn {
        grpc: 1 << 14 | 1 << 8,
        ..NONE
    });
    let retries = Retries::of([&unavailable]);
    let again = |tried, grpc| retries.again(tried, &Method::POST, grpc);
    assert!(again(called(200, 14), true));
    assert!(again(called(200, 8), true));
    assert!(!again(called(200, 0), true));
    assert!(!again(called(200, 13), true));
    assert!(!again(called(200, 14), false));
    assert!(!again(called(200, 32 + 14), true));
    assert!(!again(called(200, u32::MAX), true));
    // What a proxy answered that speaks no gRPC is UNAVAILABLE to the client.
    for status in [429, 502, 503, 504] {
        assert!(again(answered(status), true), "{status}");
        assert!(!again(answered(status), false), "{status}");
    }
    assert!(!again(answered(500), true));
    assert!(!again(answered(200), true));
    assert!(!again(called(503, 13), true));
    // Conditions on HTTP mean calls as any other POST.
    let gateway = on(RetryOn {
        gateway_error: true,
        ..NONE
    });
    assert!(!Retries::of([&gateway]).again(answered(503), &Method::POST, true));
}

#[test]
fn http_statuses_of_calls_that_speak_none() {
    for (http, grpc) in [
        (400, 13),
        (401, 16),
        (403, 7),
        (404, 12),
        (418, 2),
        (500, 2),
    ] {
        let policy = on(RetryOn {
            grpc: 1 << grpc,
            ..NONE
        });
        let retries = Retries::of([&policy]);
        assert!(retries.again(answered(http), &Method::POST, true), "{http}");
        assert!(!retries.again(answered(503), &Method::POST, true), "{http}");
    }
}

#[test]
fn layers_are_laid_over_each_other_field_by_field() {
    let rule = RetryPolicy {
        attempts: Some(0),
        per_try_timeout: Some(Duration::ZERO),
        ..RetryPolicy::default()
    };
    let service = RetryPolicy {
        attempts: Some(5),
        per_try_timeout: Some(ms(100)),
        backoff_max: Some(ms(7)),
        methods: Some(vec![Method::POST]),
        buffer_bytes: Some(1),
        ..RetryPolicy::default()
    };
    let retries = Retries::of([&rule, &service]);
    let expected = Retries {
        attempts: 0,
        on: &RetryOn::ALWAYS_SAFE,
        per_try_timeout: None,
        backoff_base: ms(25),
        backoff_max: ms(7),
        methods: Some(&[Method::POST]),
        buffer_bytes: 1,
        budget_percent: 20,
        budget_min_per_second: 10,
    };
    assert_eq!(retries, expected);
    let retries = Retries::of([&service, &rule]);
    assert_eq!(
        (retries.attempts, retries.per_try_timeout),
        (5, Some(ms(100)))
    );
    let defaults = Retries {
        attempts: 2,
        backoff_max: ms(250),
        methods: None,
        buffer_bytes: 64 << 10,
        ..expected
    };
    assert_eq!(Retries::of([]), defaults);
}

#[test]
fn backoff_is_spread_over_a_doubling_time() {
    let policy = RetryPolicy::default();
    let retries = Retries::of([&policy]);
    for (retry, longest) in [
        (0, 25),
        (1, 25),
        (2, 50),
        (3, 100),
        (4, 200),
        (5, 250),
        (99, 250),
    ] {
        assert_eq!(retries.backoff(retry, 0), ms(0));
        assert_eq!(retries.backoff(retry, u64::MAX), ms(longest));
        // A quarter of all chances in each quarter of the time.
        let quarters = (0..4_u64).map(|i| retries.backoff(retry, i << 62 | 1 << 61));
        let middle = quarters.map(|time| (time.as_secs_f64() * 8e3 / longest as f64).round() as u8);
        assert_eq!(middle.collect::<Vec<_>>(), [1, 3, 5, 7]);
    }
}

#[test]
fn bodies_are_kept_only_where_they_may_be_sent_again() {
    let needs = |attempts, on: RetryOn| {
        let policy = RetryPolicy {
            attempts: Some(attempts),
            on: Some(on),
            ..RetryPolicy::default()
        };
        Retries::of([&policy]).needs_replay(true)
    };
    let connect = RetryOn {
        connect_failure: true,
        ..NONE
    };
    assert!(!needs(2, NONE) && !needs(2, connect.clone()));
    for on in [
        RetryOn {
            refused_stream: true,
            ..NONE
        },
        RetryOn {
            reset: true,
            ..NONE
        },
        RetryOn {
            gateway_error: true,
            ..NONE
        },
        RetryOn {
            server_error: true,
            ..NONE
        },
        RetryOn {
            retriable_4xx: true,
            ..NONE
        },
        RetryOn {
            timeout: true,
            ..NONE
        },
        RetryOn {
            statuses: vec![StatusCode::CONFLICT],
            ..NONE
        },
        RetryOn { grpc: 1, ..NONE },
    ] {
        assert!(needs(1, on.clone()), "{on:?}");
        assert!(!needs(0, on));
    }
}

#[test]
fn an_answer_says_when_to_come_back() {
    let at = |value| retry_after(&headers(&[("retry-after", value)]), 784_111_770);
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(at("120"), seconds(120));
    assert_eq!(at(" 0 "), seconds(0));
    assert_eq!(at("99999999999999999999999"), seconds(u64::MAX));
    // The three forms of RFC 9110 §5.6.7.
    assert_eq!(at("Sun, 06 Nov 1994 08:49:37 GMT"), seconds(7));
    assert_eq!(at("Sunday, 06-Nov-94 08:49:37 GMT"), seconds(7));
    assert_eq!(at("Sun Nov  6 08:49:37 1994"), seconds(7));
    assert_eq!(at("Sun, 06 Nov 1994 08:49:20 GMT"), seconds(0));
    for bad in [
        "",
        "-1",
        "+1",
        "1.5",
        "soon",
        "Sun, 99 Nov 1994 08:49:37 GMT",
    ] {
        assert_eq!(at(bad), None, "{bad:?}");
    }
    assert_eq!(retry_after(&headers(&[]), 0), None);
}

proptest! {
    #[test]
    fn backoff_stays_within_its_bounds(base: u64, max: u64, retry: u32, random: u64) {
        let policy = RetryPolicy {
            backoff_base: Some(Duration::from_nanos(base)),
            backoff_max: Some(Duration::from_nanos(max)),
            ..RetryPolicy::default()
        };
        let time = Retries::of([&policy]).backoff(retry, random);
        prop_assert!(time <= Duration::from_nanos(max));
    }

    #[test]
    fn retry_after_takes_any_bytes(value in prop::collection::vec(any::<u8>(), 0..40), now: u64) {
        if let Ok(value) = http::HeaderValue::from_bytes(&value) {
            let mut headers = http::HeaderMap::new();
            headers.insert("retry-after", value);
            retry_after(&headers, now);
        }
    }
}
