//! The store against one that looks at everything.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proptest::prelude::*;

use super::{MINUTE, answer, key, storable};
use crate::traffic::{
    fallback::store::{ANSWER_BYTES, Owner, Store},
    testing::headers,
};

#[derive(Clone, Debug)]
enum Step {
    Put {
        pod: usize,
        path: u8,
        accept: u8,
        by_accept: bool,
        size: usize,
    },
    Get {
        path: u8,
        accept: u8,
    },
    Invalidate {
        path: u8,
    },
    FlushPod {
        pod: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (pod, path, accept) = (0_usize..3, 0_u8..5, 0_u8..3);
    let put = (
        pod.clone(),
        path.clone(),
        accept.clone(),
        any::<bool>(),
        0_usize..3_000,
    );
    prop_oneof![
        8 => put.prop_map(|(pod, path, accept, by_accept, size)| {
            Step::Put { pod, path, accept, by_accept, size }
        }),
        4 => (path.clone(), accept).prop_map(|(path, accept)| Step::Get { path, accept }),
        1 => path.prop_map(|path| Step::Invalidate { path }),
        1 => pod.prop_map(|pod| Step::FlushPod { pod }),
    ]
}

/// In the order of use, the one that was not used for longest first.
#[derive(Debug, Default)]
struct Slow(Vec<SlowAnswer>);

#[derive(Debug)]
struct SlowAnswer {
    pod: usize,
    path: u8,
    accept: Option<u8>,
    put: usize,
    bytes: usize,
}

impl Slow {
    fn bytes(&self, of: impl Fn(&SlowAnswer) -> bool) -> usize {
        self.0.iter().filter(|a| of(a)).map(|a| a.bytes).sum()
    }

    fn put(&mut self, new: SlowAnswer, accept: u8, pod_max: usize, max: usize) {
        let is_same = |a: &SlowAnswer| a.path == new.path && a.accept.is_none_or(|a| a == accept);
        self.0.retain(|a| !is_same(a));
        let pod = new.pod;
        while self.bytes(|a| a.pod == pod) + new.bytes > pod_max {
            let oldest = self.0.iter().position(|a| a.pod == pod).unwrap();
            self.0.remove(oldest);
        }
        while self.bytes(|_| true) + new.bytes > max {
            self.0.remove(0);
        }
        self.0.push(new);
    }

    fn get(&mut self, path: u8, accept: u8) -> Option<usize> {
        let is_of = |a: &SlowAnswer| a.path == path && a.accept.is_none_or(|a| a == accept);
        let latest = self.0.iter().filter(|a| is_of(a)).map(|a| a.put).max()?;
        let at = self.0.iter().position(|a| a.put == latest)?;
        let used = self.0.remove(at);
        self.0.push(used);
        Some(latest)
    }
}

proptest! {
    /// Bounds hold after every step, and every answer is that of the slow store.
    #[test]
    fn as_the_slow_one(
        steps in prop::collection::vec(step(), 1..120),
        pod_max in 1_500_usize..8_000,
        max in 2_000_usize..16_000,
    ) {
        let pods: [Arc<str>; 3] = ["a".into(), "b".into(), "c".into()];
        let (mut store, mut slow) = (Store::new(max), Slow::default());
        for (put, step) in steps.into_iter().enumerate() {
            let key = |path: u8| key("web", &format!("/{path}"));
            let request = |accept: u8| headers(&[("accept", &accept.to_string())]);
            match step {
                Step::Put { pod, path, accept, by_accept, size } => {
                    let body = format!("{put:size$}");
                    let vary: &[_] = if by_accept { &["accept"] } else { &[] };
                    let owner = Owner { pod: &pods[pod], bytes_max: pod_max };
                    let taken = store.put(
                        &owner, key(path), &request(accept), answer(&body), storable(vary),
                        Duration::ZERO,
                    );
                    let texts = "web/0".len() + if by_accept { "accept0".len() } else { 0 };
                    let bytes = ANSWER_BYTES + texts + body.len();
                    prop_assert_eq!(taken, bytes <= pod_max.min(max));
                    if taken {
                        let accepted = by_accept.then_some(accept);
                        let new = SlowAnswer { pod, path, accept: accepted, put, bytes };
                        slow.put(new, accept, pod_max, max);
                    }
                }
                Step::Get { path, accept } => {
                    let got = store.get(&key(path), &request(accept), Duration::ZERO, MINUTE);
                    let got = got.map(|got| {
                        std::str::from_utf8(&got.body).unwrap().trim().parse().unwrap()
                    });
                    prop_assert_eq!(got, slow.get(path, accept));
                }
                Step::Invalidate { path } => {
                    store.invalidate(&key(path));
                    slow.0.retain(|a| a.path != path);
                }
                Step::FlushPod { pod } => {
                    store.flush_pod(&pods[pod]);
                    slow.0.retain(|a| a.pod != pod);
                }
            }
            prop_assert_eq!(store.bytes(), slow.bytes(|_| true));
            prop_assert!(store.bytes() <= max);
            prop_assert_eq!(store.len(), slow.0.len());
            let by_pod: BTreeMap<_, _> = store.by_pod.iter().map(|(p, a)| (p, a.bytes)).collect();
            for (pod, name) in pods.iter().enumerate() {
                let bytes = by_pod.get(name).copied().unwrap_or(0);
                prop_assert_eq!(bytes, slow.bytes(|a| a.pod == pod));
                prop_assert!(bytes <= pod_max);
            }
            prop_assert_eq!(store.order.len(), store.len());
            let of_keys: usize = store.by_key.values().map(Vec::len).sum();
            prop_assert_eq!(of_keys, store.len());
        }
    }
}
