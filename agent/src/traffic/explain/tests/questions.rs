//! What can be asked.

use super::*;
use crate::traffic::explain::{HEADERS_MAX, QuestionError, Speaks};

fn ask(from: &str, to: &str, method: &str, headers: &[&str]) -> Result<Question, QuestionError> {
    let headers: Vec<String> = headers.iter().map(ToString::to_string).collect();
    Question::new(from, to, Some(method), &headers, NOW)
}

#[test]
fn urls_as_people_write_them() {
    for (url, speaks, host, port, path) in [
        ("web", Speaks::Http, "web", 80, "/"),
        ("web:8080/a?b=c", Speaks::Http, "web", 8080, "/a?b=c"),
        ("http://Web.Shop./a#b", Speaks::Http, "web.shop", 80, "/a"),
        ("http://[fd00::1]:81/", Speaks::Http, "fd00::1", 81, "/"),
        ("https://web", Speaks::Tls, "web", 443, "/"),
        ("tcp://db:6379", Speaks::Bytes, "db", 6379, "/"),
    ] {
        let to = ask("shop", url, "GET", &[]).unwrap().to;
        let path_and_query = to.path_and_query.as_str();
        assert_eq!(
            (to.speaks, &*to.host, to.port, path_and_query),
            (speaks, host, port, path),
            "{url}"
        );
    }
}

#[test]
fn what_cannot_be_understood_is_said() {
    let wrong = |from, to, method, headers: &[&str]| ask(from, to, method, headers).unwrap_err();
    use QuestionError as E;
    assert!(matches!(wrong("", "web", "GET", &[]), E::Client(_)));
    assert!(matches!(wrong("a/b/c", "web", "GET", &[]), E::Client(_)));
    assert!(matches!(wrong("shop/", "web", "GET", &[]), E::Client(_)));
    assert!(matches!(
        wrong("shop", "ftp://web", "GET", &[]),
        E::Scheme(_)
    ));
    assert!(matches!(wrong("shop", "tcp://web", "GET", &[]), E::NoPort));
    assert!(matches!(
        wrong("shop", "http://u@web", "GET", &[]),
        E::NoHost(_)
    ));
    assert!(matches!(
        wrong("shop", "http:// x", "GET", &[]),
        E::Url { .. }
    ));
    assert!(matches!(wrong("shop", "", "GET", &[]), E::Url { .. }));
    assert!(matches!(wrong("shop", "web", "G T", &[]), E::Method(_)));
    assert!(matches!(wrong("shop", "web", "GET", &["x"]), E::Header(_)));
    assert!(matches!(
        wrong("shop", "web", "GET", &["x y: z"]),
        E::Header(_)
    ));
    assert!(matches!(
        wrong("shop", "web", "GET", &["x: a\nb"]),
        E::Header(_)
    ));
    let many = ["a: b"; HEADERS_MAX + 1];
    assert!(matches!(
        wrong("shop", "web", "GET", &many),
        E::TooManyHeaders
    ));
}

#[test]
fn host_is_the_clients_word() {
    let question = ask("shop", "http://web:8080/", "GET", &[]).unwrap();
    assert_eq!(question.authority(), "web:8080");
    let question = ask("shop", "http://web:8080/", "GET", &["Host: shop.example"]).unwrap();
    assert_eq!(question.authority(), "shop.example");
}
