mod precedence;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::{find, find_tls, matched_prefix, matches};
use crate::{
    model::{
        names::ObjectName,
        route::{PathMatch, Pattern, RequestMatch, RouteEntry, RouteTable, Rule, TextMatch},
    },
    traffic::{
        request::RequestView,
        testing::{entry, exact, headers, request, resolved, route},
    },
};

fn regex(pattern: &str) -> TextMatch {
    TextMatch::Regex(Pattern::new(pattern).unwrap())
}

fn of_path(path: PathMatch) -> RequestMatch {
    RequestMatch {
        path: Some(path),
        ..RequestMatch::default()
    }
}

fn of_header(name: &'static str, value: TextMatch) -> RequestMatch {
    RequestMatch {
        headers: vec![(HeaderName::from_static(name), value)],
        ..RequestMatch::default()
    }
}

fn of_query(name: &str, value: TextMatch) -> RequestMatch {
    RequestMatch {
        query: vec![(name.into(), value)],
        ..RequestMatch::default()
    }
}

/// Why not; nothing if it matches.
fn why(wanted: &RequestMatch, request: RequestView<'_>) -> Option<String> {
    matches(Some(wanted), &request)
        .err()
        .map(|mismatch| mismatch.to_string())
}

fn path_met(wanted: PathMatch, path: &str) -> bool {
    let headers = HeaderMap::new();
    why(
        &of_path(wanted),
        request(&Method::GET, path, None, &headers),
    )
    .is_none()
}

#[test]
fn no_match_is_met_by_everything() {
    let headers = HeaderMap::new();
    let any = request(&Method::GET, "/a", None, &headers);
    assert!(matches(None, &any).is_ok());
    assert_eq!(why(&RequestMatch::default(), any), None);
}

/// The examples of `PathMatchPathPrefix`, and more.
#[test]
fn prefixes_are_whole_segments() {
    for (path, prefix, met) in [
        ("/abc", "/abc", true),
        ("/abc/", "/abc", true),
        ("/abc/def", "/abc", true),
        ("/abc", "/abc/", true),
        ("/abc/", "/abc/", true),
        ("/abc/def", "/abc/", true),
        ("/abcd", "/abc", false),
        ("/abcd", "/abc/", false),
        ("/ab", "/abc", false),
        ("/x/abc", "/abc", false),
        ("/ABC", "/abc", false),
        ("/", "/", true),
        ("/abc", "/", true),
        ("*", "/", true),
        ("*", "/abc", false),
    ] {
        let is = path_met(PathMatch::Prefix(prefix.into()), path);
        assert_eq!(is, met, "{path} below {prefix}");
    }
}

#[test]
fn exact_and_regular_paths() {
    let exact = |path| path_met(PathMatch::Exact("/a".into()), path);
    assert!(exact("/a") && !exact("/a/") && !exact("/A") && !exact("/a/b"));
    let regular = |path| path_met(PathMatch::Regex(Pattern::new("/v[0-9]+|/x").unwrap()), path);
    assert!(regular("/v12") && regular("/x"));
    assert!(!regular("/v12/") && !regular("/v") && !regular("/a/v1") && !regular("/xy"));
}

#[test]
fn grpc_services_and_methods() {
    let met = |service: Option<TextMatch>, method: Option<TextMatch>, path| {
        path_met(PathMatch::Grpc { service, method }, path)
    };
    let (service, method) = (|| Some(exact("pkg.Echo")), || Some(exact("Say")));
    assert!(met(service(), method(), "/pkg.Echo/Say"));
    assert!(met(service(), None, "/pkg.Echo/Other"));
    assert!(met(None, method(), "/other.Echo/Say"));
    assert!(met(
        Some(regex("pkg\\..*")),
        Some(regex("S.*")),
        "/pkg.Echo/Say"
    ));
    assert!(met(None, None, "/anything"));
    assert!(!met(service(), method(), "/pkg.Echo/Sa"));
    assert!(!met(service(), None, "/pkg.Echoes/Say"));
    assert!(!met(service(), None, "/pkg.Echo"));
    assert!(!met(Some(regex("pkg")), None, "/pkg.Echo/Say"));
}

