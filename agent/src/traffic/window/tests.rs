use std::{collections::BTreeMap, sync::Barrier, thread};

use proptest::prelude::*;

use super::{COUNT_MAX, Counts, SLOTS, Window};

const ONE: Counts = Counts { all: 1, part: 0 };

/// What a map of every slot that ever was says.
fn sum(slots: &BTreeMap<u64, Counts>, number: u64) -> Counts {
    slots.range(number.saturating_sub(SLOTS - 1)..=number).fold(
        Counts::default(),
        |sum, (_, counts)| Counts {
            all: sum.all + counts.all,
            part: sum.part + counts.part,
        },
    )
}

proptest! {
    #[test]
    fn the_last_slots_count(
        steps in prop::collection::vec((0_u64..15, 0_u64..3, 0_u64..3), 1..200),
        start in 0_u64..1 << 40,
    ) {
        let (window, mut slots) = (Window::default(), BTreeMap::<u64, Counts>::new());
        let mut number = start;
        for (passed, all, part) in steps {
            number += passed;
            window.add(number, Counts { all, part });
            let slot = slots.entry(number).or_default();
            slot.all += all;
            slot.part += part;
            let expected = sum(&slots, number);
            prop_assert_eq!(window.sum(number), expected);
            let present = slots[&number];
            prop_assert!(!window.add_part_if(number, |_, _| false));
            prop_assert!(window.add_part_if(number, |sum, slot| (sum, slot) == (expected, present)));
            slots.entry(number).or_default().part += 1;
        }
        window.clear();
        // Round zero of an untouched ring and a cleared one are the same.
        prop_assert_eq!(window.sum(number), Counts::default());
    }
}

#[test]
fn a_full_slot_keeps_its_ratio() {
    let window = Window::default();
    for _ in 0..COUNT_MAX {
        window.add(3, Counts { all: 4, part: 1 });
    }
    let Counts { all, part } = window.sum(3);
    assert!(all < COUNT_MAX + 4 && all > COUNT_MAX / 4);
    let quarter = part as f64 / all as f64;
    assert!((quarter - 0.25).abs() < 1e-4, "{quarter}");
}

#[test]
fn no_addition_is_lost_among_threads() {
    const THREADS: u64 = 4;
    const EACH: u64 = 20_000;
    let (window, barrier) = (Window::default(), Barrier::new(THREADS as usize));
    // Left by an earlier round: all of them find it stale at once.
    window.add(7, Counts { all: 99, part: 99 });
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..EACH {
                    window.add(7 + SLOTS, ONE);
                    window.add_part_if(7 + SLOTS, |_, slot| slot.part < EACH);
                }
            });
        }
    });
    let expected = Counts {
        all: THREADS * EACH,
        part: EACH,
    };
    assert_eq!(window.sum(7 + SLOTS), expected);
}
