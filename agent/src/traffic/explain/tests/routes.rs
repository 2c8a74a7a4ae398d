//! What routes do, reason by reason.

use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::*;
use crate::{
    model::{
        fold::tests::build::{backend_ref, route, rule},
        route::{
            Cors, HeaderModifier, Mirror, Origin, PathMatch, PathModifier, Redirect, RequestMatch,
            Rewrite, Route, RouteKind, Rule, SessionBy, SessionPersistence, TextMatch,
        },
        service::Endpoint,
    },
    traffic::affinity::{self, Token},
};

fn below(prefix: &str) -> RequestMatch {
    RequestMatch {
        path: Some(PathMatch::Prefix(prefix.into())),
        ..RequestMatch::default()
    }
}

fn canary() -> RequestMatch {
    RequestMatch {
        headers: vec![(
            HeaderName::from_static("x-canary"),
            TextMatch::Exact("yes".into()),
        )],
        ..RequestMatch::default()
    }
}

fn http(name: &str, rules: impl IntoIterator<Item = Rule>) -> Route {
    Route {
        rules: rules.into_iter().collect(),
        ..route(RouteKind::Http, name, "shop/web")
    }
}

fn when(wanted: RequestMatch, rule: Rule) -> Rule {
    Rule {
        matches: vec![wanted],
        ..rule
    }
}

/// Shares of each outcome: who gets it, or the reason.
fn shares(explanation: &Explanation) -> Vec<(f64, String)> {
    let told = explanation.outcomes.iter().map(|share| {
        let what = match &share.outcome {
            Outcome::Sent { to } => to.clone(),
            Outcome::Refused { reason, .. } => (*reason).to_owned(),
            other => format!("{other:?}"),
        };
        (share.percent, what)
    });
    told.collect()
}