#[test]
fn headers_are_compared_as_one_value() {
    let yes = of_header("x-canary", exact("yes"));
    let with = |wanted: &RequestMatch, lines: &[(&str, &str)]| {
        why(wanted, request(&Method::GET, "/", None, &headers(lines)))
    };
    assert_eq!(with(&yes, &[("X-Canary", "yes")]), None);
    assert_eq!(
        with(&yes, &[("x-canary", "no")]).as_deref(),
        Some(r#"header x-canary is "no", not "yes""#)
    );
    assert_eq!(
        with(&yes, &[("x-other", "yes")]).as_deref(),
        Some("header x-canary is absent")
    );
    // RFC 9110 §5.3
    let lines = [("x-canary", "yes"), ("x-canary", "no")];
    assert_eq!(
        with(&yes, &lines).as_deref(),
        Some(r#"header x-canary is "yes,no", not "yes""#)
    );
    assert_eq!(with(&of_header("x-canary", exact("yes,no")), &lines), None);
    assert_eq!(with(&of_header("x-canary", regex("yes,.*")), &lines), None);
    assert_eq!(
        with(&of_header("x-canary", regex("y")), &lines).as_deref(),
        Some(r#"header x-canary is "yes,no", which does not match y"#)
    );
    // RFC 9113 §8.2.3
    let user = of_header("cookie", regex("(.*; )?user=ann(;.*)?"));
    assert_eq!(
        with(&user, &[("cookie", "a=b"), ("cookie", "user=ann")]),
        None
    );
}

#[test]
fn values_that_are_no_text_match_no_pattern() {
    let mut headers = HeaderMap::new();
    headers.insert(header::FROM, HeaderValue::from_bytes(b"\xff").unwrap());
    let any = of_header("from", regex("(?s).*"));
    assert_eq!(
        why(&any, request(&Method::GET, "/", None, &headers)).as_deref(),
        Some("header from is \"\u{fffd}\", which does not match (?s).*")
    );
}

#[test]
fn query_parameters_are_decoded_and_the_first_counts() {
    let headers = HeaderMap::new();
    let with = |wanted: &RequestMatch, query: &str| {
        why(wanted, request(&Method::GET, "/", Some(query), &headers))
    };
    let animal = of_query("animal", exact("blue whale"));
    for query in [
        "animal=blue+whale",
        "animal=blue%20whale",
        "x=y&animal=blue+whale&animal=dog",
        "%61nimal=b%6Cue+whale",
    ] {
        assert_eq!(with(&animal, query), None, "{query}");
    }
    assert_eq!(
        with(&animal, "animal=dog&animal=blue+whale").as_deref(),
        Some(r#"query parameter animal is "dog", not "blue whale""#)
    );
    assert_eq!(
        with(&animal, "Animal=blue+whale").as_deref(),
        Some("query parameter animal is absent")
    );
    assert_eq!(with(&of_query("flag", exact("")), "a=b&flag&c"), None);
    assert_eq!(with(&of_query("p", exact("100%")), "p=100%"), None);
    assert_eq!(with(&of_query("p", exact("%zz=")), "p=%zz="), None);
    assert_eq!(with(&of_query("p", regex("[0-9]+")), "p=12"), None);
    assert!(with(&of_query("p", regex("(?s).*")), "p=%ff").is_some());
    let none = request(&Method::GET, "/", None, &headers);
    assert!(why(&animal, none).is_some());
}

#[test]
fn every_mismatch_says_why() {
    let headers = HeaderMap::new();
    let get = request(&Method::GET, "/a/b", None, &headers);
    for (wanted, said) in [
        (
            of_path(PathMatch::Prefix("/b".into())),
            "path /a/b is not below /b",
        ),
        (
            of_path(PathMatch::Exact("/b".into())),
            "path /a/b is not /b",
        ),
        (
            of_path(PathMatch::Regex(Pattern::new("/b.*").unwrap())),
            "path /a/b does not match /b.*",
        ),
        (
            of_path(PathMatch::Grpc {
                service: Some(exact("x")),
                method: None,
            }),
            "path /a/b is not /x/*",
        ),
        (
            of_path(PathMatch::Grpc {
                service: None,
                method: Some(regex("[xy]")),
            }),
            "path /a/b is not /*/([xy])",
        ),
        (
            RequestMatch {
                method: Some(Method::POST),
                ..RequestMatch::default()
            },
            "method is GET, not POST",
        ),
    ] {
        assert_eq!(why(&wanted, get).as_deref(), Some(said));
    }
}

#[test]
fn grpc_routes_come_first_and_for_grpc_alone() {
    let table = RouteTable {
        http: vec![entry(of_path(PathMatch::Exact("/s/m".into())))],
        grpc: vec![entry(of_path(PathMatch::Grpc {
            service: Some(exact("s")),
            method: None,
        }))],
        ..RouteTable::default()
    };
    let headers = HeaderMap::new();
    let chosen = |path, grpc| {
        let request = RequestView {
            grpc,
            ..request(&Method::POST, path, None, &headers)
        };
        find(&table, &request).map(|entry| Arc::as_ptr(&entry.rule))
    };
    let (grpc, http) = (
        Some(Arc::as_ptr(&table.grpc[0].rule)),
        Some(Arc::as_ptr(&table.http[0].rule)),
    );
    assert_eq!(chosen("/s/m", true), grpc);
    assert_eq!(chosen("/s/m", false), http);
    assert_eq!(chosen("/s/other", false), None);
    assert_eq!(chosen("/t/m", true), None);
}

#[test]
fn tls_routes_by_host_name() {
    let hostnames = ["a.example", "*.example", "*.Sub.example"];
    let mut tls = route(ObjectName::new("shop", "tls"), vec![Rule::default()]);
    tls.hostnames = hostnames.map(Arc::from).to_vec();
    let tls = Arc::new(tls);
    let entry_of = |matched| RouteEntry {
        rule: resolved(&tls, 0),
        matched,
    };
    let found = |order: &[Option<usize>], sni| {
        let table = RouteTable {
            tls: order.iter().copied().map(entry_of).collect(),
            ..RouteTable::default()
        };
        find_tls(&table, sni).map(|entry| entry.matched)
    };
    let named = [Some(0), Some(2), Some(1)];
    for (sni, index) in [
        ("a.example", Some(0)),
        ("A.EXAMPLE", Some(0)),
        ("b.example", Some(1)),
        ("c.b.example", Some(1)),
        ("x.sub.example", Some(2)),
        ("y.x.sub.example", Some(2)),
        // One label at least.
        ("sub.example", Some(1)),
    ] {
        assert_eq!(found(&named, Some(sni)), Some(index), "{sni}");
    }
    for sni in [
        "example",
        ".example",
        "aexample",
        "b.examples",
        "é.exampl",
        "",
    ] {
        assert_eq!(found(&named, Some(sni)), None, "{sni}");
    }
    assert_eq!(found(&named, None), None);
    assert_eq!(found(&[Some(0), None], None), Some(None));
    assert_eq!(found(&[Some(0), None], Some("z")), Some(None));
}

#[test]
fn prefixes_that_can_be_replaced() {
    let of = |path| {
        matched_prefix(&entry(RequestMatch {
            path,
            ..RequestMatch::default()
        }))
        .map(str::to_owned)
    };
    assert_eq!(
        of(Some(PathMatch::Prefix("/a".into()))).as_deref(),
        Some("/a")
    );
    assert_eq!(of(None).as_deref(), Some("/"));
    assert_eq!(of(Some(PathMatch::Exact("/a".into()))), None);
    assert_eq!(
        of(Some(PathMatch::Regex(Pattern::new("/a").unwrap()))),
        None
    );
}
