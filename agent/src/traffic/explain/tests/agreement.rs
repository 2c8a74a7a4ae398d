//! What is told as taken is what the pipeline takes, for tables and requests of every kind.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use proptest::prelude::*;

use super::*;
use crate::{
    model::{
        fold::tests::build::{name, route, rule},
        route::{PathMatch, Pattern, RequestMatch, Route, RouteKind, Rule, TextMatch},
    },
    traffic::{
        matching, normalize,
        request::{RequestView, is_grpc},
    },
};

const PATHS: [&str; 6] = ["/", "/a", "/a/b", "/ab", "/a/b/c", "/A"];
const VALUES: [&str; 3] = ["x", "y", "xy"];

fn text() -> impl Strategy<Value = TextMatch> {
    prop_oneof![
        prop::sample::select(&VALUES[..]).prop_map(|text| TextMatch::Exact(text.into())),
        Just(TextMatch::Regex(Pattern::new("x.*").unwrap())),
    ]
}

fn path() -> impl Strategy<Value = PathMatch> {
    let path = prop::sample::select(&PATHS[..]);
    prop_oneof![
        path.clone().prop_map(|path| PathMatch::Exact(path.into())),
        path.prop_map(|path| PathMatch::Prefix(path.into())),
        Just(PathMatch::Regex(Pattern::new("/a.*").unwrap())),
    ]
}

fn request_match() -> impl Strategy<Value = RequestMatch> {
    (
        prop::option::of(path()),
        prop::option::of(prop::sample::select(vec![Method::GET, Method::POST])),
        prop::option::of(text()),
        prop::option::of(text()),
    )
        .prop_map(|(path, method, header, query)| RequestMatch {
            path,
            method,
            headers: header
                .into_iter()
                .map(|value| (HeaderName::from_static("x-h"), value))
                .collect(),
            query: query.into_iter().map(|value| ("q".into(), value)).collect(),
        })
}

fn some_route() -> impl Strategy<Value = Route> {
    let rules = prop::collection::vec(prop::collection::vec(request_match(), 0..3), 1..4);
    (any::<bool>(), prop::sample::select(&VALUES[..]), rules).prop_map(|(grpc, of, rules)| {
        let kind = match grpc {
            true => RouteKind::Grpc,
            false => RouteKind::Http,
        };
        let rules = rules.into_iter().map(|matches| Rule {
            matches,
            ..rule(["shop/v1"])
        });
        Route {
            rules: rules.collect(),
            ..route(kind, &format!("shop/{of}"), "shop/web")
        }
    })
}

#[derive(Debug)]
struct Asked {
    method: Method,
    path: &'static str,
    query: Option<&'static str>,
    header: Option<&'static str>,
    grpc: bool,
}

fn some_request() -> impl Strategy<Value = Asked> {
    (
        prop::sample::select(vec![Method::GET, Method::POST, Method::PUT]),
        prop::sample::select(&PATHS[..]),
        prop::option::of(prop::sample::select(&VALUES[..])),
        prop::option::of(prop::sample::select(&VALUES[..])),
        any::<bool>(),
    )
        .prop_map(|(method, path, query, header, grpc)| Asked {
            method,
            path,
            query,
            header,
            grpc,
        })
}

proptest! {
    #[test]
    fn the_entry_taken_is_the_pipelines(
        routes in prop::collection::vec(some_route(), 0..4),
        asked in some_request(),
    ) {
        let world = routes.into_iter().fold(World::new(), World::with);
        let snapshot = world.snapshot();
        let mut lines = Vec::new();
        lines.extend(asked.header.map(|value| format!("x-h: {value}")));
        lines.extend(asked.grpc.then(|| "content-type: application/grpc".to_owned()));
        let query = asked.query.map(|value| format!("q={value}"));
        let suffix = query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        let url = format!("http://web{}{suffix}", asked.path);
        let question =
            Question::new("shop/cart-1", &url, Some(asked.method.as_str()), &lines, NOW).unwrap();
        let told = explain(&snapshot, &question);

        // What the pipeline would do, by hand.
        let mut headers = HeaderMap::new();
        if let Some(value) = asked.header {
            headers.insert("x-h", HeaderValue::from_static(value));
        }
        if asked.grpc {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        }
        let table = matching::http_table(&snapshot, &name("shop/web"), 80, "shop");
        let Some(table) = table else {
            prop_assert!(told.routing.is_none());
            prop_assert_eq!(sent_to(&told), "shop/web:80");
            return Ok(());
        };
        let path = normalize::path(asked.path).unwrap();
        let view = RequestView {
            path: &path,
            query: query.as_deref(),
            method: &asked.method,
            headers: &headers,
            grpc: is_grpc(&headers),
        };
        let found = matching::find(table, &view);

        let entries = &told.routing.as_ref().unwrap().entries;
        prop_assert_eq!(entries.len(), table.grpc.len() + table.http.len());
        let taken: Vec<_> =
            (0..entries.len()).filter(|at| entries[*at].verdict == Verdict::Taken).collect();
        let mut in_order = table.grpc.iter().chain(&table.http);
        let place = found.map(|entry| in_order.position(|one| std::ptr::eq(one, entry)).unwrap());
        prop_assert_eq!(taken, place.into_iter().collect::<Vec<_>>());
        // And it is the first one that nothing speaks against.
        let first = entries.iter().position(|entry| entry.verdict != Verdict::Mismatch);
        prop_assert_eq!(first, place);
        prop_assert!(entries.iter().all(|e| e.why_not.is_none() == (e.verdict == Verdict::Taken)));
        match place {
            Some(_) => prop_assert_eq!(sent_to(&told), "shop/v1:80"),
            // gRPC has its own status in a head of 200.
            None => prop_assert_eq!(refused(&told).1, "no_route"),
        }
    }
}
