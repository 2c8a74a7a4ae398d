use std::collections::BTreeSet;

use super::*;

#[test]
fn the_lists_are_complete_and_their_names_are_labels() {
    for (index, reason) in Reason::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, index, "{reason}");
        assert!(
            reason
                .as_str()
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b == b'_')
        );
    }
    for (index, flags) in ResponseFlags::ALL.iter().enumerate() {
        assert_eq!(*flags as usize, index, "{}", flags.as_str());
    }
    let names: BTreeSet<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
    assert_eq!(names.len(), Reason::ALL.len());
}

#[test]
fn only_a_good_end_has_no_flag() {
    for reason in Reason::ALL {
        assert_eq!(reason.response_flags() == "-", reason.is_ok(), "{reason}");
    }
}