#[test]
fn each_match_says_why_it_was_not_taken() {
    let world = || {
        World::new().with(http(
            "shop/web",
            [
                when(below("/cart/new"), rule(["shop/v1"])),
                Rule {
                    name: Some("canary".into()),
                    ..when(canary(), rule(["shop/v2"]))
                },
                when(below("/cart"), rule(["shop/v2"])),
                when(below("/"), rule(["shop/v1"])),
            ],
        ))
    };
    let told = world().get("http://web/cart/1");
    assert_eq!(
        asked(&told),
        [
            (
                "HTTPRoute shop/web",
                "0",
                Verdict::Mismatch,
                Some("path /cart/1 is not below /cart/new")
            ),
            ("HTTPRoute shop/web", "2", Verdict::Taken, None),
            (
                "HTTPRoute shop/web",
                "canary",
                Verdict::Mismatch,
                Some("header x-canary is absent")
            ),
            (
                "HTTPRoute shop/web",
                "3",
                Verdict::Later,
                Some("matches as well, but comes after the one that is taken")
            ),
        ]
    );
    assert_eq!(sent_to(&told), "shop/v2:80");
    let text = told.to_string();
    for part in [
        "TAKEN  HTTPRoute shop/web rule 2 (path below /cart)\n",
        "no     HTTPRoute shop/web rule canary (header x-canary = \"yes\"): header x-canary is absent\n",
        "later  HTTPRoute shop/web rule 3 (path below /)",
        "producer routes, for clients of every namespace",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    // The path is matched as it is normalized.
    let told = world().get("http://web//x/../%63art/new");
    assert_eq!(asked(&told)[0].2, Verdict::Taken);
}

#[test]
fn nothing_that_matches_is_404() {
    let told = World::new()
        .with(http("shop/web", [when(below("/cart"), rule(["shop/v1"]))]))
        .get("http://web/");
    assert_eq!(
        refused(&told),
        (404, "no_route", "no route of shop/web matches the request")
    );
    assert_eq!(asked(&told).len(), 1);
}

#[test]
fn a_path_that_is_none_is_400() {
    let told = World::new()
        .with(http("shop/web", [rule(["shop/v1"])]))
        .get("http://web/%zz");
    assert_eq!(refused(&told).0, 400);
}

#[test]
fn weights_are_shares_and_each_failure_has_its_own() {
    let mut split = rule([
        "shop/v1",
        "shop/empty",
        "shop/nobody",
        "other/web",
        "shop/v2",
    ]);
    for (backend, weight) in split.backends.iter_mut().zip([5, 2, 2, 1, 0]) {
        backend.weight = weight;
    }
    let told = World::new()
        .with(service("other/web", "10.96.0.60"))
        .with(http("shop/web", [split]))
        .get("http://web/");
    assert_eq!(
        shares(&told),
        [
            (50.0, "shop/v1:80".to_owned()),
            (20.0, "no_healthy_endpoint".to_owned()),
            (20.0, "backend_not_found".to_owned()),
            (10.0, "backend_not_found".to_owned()),
        ]
    );
    let why: Vec<_> = told.backends.iter().map(|b| b.why_not.as_deref()).collect();
    assert_eq!(why[1], Some("service shop/empty has no endpoint"));
    assert_eq!(why[2], Some("there is no service shop/nobody"));
    assert!(why[3].unwrap().contains("ReferenceGrant"), "{why:?}");
    assert_eq!(
        (told.backends[4].weight, told.backends[4].percent),
        (Some(0), 0.0)
    );
    assert!(
        told.to_string().contains("20 %: 503 no_healthy_endpoint"),
        "{told}"
    );
}

#[test]
fn a_rule_without_a_backend_is_500() {
    let mut nothing = rule(["shop/v1"]);
    nothing.backends[0].weight = 0;
    for rule in [Rule::default(), nothing] {
        let told = World::new()
            .with(http("shop/web", [rule]))
            .get("http://web/");
        assert_eq!(refused(&told).0, 500);
    }
}

#[test]
fn redirects_and_preflights_are_answered() {
    let mut away = rule(["shop/v1"]);
    away.filters.redirect = Some(Redirect {
        scheme: None,
        hostname: Some("shop.example".into()),
        path: Some(PathModifier::Prefix("/new".into())),
        port: None,
        status: StatusCode::FOUND,
    });
    let told = World::new()
        .with(http("shop/web", [when(below("/old"), away)]))
        .get("http://web/old/a?b");
    let Outcome::Answered {
        status, location, ..
    } = outcome(&told)
    else {
        panic!("{told}");
    };
    assert_eq!(*status, 302);
    assert_eq!(location.as_deref(), Some("http://shop.example/new/a?b"));
    assert!(told.backends.is_empty());

    let mut shared = rule(["shop/v1"]);
    shared.filters.cors = Some(Cors {
        allow_origins: vec![Origin::Exact("https://a.example".into())],
        ..Cors::default()
    });
    let world = || World::new().with(http("shop/web", [shared.clone()]));
    let headers = [
        "Origin: https://a.example",
        "Access-Control-Request-Method: PUT",
    ];
    let told = world().ask("shop/cart-1", "http://web/", "OPTIONS", &headers);
    assert!(
        matches!(outcome(&told), Outcome::Answered { status: 200, .. }),
        "{told}"
    );
    assert_eq!(told.filters, ["CORS for https://a.example"]);
    assert_eq!(
        sent_to(&world().ask("shop/cart-1", "http://web/", "OPTIONS", &headers[..1])),
        "shop/v1:80"
    );
}

#[test]
fn filters_are_told_of_the_rule_and_of_each_backend() {
    let header = |name: &'static str, value: &'static str| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    let mut full = when(below("/a"), rule(["shop/v1", "shop/v2"]));
    full.timeouts.request = Some(std::time::Duration::from_secs(2));
    full.filters.request_headers = Some(HeaderModifier {
        set: vec![header("x-set", "1")],
        add: vec![header("x-add", "2")],
        remove: vec![HeaderName::from_static("x-gone")],
    });
    full.filters.rewrite = Some(Rewrite {
        hostname: None,
        path: Some(PathModifier::Prefix("/b".into())),
    });
    full.filters.mirrors = vec![Mirror {
        backend: backend_ref("shop/empty"),
        numerator: 1,
        denominator: 10,
    }];
    full.backends[1].filters.rewrite = Some(Rewrite {
        hostname: Some("v2.example".into()),
        path: None,
    });
    full.backends[1].filters.mirrors = vec![Mirror {
        backend: backend_ref("other/web"),
        numerator: 1,
        denominator: 1,
    }];
    let told = World::new()
        .with(http("shop/web", [full]))
        .get("http://web/a/x?y");
    assert_eq!(
        told.filters,
        [
            "timeouts.request 2000ms",
            "rewrite to prefix /b",
            "request header x-gone is removed",
            "request header x-set is set to \"1\"",
            "request header x-add is added: \"2\"",
            "mirror to shop/empty:80: 1 of 10 requests",
        ]
    );
    let [v1, v2] = &told.backends[..] else {
        panic!("{told}");
    };
    assert_eq!(v1.rewritten.as_deref(), Some("/b/x?y of web"));
    assert_eq!(v2.rewritten.as_deref(), Some("/b/x?y of v2.example"));
    assert_eq!(v2.filters[0], "rewrite to host v2.example");
    assert!(
        v2.filters[1].starts_with("mirror to other/web:80: none, since"),
        "{v2:?}"
    );
}

#[test]
fn a_session_leads_to_its_backend_and_endpoint() {
    let session = SessionPersistence {
        by: SessionBy::Header,
        name: "x-session".into(),
        absolute_timeout: None,
        idle_timeout: None,
    };
    let kept = Rule {
        session: Some(session.clone()),
        ..rule(["shop/v1", "shop/web"])
    };
    let endpoint = Endpoint {
        address: [10, 0, 1, 2].into(),
        port: 8080,
    };
    let web = crate::model::names::ObjectName::new("shop", "web");
    let token = Token::new(&web, 80, endpoint, NOW);
    let (name, value) = affinity::write(&session, &token, NOW, false).unwrap();
    let line = format!("{name}: {}", value.to_str().unwrap());
    let told = World::new().with(http("shop/web", [kept.clone()]));
    let told = told.ask("shop/cart-1", "http://web/", "GET", &[&line]);
    assert_eq!(sent_to(&told), "shop/web:80");
    let first = &told.backends[1].endpoints[0];
    assert_eq!((&*first.address, first.session), ("10.0.1.2:8080", true));
    assert_eq!(told.backends[1].endpoints.len(), 3);
    let told = World::new()
        .with(http("shop/web", [kept]))
        .get("http://web/");
    assert_eq!(told.outcomes.len(), 2);
}

#[test]
fn consumer_routes_are_for_their_namespace() {
    let consumer = Route {
        rules: vec![rule(["shop/v2"])],
        ..route(RouteKind::Http, "other/web", "shop/web")
    };
    let grant = crate::model::fold::tests::build::grant("shop/g", (RouteKind::Http, "other"), None);
    let world = || {
        World::new()
            .with(http("shop/web", [rule(["shop/v1"])]))
            .with(consumer.clone())
            .with(grant.clone())
    };
    assert_eq!(sent_to(&world().get("http://web/")), "shop/v1:80");
    let told = world().ask("other", "http://web.shop/", "GET", &[]);
    assert_eq!(sent_to(&told), "shop/v2:80");
    let table = &told.routing.as_ref().unwrap().table;
    assert!(
        table.starts_with("consumer routes of namespace other"),
        "{table}"
    );
}

#[test]
fn grpc_routes_are_for_grpc_alone() {
    let calls = Route {
        rules: vec![rule(["shop/v2"])],
        ..route(RouteKind::Grpc, "shop/calls", "shop/web")
    };
    let world = || World::new().with(calls.clone());
    let told = world().ask(
        "shop/cart-1",
        "http://web/pkg.Echo/Say",
        "POST",
        &["Content-Type: application/grpc"],
    );
    assert_eq!(sent_to(&told), "shop/v2:80");
    let told = world().get("http://web/pkg.Echo/Say");
    assert_eq!(refused(&told).0, 404);
    assert!(asked(&told)[0].3.unwrap().contains("no gRPC"));
    let failing = World::new().with(Route {
        rules: vec![rule(["shop/empty"])],
        ..calls.clone()
    });
    let told = failing.ask(
        "shop/cart-1",
        "http://web/pkg.Echo/Say",
        "POST",
        &["Content-Type: application/grpc"],
    );
    assert!(
        matches!(
            outcome(&told),
            Outcome::Refused {
                status: 200,
                grpc_status: Some(14),
                ..
            }
        ),
        "{told}"
    );
}

#[test]
fn connections_follow_tls_and_tcp_routes() {
    let tls = Route {
        hostnames: vec!["secure.example".into()],
        rules: vec![rule(["shop/v1"])],
        ..route(RouteKind::Tls, "shop/tls", "shop/web")
    };
    let tcp = Route {
        rules: vec![rule(["shop/v2"])],
        ..route(RouteKind::Tcp, "shop/tcp", "shop/web")
    };
    let world = || World::new().with(tls.clone()).with(tcp.clone());
    let told = world().get("https://web:80");
    let (reason, why) = reset(&told);
    assert_eq!((reason, why), ("no_route", "no TLSRoute is for web"));
    assert_eq!(asked(&told)[0].3, Some("server name is web"));
    assert_eq!(sent_to(&world().get("tcp://web:80")), "shop/v2:80");
    assert_eq!(
        sent_to(&World::new().with(tcp.clone()).get("https://web:80")),
        "shop/v2:80"
    );
    let any = Route {
        hostnames: Vec::new(),
        ..tls
    };
    let told = World::new().with(any).get("https://web:80");
    assert_eq!(sent_to(&told), "shop/v1:80");
    assert_eq!(asked(&told)[0].2, Verdict::Taken);
}

#[test]
fn fields_of_one_hop_are_not_matched() {
    let world = || World::new().with(http("shop/web", [when(canary(), rule(["shop/v1"]))]));
    let told = world().ask("shop/cart-1", "http://web/", "GET", &["X-Canary: yes"]);
    assert_eq!(sent_to(&told), "shop/v1:80");
    let headers = ["X-Canary: yes", "Connection: x-canary"];
    let told = world().ask("shop/cart-1", "http://web/", "GET", &headers);
    assert_eq!(refused(&told).0, 404);
}

#[test]
fn json_has_its_kinds() {
    let told = World::new().with(http("shop/web", [when(below("/a"), rule(["shop/v1"]))]));
    let told = told.ask("shop/cart-1", "http://web/b", Method::GET.as_str(), &[]);
    let json = serde_json::to_value(&told).unwrap();
    assert_eq!(json["routing"]["entries"][0]["verdict"], "mismatch");
    assert_eq!(
        json["routing"]["entries"][0]["whyNot"],
        "path /b is not below /a"
    );
    assert_eq!(json["outcomes"][0]["kind"], "refused");
    assert_eq!(json["outcomes"][0]["reason"], "no_route");
    assert_eq!(json["outcomes"][0]["percent"], 100.0);
}
