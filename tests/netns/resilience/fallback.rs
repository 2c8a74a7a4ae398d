//! `fallback`: while a service fails, its latest good answer is better than none, to whom it was given.

use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::{Answer, Pod, ServiceHandle, eventually};

use super::{SOON, Shop, expect_metric, no_retries};
use crate::http::{ask, outcome};

fn policy(fallback: Value) -> Value {
    json!({
        "fallback": fallback,
        "retries": no_retries(),
        "circuitBreaker": {"consecutiveErrors": 3, "openFor": "300ms", "maxOpenFor": "300ms"},
    })
}

/// One service, another client on the first one's node, and the state of the application.
struct Stale {
    shop: Shop,
    /// Beside `far`, with an identity of its own.
    other: Pod,
    web: ServiceHandle,
}

impl Stale {
    fn new(fallback: Value) -> Self {
        let shop = Shop::of(1);
        let other = shop.mesh.pod("other", "n1").enrolled();
        let web = shop.service("web", policy(fallback));
        shop.mesh.start_agents();
        Self { shop, other, web }
    }

    /// `GET /path name:value …` from `far`.
    fn ask(&self, line: &str) -> Answer {
        ask(&self.shop.far, &self.web, line).send()
    }

    /// Answered well; from now on the application fails.
    #[track_caller]
    fn well_then_failing(&self, lines: &[&str]) -> Vec<Answer> {
        self.mend();
        let answers: Vec<_> = lines.iter().map(|line| self.ask(line)).collect();
        for (line, answer) in lines.iter().zip(&answers) {
            assert!(
                answer.status == 200 && !is_stale(answer),
                "{line}: {answer:?}"
            );
        }
        self.shop.order("answer status=503");
        answers
    }

    /// The application is well, and its breaker closed.
    #[track_caller]
    fn mend(&self) {
        self.shop.order("answer");
        let unstored = ask(
            &self.shop.far,
            &self.web,
            "GET /?set=cache-control:no-store&mend",
        );
        unstored.until("the application is well", |answer| answer.is_from("v1"));
    }
}

/// RFC 9211.
fn is_stale(answer: &Answer) -> bool {
    let status = answer.header("cache-status").unwrap_or_default();
    let is_marked = status == "weir; hit; fwd=stale";
    assert_eq!(is_marked, answer.header("age").is_some(), "{answer:?}");
    is_marked
}

