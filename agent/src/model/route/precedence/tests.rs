use std::cmp::Ordering;

use http::{HeaderName, Method};

use super::*;
use crate::model::route::Pattern;

fn request(path: PathMatch, (method, headers, query): (bool, usize, usize)) -> RequestMatch {
    let text = || TextMatch::Exact("a".into());
    RequestMatch {
        path: Some(path),
        method: method.then_some(Method::GET),
        headers: vec![(HeaderName::from_static("a"), text()); headers],
        query: vec![("a".into(), text()); query],
    }
}

fn exact(path: &str) -> PathMatch {
    PathMatch::Exact(path.into())
}

fn prefix(path: &str) -> PathMatch {
    PathMatch::Prefix(path.into())
}

fn grpc(service: Option<&str>, method: Option<&str>) -> PathMatch {
    let text = |text: &str| TextMatch::Exact(text.into());
    PathMatch::Grpc {
        service: service.map(text),
        method: method.map(text),
    }
}

/// Each of the list is asked before each that comes after it.
fn assert_descending<O: Ord>(
    list: &[Option<RequestMatch>],
    precedence: impl Fn(Option<&RequestMatch>) -> O,
) {
    for (index, first) in list.iter().enumerate() {
        for second in &list[index + 1..] {
            let order = precedence(first.as_ref()).cmp(&precedence(second.as_ref()));
            assert_eq!(order, Ordering::Less, "{first:?} {second:?}");
        }
    }
}

/// "Exact" path, then the prefix with most characters, method, most headers, most query
/// parameters: each counts only where those before it are equal.
#[test]
fn the_order_of_http_matches() {
    let regex = PathMatch::Regex(Pattern::new("/a/b/c/d/.*").unwrap());
    assert_descending(
        &[
            Some(request(exact("/a/b"), (false, 0, 0))),
            Some(request(exact("/a"), (true, 16, 16))),
            Some(request(exact("/a"), (false, 0, 0))),
            Some(request(regex, (false, 0, 0))),
            Some(request(prefix("/a/b/c"), (false, 0, 0))),
            Some(request(prefix("/a"), (true, 2, 0))),
            Some(request(prefix("/a"), (true, 1, 5))),
            Some(request(prefix("/a"), (true, 0, 0))),
            Some(request(prefix("/a"), (false, 16, 16))),
            Some(request(prefix("/a"), (false, 2, 0))),
            Some(request(prefix("/a"), (false, 1, 1))),
            Some(request(prefix("/a"), (false, 1, 0))),
            Some(request(prefix("/a"), (false, 0, 2))),
            Some(request(prefix("/a"), (false, 0, 1))),
            None,
        ],
        http_precedence,
    );
}

#[test]
fn no_path_is_the_prefix_of_every_path() {
    let everything = request(prefix("/"), (false, 0, 0));
    let order = http_precedence(Some(&everything)).cmp(&http_precedence(None));
    assert_eq!(order, Ordering::Equal);
    let order = http_precedence(Some(&RequestMatch::default())).cmp(&http_precedence(None));
    assert_eq!(order, Ordering::Equal);
}

/// Most characters of the service, then of the method, then most headers.
#[test]
fn the_order_of_grpc_matches() {
    let regex = PathMatch::Grpc {
        service: Some(TextMatch::Regex(Pattern::new("shop[.].*").unwrap())),
        method: None,
    };
    assert_descending(
        &[
            Some(request(grpc(Some("shop.Carts"), None), (false, 0, 0))),
            Some(request(
                grpc(Some("shop.Cart"), Some("AddAll")),
                (false, 0, 0),
            )),
            Some(request(grpc(Some("shop.Cart"), Some("Add")), (false, 2, 0))),
            Some(request(grpc(Some("shop.Cart"), Some("Add")), (false, 1, 0))),
            Some(request(grpc(Some("shop.Cart"), None), (false, 16, 0))),
            Some(request(regex, (false, 0, 0))),
            Some(request(grpc(None, Some("Add")), (false, 0, 0))),
            Some(RequestMatch {
                path: None,
                ..request(exact("/"), (false, 1, 0))
            }),
            None,
        ],
        grpc_precedence,
    );
}
