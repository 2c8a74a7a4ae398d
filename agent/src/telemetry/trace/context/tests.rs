use proptest::prelude::*;

use super::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| {
        let name: HeaderName = name.parse().unwrap();
        (name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
    });
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name, value);
    }
    headers
}

fn get<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

#[test]
fn traceparent_is_read_strictly() {
    let read = |value: &str| extract(&headers(&[("traceparent", value)]));
    let context = read(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
    assert_eq!(context.trace_id.to_string(), TRACE);
    assert_eq!(context.span_id.to_string(), SPAN);
    assert_eq!(context.sampled, Some(true));
    assert_eq!(
        read(&format!("00-{TRACE}-{SPAN}-00")).unwrap().sampled,
        Some(false)
    );
    assert_eq!(
        read(&format!("cc-{TRACE}-{SPAN}-03-later"))
            .unwrap()
            .sampled,
        Some(true),
        "of a later version what is known is read"
    );
    for wrong in [
        String::new(),
        format!("00-{TRACE}-{SPAN}"),
        format!("00-{TRACE}-{SPAN}-01-more"),
        format!("cc-{TRACE}-{SPAN}-01.more"),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        format!("00-{}-{SPAN}-01", "0".repeat(32)),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("00-{TRACE}-{SPAN}-0x"),
        format!("00-{TRACE}-{SPAN}-+1"),
        format!("00_{TRACE}_{SPAN}_01"),
        format!("0é-{TRACE}-{SPAN}-0"),
    ] {
        assert_eq!(read(&wrong), None, "{wrong:?}");
    }
    let value = format!("00-{TRACE}-{SPAN}-01");
    let twice = headers(&[("traceparent", &value), ("traceparent", &value)]);
    assert_eq!(extract(&twice), None, "two are none");
}

#[test]
fn b3_is_read_in_both_shapes() {
    let single = |value: &str| extract(&headers(&[("b3", value)]));
    let sampled = |value: &str| single(value).map(|context| context.sampled);
    let ids = format!("{TRACE}-{SPAN}");
    assert_eq!(sampled(&ids), Some(None));
    assert_eq!(sampled(&format!("{ids}-1")), Some(Some(true)));
    assert_eq!(sampled(&format!("{ids}-0")), Some(Some(false)));
    assert_eq!(sampled(&format!("{ids}-d-{SPAN}")), Some(Some(true)));
    assert_eq!(
        sampled(&format!("{SPAN}-{SPAN}-1")),
        Some(Some(true)),
        "64 bits"
    );
    for wrong in [
        "0",
        "1",
        "a-b-1",
        &format!("{ids}-2"),
        &format!("{ids}-1-x"),
        &format!("{ids}-1-{SPAN}-1"),
    ] {
        assert_eq!(single(wrong), None, "{wrong}");
    }
    assert_eq!(decision(&headers(&[("b3", "0")])), Some(false));
    assert_eq!(decision(&headers(&[("x-b3-sampled", "1")])), Some(true));
    assert_eq!(decision(&headers(&[("b3", "maybe")])), None);

    let multi = extract(&headers(&[
        ("x-b3-traceid", &TRACE.to_uppercase()),
        ("x-b3-spanid", SPAN),
        ("x-b3-sampled", "0"),
    ]))
    .unwrap();
    assert_eq!(
        (multi.trace_id.to_string().as_str(), multi.sampled),
        (TRACE, Some(false))
    );
    let debug = extract(&headers(&[
        ("x-b3-traceid", TRACE),
        ("x-b3-spanid", SPAN),
        ("x-b3-flags", "1"),
    ]));
    assert_eq!(debug.unwrap().sampled, Some(true));
}

#[test]
fn a_child_goes_on_in_the_shape_that_its_parent_came_in() {
    let child = |pairs: &[(&str, &str)]| {
        let mut headers = headers(pairs);
        let mut context = extract(&headers).unwrap().child(|| 0x42);
        context.sampled = Some(true);
        context.inject(&mut headers);
        headers
    };
    let own = "0000000000000042";
    let traceparent = format!("00-{TRACE}-{SPAN}-03");
    let w3c = child(&[("traceparent", &traceparent), ("tracestate", "a=1,b=2")]);
    assert_eq!(get(&w3c, "traceparent"), format!("00-{TRACE}-{own}-03"));
    assert_eq!(get(&w3c, "tracestate"), "a=1,b=2");
    assert!(!w3c.contains_key("b3"));

    let single = child(&[("b3", &format!("{TRACE}-{SPAN}"))]);
    assert_eq!(get(&single, "b3"), format!("{TRACE}-{own}-1-{SPAN}"));
    assert!(!single.contains_key("traceparent"));
    let debug = child(&[("b3", &format!("{SPAN}-{SPAN}-d"))]);
    assert_eq!(get(&debug, "b3"), format!("{SPAN}-{own}-d-{SPAN}"));

    let multi = child(&[("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)]);
    assert_eq!(get(&multi, "x-b3-traceid"), TRACE);
    assert_eq!(get(&multi, "x-b3-spanid"), own);
    assert_eq!(get(&multi, "x-b3-parentspanid"), SPAN);
    assert_eq!(get(&multi, "x-b3-sampled"), "1");

    let both = child(&[
        ("traceparent", &traceparent),
        ("b3", &format!("{TRACE}-{SPAN}-1")),
    ]);
    assert_eq!(get(&both, "traceparent"), format!("00-{TRACE}-{own}-03"));
    assert_eq!(get(&both, "b3"), format!("{TRACE}-{own}-1-{SPAN}"));
}

#[test]
fn a_trace_that_begins_here_goes_on_as_w3c() {
    let mut numbers = 1..;
    let mut context = TraceContext::begin(|| numbers.next().unwrap());
    let mut headers = headers(&[("traceparent", "broken"), ("tracestate", "of=nobody")]);
    context.sampled = Some(false);
    context.inject(&mut headers);
    let expected = "00-00000000000000010000000000000002-0000000000000003-00";
    assert_eq!(get(&headers, "traceparent"), expected);
    assert!(!headers.contains_key("tracestate"));
    context.sampled = Some(true);
    context.inject(&mut headers);
    assert!(get(&headers, "traceparent").ends_with("-01"));
    let zeros = TraceContext::begin(|| 0);
    assert_ne!(
        (zeros.trace_id.to_bytes(), zeros.span_id.to_bytes()),
        ([0; 16], [0; 8])
    );
}

proptest! {
    #[test]
    fn whatever_comes_is_read_without_harm(
        name in prop::sample::select(vec!["traceparent", "b3", "x-b3-traceid", "x-b3-sampled"]),
        value in "[0-9a-f-]{0,60}|[ -~]{0,60}",
    ) {
        let headers = headers(&[(name, &value), ("x-b3-spanid", SPAN)]);
        if let Some(context) = extract(&headers) {
            let mut onwards = headers.clone();
            context.inject(&mut onwards);
            let again = extract(&onwards).unwrap();
            prop_assert_eq!(again.trace_id, context.trace_id);
            prop_assert_eq!(again.span_id, context.span_id);
        }
        let _ = decision(&headers);
    }
}
