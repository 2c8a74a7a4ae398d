use proptest::prelude::*;

use super::{encode, pairs};

fn read(query: &str) -> Vec<(String, String)> {
    pairs(query).collect()
}

#[test]
fn reads_what_browsers_and_people_write() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        read("a=b+c&d=%2F%zz&e&=f&&g=h=i"),
        [
            pair("a", "b c"),
            pair("d", "/%zz"),
            pair("e", ""),
            pair("", "f"),
            pair("g", "h=i"),
        ]
    );
    assert_eq!(read(""), []);
    assert_eq!(read("a=%ff"), [pair("a", "\u{fffd}")]);
}

proptest! {
    #[test]
    fn reads_what_it_writes(written in prop::collection::vec((".{1,8}", ".*"), 0..4)) {
        let borrowed = written.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let query = encode(borrowed);
        prop_assert!(query.is_ascii() && !query.contains([' ', '#', '/', '?']));
        prop_assert_eq!(read(&query), written);
    }
}
