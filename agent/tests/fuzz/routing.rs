//! Paths and the matches of routes: no request makes them panic, a path has one normal form, and
//! `weir explain` tells what the data plane decides.

use std::time::Instant;

use bolero::TypeGenerator;
use http::{HeaderName, HeaderValue, Method, uri::PathAndQuery};
use weir::{
    model::{
        fold::Fold,
        names::ObjectName,
        resource::{Change, Delta},
        snapshot::Snapshot,
    },
    sources::parse::{Manifest, Strings, manifest},
    traffic::{
        explain::{Question, Verdict, explain},
        hop, matching, normalize,
        request::{RequestView, is_grpc},
    },
};

use crate::input::{self, Piece, pick, spell, text};

const PATHS: &[&str] = &[
    "/",
    "//",
    "/.",
    "/..",
    "\\",
    "%2F",
    "%5c",
    "%2e",
    "%00",
    "%41",
    "%",
    "%c3%a9",
    "%252F",
    "a",
    "a/b",
    "shop.Cart",
    "/Add",
    "é",
    "?",
    "&",
    "=",
    "+",
    "beta=1",
    "b%65ta",
    "*",
    "x1",
];

const VALUES: &[&str] = &[
    "always",
    "1",
    "x1",
    ",",
    "; ",
    "a=b",
    "application/grpc",
    "+proto",
    "é",
    " ",
    "close",
    "x-a",
];

const NAMES: &[&str] = &[
    "x-a",
    "x-b",
    "cookie",
    "content-type",
    "connection",
    "te",
    "host",
    "forwarded",
];

const METHODS: &[Method] = &[
    Method::GET,
    Method::POST,
    Method::OPTIONS,
    Method::CONNECT,
    Method::PATCH,
];

#[test]
fn a_path_has_one_normal_form() {
    bolero::check!()
        .with_test_time(input::time())
        .with_type::<Vec<Piece>>()
        .for_each(|pieces| {
            let raw = text(PATHS, pieces);
            let Ok(normal) = normalize::path(&raw) else {
                return;
            };
            assert!(normal.starts_with('/') || normal == "*", "{normal}");
            assert!(!normal.contains("//") && !normal.contains('\\'), "{normal}");
            let is_dots = |segment: &str| segment == "." || segment == "..";
            assert!(!normal.split('/').any(is_dots), "{normal}");
            assert_eq!(normalize::path(&normal).as_deref(), Ok(&*normal));
        });
}

#[derive(Clone, Debug, TypeGenerator)]
struct Request {
    method: u8,
    target: Vec<Piece>,
    headers: Vec<(u8, Vec<Piece>)>,
}

impl Request {
    /// `None`: no server would read it as a request.
    fn question(&self) -> Option<Question> {
        let to = "http://server.bench.svc.cluster.local";
        let mut question = Question::new("bench/client", to, None, &[], 0).unwrap();
        question.method = pick(METHODS, self.method).clone();
        question.to.path_and_query =
            PathAndQuery::try_from([b"/", &*spell(PATHS, &self.target)].concat()).ok()?;
        for (name, value) in &self.headers {
            let value = HeaderValue::from_bytes(&spell(VALUES, value)).ok()?;
            let name = HeaderName::from_static(pick::<&str>(NAMES, *name));
            question.headers.append(name, value);
        }
        Some(question)
    }
}

