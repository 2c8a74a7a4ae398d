use std::collections::BTreeSet;

use super::*;

#[test]
fn the_lists_are_complete_and_their_names_are_labels() {
    for (index, reason) in Reason::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, index, "{reason}");
        assert_eq!(Reason::of_name(reason.as_str()), Some(*reason));
        assert!(
            reason
                .as_str()
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b == b'_')
        );
    }
    for (index, flags) in ResponseFlags::ALL.iter().enumerate() {
        assert_eq!(*flags as usize, index, "{}", flags.as_str());
    }
    let names: BTreeSet<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
    assert_eq!(names.len(), Reason::ALL.len());
}

#[test]
fn only_a_good_end_has_no_flag() {
    for reason in Reason::ALL {
        assert_eq!(reason.response_flags() == "-", reason.is_ok(), "{reason}");
    }
}

#[test]
fn what_is_ended_on_purpose_has_the_flag_that_dashboards_know() {
    for (reason, flags) in [
        (Reason::BreakerOpen, "UH"),
        (Reason::PoolFull, "UO"),
        (Reason::Overloaded, "UO"),
        (Reason::RateLimited, "RL"),
        (Reason::FaultInjected, "FI"),
    ] {
        assert_eq!(reason.response_flags(), flags, "{reason}");
    }
}

#[test]
fn what_weir_answers_fits_to_the_reason() {
    for (reason, http, grpc) in [
        (Reason::Ok, 200, 0),
        (Reason::PolicyDenied, 403, 7),
        (Reason::NoRoute, 404, 12),
        (Reason::BackendNotFound, 500, 14),
        (Reason::NoHealthyEndpoint, 503, 14),
        (Reason::ConnectTimeout, 503, 14),
        (Reason::LimitReached, 503, 14),
        (Reason::BreakerOpen, 503, 14),
        (Reason::PoolFull, 503, 14),
        (Reason::RateLimited, 429, 14),
        (Reason::Overloaded, 503, 14),
        (Reason::FaultInjected, 503, 14),
        (Reason::UpstreamReset, 502, 14),
        (Reason::UpstreamProtocol, 502, 14),
        (Reason::RequestTimeout, 504, 4),
        (Reason::BackendTimeout, 504, 4),
        (Reason::BadRequest, 400, 13),
        (Reason::UriTooLong, 414, 13),
        (Reason::HeadersTooLarge, 431, 13),
        (Reason::HeaderTimeout, 408, 13),
        (Reason::Internal, 500, 13),
    ] {
        assert_eq!(reason.http_status().as_u16(), http, "{reason}");
        assert_eq!(reason.grpc_status(), grpc, "{reason}");
    }
    for reason in Reason::ALL {
        let failed =
            reason.http_status().is_client_error() || reason.http_status().is_server_error();
        assert_eq!(failed, !reason.is_ok(), "{reason}");
        assert_eq!(reason.grpc_status() == 0, reason.is_ok(), "{reason}");
    }
}
