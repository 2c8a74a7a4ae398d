use super::*;

#[test]
fn a_share_takes_its_part() {
    let taken = |percent| {
        let share = Share::of_percent(percent).unwrap();
        (0..1_000_000).filter(|random| share.takes(*random)).count()
    };
    assert_eq!(taken(0.0), 0);
    assert_eq!(taken(0.5), 5_000);
    assert_eq!(taken(10.0), 100_000);
    assert_eq!(taken(100.0), 1_000_000);
    for percent in [-0.1, 100.1, f64::NAN, f64::INFINITY] {
        assert_eq!(Share::of_percent(percent), None, "{percent}");
    }
}

#[test]
fn fields_are_found_by_their_names() {
    for field in AccessLogField::ALL {
        assert_eq!(AccessLogField::of_name(field.as_str()), Some(*field));
    }
    assert_eq!(AccessLogField::of_name("password"), None);
    let two = [AccessLogField::Path, AccessLogField::Time];
    let set: AccessLogFields = two.into_iter().collect();
    assert_eq!(
        set.iter().collect::<Vec<_>>(),
        [AccessLogField::Time, AccessLogField::Path]
    );
    assert!(!set.is_all() && AccessLogFields::default().is_all());
}
