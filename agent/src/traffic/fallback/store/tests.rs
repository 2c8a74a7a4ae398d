use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::{Answer, Key, Owner, Storable, Store, VARIANTS_MAX};
use crate::{
    model::{names::ObjectName, spiffe::SpiffeId},
    traffic::testing::headers,
};

const MINUTE: Duration = Duration::from_secs(60);

fn key(service: &str, path: &str) -> Key {
    Key {
        source: Some(SpiffeId::new("cluster.local", "shop", "web")),
        service: ObjectName::new("shop", service),
        port: 80,
        method: Method::GET,
        authority: service.into(),
        path: path.into(),
    }
}

fn answer(body: &str) -> Answer {
    Answer {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn storable(vary: &[&'static str]) -> Storable {
    Storable {
        age: Duration::ZERO,
        fresh_for: Duration::ZERO,
        stale_if_error: None,
        vary: vary
            .iter()
            .map(|name| HeaderName::from_static(name))
            .collect(),
        public: false,
    }
}

/// A store with one pod, and requests to one service at a stepped clock.
struct Tester {
    store: Store,
    pod: Arc<str>,
    now: Duration,
}

impl Tester {
    fn new() -> Self {
        Self {
            store: Store::new(1 << 20),
            pod: "pod-1".into(),
            now: Duration::from_secs(1_000),
        }
    }

    fn put(&mut self, path: &str, request: &[(&str, &str)], body: &str, storable: Storable) {
        let owner = Owner {
            pod: &self.pod,
            bytes_max: 1 << 20,
        };
        let (key, request) = (key("web", path), headers(request));
        assert!(
            self.store
                .put(&owner, key, &request, answer(body), storable, self.now)
        );
    }

    fn get(&mut self, path: &str, request: &[(&str, &str)]) -> Option<String> {
        let key = key("web", path);
        let answer = self.store.get(&key, &headers(request), self.now, MINUTE)?;
        assert_eq!(answer.headers["cache-status"], "weir; hit; fwd=stale");
        Some(String::from_utf8(answer.body.to_vec()).unwrap())
    }
}

#[test]
fn the_latest_is_served_with_its_age() {
    let mut tester = Tester::new();
    assert_eq!(tester.get("/", &[]), None);
    tester.put("/", &[], "one", storable(&[]));
    tester.put("/", &[], "two", storable(&[]));
    assert_eq!(
        (tester.store.len(), tester.get("/", &[])),
        (1, Some("two".into()))
    );
    tester.now += Duration::from_secs(9);
    let stale = tester
        .store
        .get(&key("web", "/"), &headers(&[]), tester.now, MINUTE);
    assert_eq!(stale.unwrap().headers["age"], "9");
    assert_eq!(tester.get("/?q", &[]), None);
}

#[test]
fn others_get_nothing() {
    let mut tester = Tester::new();
    tester.put("/", &[], "one", storable(&[]));
    let same = key("web", "/");
    let head = Key {
        method: Method::HEAD,
        ..same.clone()
    };
    let nobody = Key {
        source: None,
        ..same.clone()
    };
    let api = SpiffeId::new("cluster.local", "shop", "api");
    let another = Key {
        source: Some(api),
        ..same.clone()
    };
    let other_port = Key {
        port: 81,
        ..same.clone()
    };
    for key in [head, nobody, another, other_port, key("api", "/")] {
        let got = tester.store.get(&key, &headers(&[]), tester.now, MINUTE);
        assert_eq!(got, None, "{key:?}");
    }
    // Any pod of the same identity does.
    assert!(
        tester
            .store
            .get(&same, &headers(&[]), tester.now, MINUTE)
            .is_some()
    );
}

#[test]
fn no_longer_than_policy_and_answer_allow() {
    let mut tester = Tester::new();
    let own = |secs| Storable {
        fresh_for: Duration::from_secs(100),
        age: Duration::from_secs(30),
        stale_if_error: Some(Duration::from_secs(secs)),
        ..storable(&[])
    };
    tester.put("/short", &[], "one", own(10));
    tester.put("/long", &[], "two", own(1_000));
    tester.put("/never", &[], "three", own(0));
    tester.put("/plain", &[], "four", storable(&[]));
    let start = tester.now;
    let mut lasts = |path, secs| {
        tester.now = start + Duration::from_secs(secs);
        tester.get(path, &[]).is_some()
    };
    // It was 30 s old, and stays fresh for 70 s.
    assert!(lasts("/short", 80) && !lasts("/short", 81));
    assert!(lasts("/long", 130) && !lasts("/long", 131));
    assert!(lasts("/never", 70) && !lasts("/never", 71));
    assert!(lasts("/plain", 60) && !lasts("/plain", 61));
}

#[test]
fn variants_by_vary() {
    let mut tester = Tester::new();
    let (de, en) = ([("accept-language", "de")], [("accept-language", "en")]);
    tester.put("/", &de, "eins", storable(&["accept-language"]));
    tester.put("/", &en, "one", storable(&["accept-language"]));
    assert_eq!(tester.get("/", &de).unwrap(), "eins");
    assert_eq!(tester.get("/", &en).unwrap(), "one");
    assert_eq!(tester.get("/", &[]), None);
    // The service no longer cares for languages, and so nor does its latest answer.
    tester.put("/", &en, "1", storable(&[]));
    for request in [&de[..], &en, &[]] {
        assert_eq!(tester.get("/", request).unwrap(), "1");
    }
    for n in 0..3 * VARIANTS_MAX {
        let language = n.to_string();
        let request = [("accept-language", language.as_str())];
        tester.put("/", &request, &language, storable(&["accept-language"]));
        assert_eq!(tester.get("/", &request).unwrap(), language);
    }
    assert_eq!(tester.store.len(), VARIANTS_MAX);
}

#[test]
fn credentials_get_public_answers_alone() {
    let mut tester = Tester::new();
    let public = Storable {
        public: true,
        ..storable(&[])
    };
    tester.put("/plain", &[], "one", storable(&[]));
    tester.put("/public", &[], "two", public);
    for request in [("cookie", "a=b"), ("authorization", "Basic eA==")] {
        assert_eq!(tester.get("/plain", &[request]), None);
        assert!(tester.get("/public", &[request]).is_some());
    }
}

#[test]
fn what_a_request_does_not_want() {
    let mut tester = Tester::new();
    let minute = Storable {
        fresh_for: MINUTE,
        ..storable(&[])
    };
    tester.put("/", &[], "one", minute);
    let start = tester.now;
    let mut wants = |directives, secs| {
        tester.now = start + Duration::from_secs(secs);
        tester.get("/", &[("cache-control", directives)]).is_some()
    };
    for (directives, last) in [
        ("", 120),
        ("min-fresh=20", 40),
        ("max-age=50", 50),
        ("max-age=100", 60),
        ("max-age=100, max-stale=10", 70),
        ("max-age=65, max-stale=10", 65),
        ("max-stale", 120),
        ("max-stale=10", 70),
        ("stale-if-error=10", 70),
        ("max-age=100, stale-if-error=10", 70),
    ] {
        assert!(
            wants(directives, last) && !wants(directives, last + 1),
            "{directives}"
        );
    }
    assert!(!wants("no-cache", 0) && !wants("no-store", 0));
}

#[test]
fn what_is_forgotten() {
    let filled = || {
        let mut tester = Tester::new();
        for path in ["/a", "/b"] {
            tester.put(path, &[("accept", "1")], "one", storable(&["accept"]));
            tester.put(path, &[("accept", "2")], "two", storable(&["accept"]));
        }
        let pod: Arc<str> = "pod-2".into();
        let owner = Owner {
            pod: &pod,
            bytes_max: 1 << 20,
        };
        let (key, none) = (key("api", "/a"), HeaderMap::new());
        let head = Key {
            method: Method::HEAD,
            ..key.clone()
        };
        for key in [key, head] {
            tester
                .store
                .put(&owner, key, &none, answer(""), storable(&[]), tester.now);
        }
        tester.store
    };
    let left = |forget: fn(&mut Store)| {
        let mut store = filled();
        assert_eq!(store.len(), 6);
        forget(&mut store);
        assert_eq!(store.bytes() == 0, store.is_empty());
        store.len()
    };
    assert_eq!(left(|store| store.invalidate(&key("web", "/a"))), 4);
    assert_eq!(left(|store| store.invalidate(&key("api", "/a"))), 4);
    assert_eq!(
        left(|store| store.flush_service(&ObjectName::new("shop", "web"))),
        2
    );
    assert_eq!(
        left(|store| store.flush_service(&ObjectName::new("other", "web"))),
        6
    );
    assert_eq!(left(|store| store.flush_pod("pod-2")), 4);
    assert_eq!(left(Store::flush_all), 0);
}

#[test]
fn too_large_a_one_changes_nothing() {
    let mut tester = Tester::new();
    tester.put("/", &[], "one", storable(&[]));
    let large = "x".repeat(1 << 20);
    let owner = Owner {
        pod: &tester.pod,
        bytes_max: 1 << 20,
    };
    let none = HeaderMap::new();
    let put = tester.store.put(
        &owner,
        key("web", "/"),
        &none,
        answer(&large),
        storable(&[]),
        tester.now,
    );
    assert!(!put);
    assert_eq!(tester.get("/", &[]).unwrap(), "one");
}

mod reference;
