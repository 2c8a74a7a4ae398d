use super::filters::{assert_filter_errors, of_kind};
use crate::model::route::HeaderModifier;

fn pairs(modifier: &HeaderModifier) -> (Vec<String>, Vec<String>, Vec<String>) {
    let show = |list: &[(http::HeaderName, http::HeaderValue)]| {
        list.iter()
            .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
            .collect()
    };
    let remove = modifier.remove.iter().map(ToString::to_string).collect();
    (show(&modifier.set), show(&modifier.add), remove)
}

#[test]
fn header_modifiers() {
    for kind in ["HTTPRoute", "GRPCRoute"] {
        let filters = of_kind(
            kind,
            "{type: RequestHeaderModifier, requestHeaderModifier: {
                set: [{name: X-A, value: 'one, two'}], add: [{name: x-b, value: b}], remove: [X-C, x-d]}},
             {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [x-a]}}",
        );
        let text = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            pairs(&filters.request_headers.unwrap()),
            (
                text(&["x-a=one, two"]),
                text(&["x-b=b"]),
                text(&["x-c", "x-d"])
            )
        );
        assert_eq!(
            pairs(&filters.response_headers.unwrap()),
            (vec![], vec![], text(&["x-a"]))
        );
        let modifier =
            |spec: &str| format!("{{type: RequestHeaderModifier, requestHeaderModifier: {spec}}}");
        let seventeen: Vec<String> = (0..17).map(|i| format!("x-{i}")).collect();
        let seventeen = format!("{{remove: [{}]}}", seventeen.join(", "));
        for (spec, expected) in [
            (
                "{set: [{name: 'a b', value: a}]}",
                "requestHeaderModifier.set[0].name: \"a b\" is not the name of an HTTP header",
            ),
            (
                "{add: [{name: a, value: \"a\\nb\"}]}",
                "requestHeaderModifier.add[0].value: \"a\\nb\" is not the value of an HTTP header",
            ),
            (
                "{set: [{name: a, value: ''}]}",
                "requestHeaderModifier.set[0].value: is required",
            ),
            (
                "{set: [{name: a, value: a}, {name: A, value: b}]}",
                "requestHeaderModifier.set[1].name: \"A\" is there twice",
            ),
            (
                "{set: [{name: a, value: a}], add: [{name: a, value: b}]}",
                "requestHeaderModifier.add[0].name: \"a\" is there twice",
            ),
            (
                "{add: [{name: a, value: b}], remove: [b, A]}",
                "requestHeaderModifier.remove[1]: \"A\" is there twice",
            ),
            ("{remove: ['']}", "requestHeaderModifier.remove[0]: "),
            (&seventeen, "requestHeaderModifier.remove: has more than 16"),
            ("{del: []}", "requestHeaderModifier.del: unknown field"),
        ] {
            assert_filter_errors(kind, &[(&modifier(spec), expected)]);
        }
    }
}
