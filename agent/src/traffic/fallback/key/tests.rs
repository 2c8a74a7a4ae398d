use http::HeaderName;

use super::Variant;
use crate::traffic::testing::headers;

#[test]
fn a_variant_is_of_requests_with_the_same_values() {
    let vary = [
        HeaderName::from_static("accept"),
        HeaderName::from_static("origin"),
    ];
    let variant = Variant::of(&vary, &headers(&[("accept", "a, b"), ("x", "1")]));
    let is_of = |lines: &[(&str, &str)]| variant.is_of(&headers(lines));
    assert!(is_of(&[("accept", "a, b")]));
    assert!(is_of(&[("accept", "a"), ("accept", "b"), ("x", "2")]));
    assert!(!is_of(&[("accept", "b, a")]));
    assert!(!is_of(&[]));
    assert!(!is_of(&[("accept", "a, b"), ("origin", "")]));
    assert!(Variant::default().is_of(&headers(&[("accept", "c")])));
}