#[test]
fn a_failing_service_is_answered_for() {
    let mut stale = Stale::new(json!({"staleIfError": "60s"}));
    let fresh = stale.well_then_failing(&["GET /cart?set=x-own:1&set=etag:a"]);
    // Failing, then open, then not there at all.
    for _ in 0..8 {
        let answer = stale.ask("GET /cart?set=x-own:1&set=etag:a");
        assert!(is_stale(&answer) && answer.status == 200, "{answer:?}");
        assert_eq!(answer.body, fresh[0].body);
        assert_eq!(answer.header("x-own"), Some("1"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let age: u64 = answer.header("age").unwrap_or_default().parse().unwrap();
        assert!(age <= 10, "{answer:?}");
    }
    drop(stale.shop.apps.remove(0));
    let answer = stale.ask("GET /cart?set=x-own:1&set=etag:a");
    assert!(is_stale(&answer), "{answer:?}");
    let h2 = ask(
        &stale.shop.far,
        &stale.web,
        "GET /cart?set=x-own:1&set=etag:a",
    );
    assert!(is_stale(&h2.h2().send()));
    // Only what was asked before, and only as it was asked.
    for line in ["GET /cart?other", "POST /cart?set=x-own:1&set=etag:a"] {
        let answer = stale.ask(line);
        assert!(
            answer.status >= 500 && !is_stale(&answer),
            "{line}: {answer:?}"
        );
    }
    let agent = stale.shop.mesh.agent_of(&stale.shop.far);
    expect_metric(&agent, "weir_stale_answers_total", &[], 10);
    // What is well is not answered for.
    stale.shop.apps.push(stale.shop.pods[0].http(8080));
    stale.mend();
    assert!(!is_stale(&stale.ask("GET /cart?set=x-own:1&set=etag:a")));
}

/// RFC 9111 §3: what may not be stored, or is somebody's own, is not kept.
#[test]
fn what_must_not_be_kept_is_not() {
    let stale = Stale::new(json!({"staleIfError": "60s"}));
    let cookie = "cookie:session=1";
    let token = "authorization:Bearer-1";
    let kept = [
        "GET /plain".to_owned(),
        "GET /fresh?set=cache-control:max-age=60".to_owned(),
        format!("GET /public?set=cache-control:public,max-age=60 {token}"),
        format!("GET /public-cookie?set=cache-control:public,max-age=60 {cookie}"),
    ];
    let not_kept = [
        "GET /no-store?set=cache-control:no-store".to_owned(),
        "GET /vary-all?set=vary:*".to_owned(),
        "GET /must?set=cache-control:max-age=0,must-revalidate".to_owned(),
        format!("GET /token {token}"),
        format!("GET /cookie {cookie}"),
        "POST /post".to_owned(),
        "GET /error?status=404".to_owned(),
    ];
    stale.mend();
    for line in kept.iter().chain(&not_kept) {
        assert!(stale.ask(line).status < 500, "{line}");
    }
    stale.shop.order("answer status=503");
    for line in &kept {
        assert!(is_stale(&stale.ask(line)), "{line}");
    }
    for line in &not_kept {
        let answer = stale.ask(line);
        assert!(
            answer.status == 503 && !is_stale(&answer),
            "{line}: {answer:?}"
        );
    }
    // Nor is one who shows who he is given what was anybody's.
    for header in [cookie, token] {
        let answer = stale.ask(&format!("GET /plain {header}"));
        assert!(!is_stale(&answer), "{header}: {answer:?}");
    }
}

#[test]
fn an_answer_is_kept_for_who_got_it() {
    let stale = Stale::new(json!({"staleIfError": "60s"}));
    stale.well_then_failing(&["GET /mine"]);
    let of_other = ask(&stale.other, &stale.web, "GET /mine").send();
    assert!(
        of_other.status == 503 && !is_stale(&of_other),
        "{of_other:?}"
    );
    assert!(is_stale(&stale.ask("GET /mine")));
    // Each variant is an answer of its own (RFC 9111 §4.1).
    let line = "GET /vary?set=vary:accept-language accept-language:";
    let (english, french, german) = (
        format!("{line}en"),
        format!("{line}fr"),
        format!("{line}de"),
    );
    let fresh = stale.well_then_failing(&[&english, &french]);
    let (first, second) = (stale.ask(&english), stale.ask(&french));
    assert!(
        is_stale(&first) && is_stale(&second),
        "{first:?} {second:?}"
    );
    assert_eq!(
        (&first.body, &second.body),
        (&fresh[0].body, &fresh[1].body)
    );
    assert_eq!(stale.ask(&german).status, 503);
}

/// RFC 5861 §4: an answer's own word counts where it is the shorter one.
#[test]
fn an_answer_is_not_kept_for_ever() {
    let stale = Stale::new(json!({"staleIfError": "2s"}));
    let own = "GET /own?set=cache-control:max-age=0,stale-if-error=1";
    let zero = "GET /zero?set=cache-control:max-age=0,stale-if-error=0";
    let policys = "GET /policys?set=cache-control:max-age=0";
    stale.well_then_failing(&[own, zero, policys]);
    assert!(is_stale(&stale.ask(own)));
    assert!(is_stale(&stale.ask(policys)));
    assert_eq!(stale.ask(zero).status, 503);
    let gone = |line: &str| {
        eventually(line, SOON, || {
            let answer = stale.ask(line);
            let is_gone = answer.status == 503;
            is_gone.then_some(()).ok_or_else(|| format!("{answer:?}"))
        });
    };
    gone(own);
    gone(policys);
}

#[test]
fn a_changed_policy_drops_what_was_kept() {
    let stale = Stale::new(json!({"staleIfError": "60s"}));
    stale.well_then_failing(&["GET /cart"]);
    assert!(is_stale(&stale.ask("GET /cart")));
    stale
        .shop
        .policy("web", &policy(json!({"staleIfError": "59s"})));
    let cart = ask(&stale.shop.far, &stale.web, "GET /cart");
    cart.until("it is dropped", |answer| answer.status == 503);
    // And without one nothing is kept.
    stale.shop.policy("web", &json!({"retries": no_retries()}));
    stale.shop.order("answer");
    cart.until("it is well", |answer| answer.is_from("v1"));
    stale.shop.order("answer status=503");
    let answer = stale.ask("GET /cart");
    assert_eq!(outcome(&answer), "503 of the application");
}

#[test]
fn what_is_kept_has_a_bound() {
    let stale = Stale::new(json!({"staleIfError": "60s", "maxBytes": "64Ki"}));
    let (large, small) = ("GET /large?bytes=70000", "GET /small?bytes=1000");
    stale.well_then_failing(&[large, small]);
    assert_eq!(stale.ask(large).status, 503);
    assert!(is_stale(&stale.ask(small)));
    // Of many the latest are kept.
    let lines: Vec<_> = (0..30)
        .map(|number| format!("GET /{number}?bytes=8000"))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    stale.well_then_failing(&lines);
    let kept: Vec<_> = lines
        .iter()
        .map(|line| is_stale(&stale.ask(line)))
        .collect();
    assert!(kept[29], "{kept:?}");
    let count = kept.iter().filter(|&&kept| kept).count();
    assert!((4..=8).contains(&count), "{kept:?}");
}

/// `methods`: what is not named is not kept.
#[test]
fn methods_are_those_that_the_policy_names() {
    let stale = Stale::new(json!({"staleIfError": "60s", "methods": ["HEAD"]}));
    stale.well_then_failing(&["GET /both", "HEAD /both"]);
    assert_eq!(stale.ask("GET /both").status, 503);
    let head = stale.ask("HEAD /both");
    assert!(
        is_stale(&head) && head.took < Duration::from_secs(1),
        "{head:?}"
    );
}
