use super::{super::testing::services, *};

#[tokio::test]
async fn all_bodies_together_hold_no_more_than_they_may() {
    let hub = &services().hub;
    let (mut first, mut second) = (Held::new(hub), Held::new(hub));
    assert!(first.more(HELD_BYTES_MAX - 10));
    assert!(!second.more(11));
    assert!(second.more(10));
    assert!(!first.more(1));
    first.release();
    assert!(second.more(HELD_BYTES_MAX - 10));
    drop(second);
    assert!(first.more(HELD_BYTES_MAX));
    assert!(!first.more(usize::MAX));
    drop(first);
    assert_eq!(hub.held_bytes.load(Relaxed), 0);
}