#[test]
fn explain_takes_the_match_that_the_data_plane_takes() {
    let snapshot = snapshot();
    let service = ObjectName::new("bench", "server");
    let table = matching::http_table(&snapshot, &service, 80, "bench").unwrap();
    assert!(table.http.len() > 8 && table.grpc.len() > 3);
    bolero::check!()
        .with_test_time(input::time())
        .with_type::<Request>()
        .for_each(|request| {
            let Some(question) = request.question() else {
                return;
            };
            let told = explain(&snapshot, &question);
            let Ok(path) = normalize::path(question.to.path_and_query.path()) else {
                assert!(told.routing.is_none(), "{told:?}");
                return;
            };
            let mut headers = question.headers.clone();
            hop::strip(&mut headers);
            headers.remove(http::header::FORWARDED);
            let view = RequestView {
                path: &path,
                query: question.to.path_and_query.query(),
                method: &question.method,
                headers: &headers,
                grpc: is_grpc(&headers),
            };
            let found = matching::find(table, &view);
            let entries = table.grpc.iter().chain(&table.http);
            let expected: Vec<_> = entries
                .map(|entry| found.is_some_and(|found| std::ptr::eq(found, entry)))
                .collect();
            let told: Vec<_> = told.routing.unwrap().entries;
            let taken = told.iter().map(|entry| entry.verdict == Verdict::Taken);
            assert!(taken.eq(expected), "{found:?}\n{told:?}");
            // What was not taken, and not for its place, says why.
            let reasoned = |entry: &weir::traffic::explain::Entry| {
                (entry.verdict == Verdict::Taken) == entry.why_not.is_none()
            };
            assert!(told.iter().all(reasoned), "{told:?}");
        });
}

/// A service with a match of every kind.
fn snapshot() -> std::sync::Arc<Snapshot> {
    let rules = |matches: &[serde_json::Value]| -> Vec<serde_json::Value> {
        let rule = |one| serde_json::json!({"matches": [one], "backendRefs": [{"name": "server", "port": 80}]});
        matches.iter().map(rule).collect()
    };
    let route = |kind: &str, matches: &[serde_json::Value]| {
        serde_json::json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": "web", "namespace": "bench"},
            "spec": {
                "parentRefs": [{"group": "", "kind": "Service", "name": "server"}],
                "rules": rules(matches),
            },
        })
    };
    let objects = [
        serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "client", "namespace": "bench", "uid": "1",
                "labels": {"weir.dev/mesh": "enabled"}},
            "spec": {"nodeName": "n1", "containers": [{"name": "app"}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]},
        }),
        serde_json::json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "server", "namespace": "bench"},
            "spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"],
                "ports": [{"name": "web", "port": 80, "protocol": "TCP", "appProtocol": "http"}]},
        }),
        route(
            "HTTPRoute",
            &[
                serde_json::json!({"path": {"type": "Exact", "value": "/a/b"}}),
                serde_json::json!({"path": {"type": "PathPrefix", "value": "/a"}, "method": "POST"}),
                serde_json::json!({"path": {"type": "PathPrefix", "value": "/a/b"}}),
                serde_json::json!({"path": {"type": "RegularExpression", "value": "/(é|x[0-9])+/.*"}}),
                serde_json::json!({"headers": [{"name": "x-a", "value": "always"}]}),
                serde_json::json!({"headers": [{"name": "x-b", "type": "RegularExpression", "value": "a.*1"}]}),
                serde_json::json!({"headers": [{"name": "cookie", "type": "RegularExpression", "value": "(.*; )?a=b(;.*)?"}]}),
                serde_json::json!({"queryParams": [{"name": "beta", "value": "1"}]}),
                serde_json::json!({"queryParams": [{"name": "a", "type": "RegularExpression", "value": "é|x1+"}]}),
            ],
        ),
        route(
            "GRPCRoute",
            &[
                serde_json::json!({"method": {"service": "shop.Cart", "method": "Add"}}),
                serde_json::json!({"method": {"service": "shop.Cart"}}),
                serde_json::json!({"method": {"type": "RegularExpression", "method": "A.*"}}),
                serde_json::json!({"headers": [{"name": "x-a", "value": "1"}]}),
            ],
        ),
    ];
    let mut strings = Strings::default();
    let changes = objects.map(|object| match manifest(&object, &mut strings) {
        Ok(Manifest::Object(key, resource)) => Change::Upsert(key, resource),
        other => panic!("{object}: {other:?}"),
    });
    let delta = Delta {
        changes: changes.into(),
        rejected: 0,
        synced: true,
    };
    Fold::new("cluster.local", "n1").apply(delta, Instant::now())
}
