//! The order of entries and [`find`] together, against the words of `HTTPRouteRule.matches` and
//! `GRPCRouteRule.matches`: all matches that a request meets are listed, and the specification's
//! criteria applied one after another.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName, Method};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{select, subsequence},
};

use super::{exact, headers, request, resolved, route};
use crate::{
    model::{
        names::ObjectName,
        route::{
            PathMatch, RequestMatch, Route, RouteEntry, RouteKind, RouteTable, Rule, TextMatch,
            grpc_precedence, http_precedence,
        },
    },
    traffic::{matching::find, request::RequestView},
};

/// Where a match stands: route, rule, match.
type Place = (usize, usize, Option<usize>);

fn http_match() -> impl Strategy<Value = RequestMatch> {
    let path = prop_oneof![
        select(&["/", "/a", "/a/b", "/ab"][..]).prop_map(|path| PathMatch::Exact(path.into())),
        select(&["/", "/a", "/a/b", "/ab"][..]).prop_map(|path| PathMatch::Prefix(path.into())),
    ];
    let method = select(vec![Method::GET, Method::POST]);
    let header = subsequence(vec![("x-a", "1"), ("x-b", "1"), ("x-b", "2")], 0..=2);
    let query = subsequence(vec![("p", "1"), ("q", "1")], 0..=2);
    (option::of(path), option::of(method), header, query).prop_map(
        |(path, method, headers, query)| RequestMatch {
            path,
            method,
            headers: headers
                .into_iter()
                .map(|(name, value)| (HeaderName::from_static(name), exact(value)))
                .collect(),
            query: query
                .into_iter()
                .map(|(name, value)| (name.into(), exact(value)))
                .collect(),
        },
    )
}

fn grpc_match() -> impl Strategy<Value = RequestMatch> {
    let service = option::of(select(&["a.S", "a.Long"][..]));
    let method = option::of(select(&["Get", "GetAll"][..]));
    let header = subsequence(vec![("x-a", "1"), ("x-b", "1")], 0..=2);
    (service, method, header).prop_map(|(service, method, headers)| RequestMatch {
        path: (service.is_some() || method.is_some()).then(|| PathMatch::Grpc {
            service: service.map(exact),
            method: method.map(exact),
        }),
        headers: headers
            .into_iter()
            .map(|(name, value)| (HeaderName::from_static(name), exact(value)))
            .collect(),
        ..RequestMatch::default()
    })
}

fn routes(
    kind: RouteKind,
    wanted: impl Strategy<Value = RequestMatch> + 'static,
) -> impl Strategy<Value = Vec<Arc<Route>>> {
    let rules = vec(vec(wanted, 0..3), 1..4);
    let one = (rules, option::of(0_u64..3), select(&["x", "y"][..]));
    vec(one, 1..4).prop_map(move |parts| {
        let numbered = parts.into_iter().enumerate();
        let routes = numbered.map(|(number, (rules, created, namespace))| {
            let rules = rules.into_iter().map(|matches| Rule {
                matches,
                ..Rule::default()
            });
            // The number makes names unique, and their order is not that of the list.
            let name = ObjectName::new(namespace, format!("r{}", 9 - number));
            Arc::new(Route {
                kind,
                created: created.map(|age| UNIX_EPOCH + Duration::from_secs(age)),
                ..route(name, rules.collect())
            })
        });
        routes.collect()
    })
}

fn places(routes: &[Arc<Route>]) -> Vec<Place> {
    let mut places = Vec::new();
    for (route, of) in routes.iter().enumerate() {
        for (rule, of) in of.rules.iter().enumerate() {
            if of.matches.is_empty() {
                places.push((route, rule, None));
            }
            places.extend((0..of.matches.len()).map(|index| (route, rule, Some(index))));
        }
    }
    places
}

/// As the fold does: sorted by the model's keys, ties by age, then by place in the route.
fn entries(routes: &[Arc<Route>]) -> Vec<RouteEntry> {
    let mut places = places(routes);
    let wanted = |(route, rule, matched): Place| {
        matched.map(|index| &routes[route].rules[rule].matches[index])
    };
    places.sort_by(|a, b| {
        let by_match = match routes[a.0].kind {
            RouteKind::Grpc => grpc_precedence(wanted(*a)).cmp(&grpc_precedence(wanted(*b))),
            _ => http_precedence(wanted(*a)).cmp(&http_precedence(wanted(*b))),
        };
        by_match
            .then_with(|| routes[a.0].age().cmp(&routes[b.0].age()))
            .then_with(|| (a.1, a.2).cmp(&(b.1, b.2)))
    });
    let entry = |(route, rule, matched): Place| RouteEntry {
        rule: resolved(&routes[route], rule),
        matched,
    };
    places.into_iter().map(entry).collect()
}

