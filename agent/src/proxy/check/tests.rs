use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn every(interval: Duration) -> HealthCheck {
    HealthCheck {
        by: HealthCheckBy::Tcp,
        interval,
        timeout: SECOND,
        healthy: 1,
        unhealthy: 1,
    }
}

#[test]
fn the_first_check_is_due_within_the_interval_and_the_next_one_after_it() {
    let (check, due) = (every(10 * SECOND), Due::default());
    assert_eq!(due.overdue(&check, SECOND, u64::MAX / 2), None);
    assert_eq!(due.overdue(&check, 5 * SECOND, 0), None);
    let overdue = due.overdue(&check, 12 * SECOND, 0).unwrap();
    assert!(overdue > 5 * SECOND, "it grows: {overdue:?}");
    due.begins(&check, 12 * SECOND, 0);
    assert_eq!(due.overdue(&check, 20 * SECOND, 0), None);
    assert!(due.overdue(&check, 24 * SECOND, 0).is_some());
}

#[test]
fn checks_that_become_more_frequent_do_so_at_once() {
    let due = Due::default();
    due.begins(&every(3600 * SECOND), SECOND, 0);
    let check = every(2 * SECOND);
    assert_eq!(due.overdue(&check, 2 * SECOND, 0), None);
    assert!(due.overdue(&check, 5 * SECOND, 0).is_some());
}

#[test]
fn who_used_a_service_last_is_known_for_a_while() {
    let used = Used::default();
    assert_eq!(used.lately(SECOND), None);
    used.by(CaptureId(u32::MAX - 1), 10 * SECOND);
    used.by(CaptureId(7), 20 * SECOND);
    assert_eq!(used.lately(30 * SECOND), Some(CaptureId(7)));
    assert_eq!(used.lately(20 * SECOND + USED_WITHIN), None);
}

#[test]
fn a_check_that_is_cancelled_is_not_counted_any_more() {
    let count = Rc::new(Cell::new(0));
    let check = UnderWay::new(&count);
    assert_eq!(count.get(), 1);
    drop(check);
    assert_eq!(count.get(), 0);
}
