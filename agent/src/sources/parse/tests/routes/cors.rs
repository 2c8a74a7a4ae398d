use super::filters::{assert_filter_errors, http};
use crate::model::route::{Cors, Origin};

#[test]
fn cors() {
    let parsed = |spec: &str| http(&format!("{{type: CORS, cors: {spec}}}")).cors.unwrap();
    assert_eq!(parsed("{}"), Cors::default());
    assert_eq!(
        parsed(
            "{allowOrigins: ['https://A.example', 'http://a:80', 'http://a:8080', 'https://*.example:8443', 'https://*'],
              allowCredentials: true, allowMethods: [GET, PUT], allowHeaders: [X-A],
              exposeHeaders: ['*', x-b], maxAge: 600}"
        ),
        Cors {
            allow_origins: vec![
                Origin::Exact("https://a.example".into()),
                Origin::Exact("http://a".into()),
                Origin::Exact("http://a:8080".into()),
                Origin::Wildcard {
                    before: "https://".into(),
                    after: ".example:8443".into(),
                },
                Origin::Wildcard {
                    before: "https://".into(),
                    after: "".into(),
                },
            ],
            allow_credentials: true,
            allow_methods: vec!["GET".into(), "PUT".into()],
            allow_headers: vec!["X-A".into()],
            expose_headers: vec!["*".into(), "x-b".into()],
            max_age: Some(600),
        }
    );
    assert_eq!(parsed("{allowOrigins: ['*']}").allow_origins, [Origin::Any]);
    for origin in [
        "a.example",
        "ftp://a",
        "https://",
        "https://a/",
        "https://a:0",
        "https://a:99999",
        "https://a:+1",
        "https://a:",
        "https://a.*",
        "https://*a",
        "https://a b",
        "https://*.",
        "null",
    ] {
        let filter = format!("{{type: CORS, cors: {{allowOrigins: ['https://ok', '{origin}']}}}}");
        assert_filter_errors("HTTPRoute", &[(&filter, "cors.allowOrigins[1]: ")]);
    }
    for (spec, expected) in [
        (
            "allowOrigins: ['*', 'https://a']",
            "allowOrigins: cannot be together with",
        ),
        (
            "allowOrigins: ['https://a', 'https://a']",
            "allowOrigins[1]: \"https://a\" is there twice",
        ),
        (
            "allowMethods: [get]",
            "allowMethods[0]: \"get\" is not one of",
        ),
        (
            "allowMethods: [GET, '*']",
            "allowMethods: cannot be together with",
        ),
        ("allowHeaders: ['a b']", "allowHeaders[0]: "),
        (
            "allowHeaders: ['*', a]",
            "allowHeaders: cannot be together with",
        ),
        (
            "exposeHeaders: [a, a]",
            "exposeHeaders[1]: \"a\" is there twice",
        ),
        ("maxAge: 0", "maxAge: 0 is not a whole number from 1"),
    ] {
        let filter = format!("{{type: CORS, cors: {{{spec}}}}}");
        assert_filter_errors("HTTPRoute", &[(&filter, &format!("cors.{expected}"))]);
    }
}