/// Of all that are met, those that are best by one criterion after another.
fn expected(routes: &[Arc<Route>], request: &RequestView<'_>) -> Option<Place> {
    let empty = RequestMatch::default();
    let wanted = |(route, rule, matched): &Place| match matched {
        Some(index) => &routes[*route].rules[*rule].matches[*index],
        None => &empty,
    };
    let mut left = places(routes);
    left.retain(|place| is_met(wanted(place), request));
    let keep_best = |left: &mut Vec<Place>, score: &dyn Fn(&RequestMatch) -> usize| {
        let best = left.iter().map(|place| score(wanted(place))).max();
        left.retain(|place| Some(score(wanted(place))) == best);
    };
    if routes[0].kind == RouteKind::Grpc {
        // "Characters in a matching service", "… method", "header matches".
        keep_best(&mut left, &|wanted| {
            grpc_texts(wanted).0.map_or(0, str::len)
        });
        keep_best(&mut left, &|wanted| {
            grpc_texts(wanted).1.map_or(0, str::len)
        });
        keep_best(&mut left, &|wanted| wanted.headers.len());
    } else {
        // "Exact" path match; "Prefix" path match with largest number of characters, the default
        // being the prefix `/`; method match; number of header matches, of query param matches.
        keep_best(&mut left, &|wanted| {
            usize::from(matches!(wanted.path, Some(PathMatch::Exact(_))))
        });
        keep_best(&mut left, &|wanted| match &wanted.path {
            Some(PathMatch::Prefix(prefix)) => prefix.len(),
            Some(_) => 0,
            None => 1,
        });
        keep_best(&mut left, &|wanted| usize::from(wanted.method.is_some()));
        keep_best(&mut left, &|wanted| wanted.headers.len());
        keep_best(&mut left, &|wanted| wanted.query.len());
    }
    // The oldest route, those of unknown age last; the first in alphabetical order.
    let oldest = left
        .iter()
        .filter_map(|place| routes[place.0].created)
        .min();
    left.retain(|place| oldest.is_none() || routes[place.0].created == oldest);
    let first = left
        .iter()
        .map(|place| routes[place.0].name.to_string())
        .min();
    left.retain(|place| Some(routes[place.0].name.to_string()) == first);
    // The first in the route's own order, which is that of the list.
    left.first().copied()
}

fn grpc_texts(wanted: &RequestMatch) -> (Option<&str>, Option<&str>) {
    match &wanted.path {
        Some(PathMatch::Grpc { service, method }) => (of_exact(service), of_exact(method)),
        _ => (None, None),
    }
}

fn of_exact(text: &Option<TextMatch>) -> Option<&str> {
    match text {
        Some(TextMatch::Exact(text)) => Some(text),
        _ => None,
    }
}

/// Path by lists of segments, query by lists of pairs; nothing here is escaped.
fn is_met(wanted: &RequestMatch, request: &RequestView<'_>) -> bool {
    fn segments(path: &str) -> Vec<&str> {
        path.split('/')
            .filter(|segment| !segment.is_empty())
            .collect()
    }
    let path = match &wanted.path {
        None => true,
        Some(PathMatch::Exact(path)) => **path == *request.path,
        Some(PathMatch::Prefix(prefix)) => segments(request.path).starts_with(&segments(prefix)),
        Some(PathMatch::Grpc { .. }) => {
            let (service, method) = grpc_texts(wanted);
            let parts = segments(request.path);
            service.is_none_or(|service| parts[0] == service)
                && method.is_none_or(|method| parts[1] == method)
        }
        Some(PathMatch::Regex(_)) => unreachable!(),
    };
    let text = |wanted: &TextMatch| match wanted {
        TextMatch::Exact(text) => text.to_string(),
        TextMatch::Regex(_) => unreachable!(),
    };
    path && wanted
        .method
        .as_ref()
        .is_none_or(|method| method == request.method)
        && wanted.headers.iter().all(|(name, value)| {
            request
                .headers
                .get(name)
                .is_some_and(|is| *is == text(value))
        })
        && wanted.query.iter().all(|(name, value)| {
            let pair = format!("{name}={}", text(value));
            request
                .query
                .is_some_and(|query| query.split('&').any(|is| is == pair))
        })
}

fn sent() -> impl Strategy<Value = HeaderMap> {
    subsequence(vec![("x-a", "1"), ("x-b", "1")], 0..=2).prop_map(|lines| headers(&lines))
}

/// The route's name, and the place within it.
fn found(
    entries: Vec<RouteEntry>,
    request: &RequestView<'_>,
) -> Option<(ObjectName, usize, Option<usize>)> {
    let grpc = request.grpc;
    let table = match grpc {
        true => RouteTable {
            grpc: entries,
            ..RouteTable::default()
        },
        false => RouteTable {
            http: entries,
            ..RouteTable::default()
        },
    };
    let entry = find(&table, request)?;
    let rule = &entry.rule;
    Some((rule.route.name.clone(), rule.index, entry.matched))
}

fn named(
    routes: &[Arc<Route>],
    place: Option<Place>,
) -> Option<(ObjectName, usize, Option<usize>)> {
    place.map(|(route, rule, matched)| (routes[route].name.clone(), rule, matched))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn http_requests_go_where_the_specification_says(
        routes in routes(RouteKind::Http, http_match()),
        method in select(vec![Method::GET, Method::POST]),
        path in select(&["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/c"][..]),
        query in select(vec![None, Some("p=1"), Some("q=1&p=1"), Some("q=2")]),
        headers in sent(),
    ) {
        let request = request(&method, path, query, &headers);
        prop_assert_eq!(
            found(entries(&routes), &request),
            named(&routes, expected(&routes, &request))
        );
    }

    #[test]
    fn grpc_requests_go_where_the_specification_says(
        routes in routes(RouteKind::Grpc, grpc_match()),
        path in select(&["/a.S/Get", "/a.S/GetAll", "/a.Long/Get", "/b.S/Get"][..]),
        headers in sent(),
    ) {
        let request = RequestView { grpc: true, ..request(&Method::POST, path, None, &headers) };
        prop_assert_eq!(
            found(entries(&routes), &request),
            named(&routes, expected(&routes, &request))
        );
    }
}
