use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Wake,
};

use super::*;
use crate::proxy::{l7::mirror::testing::Fed, services::testing::services};

const LIMIT: usize = 1024;

fn kept_of(body: Body, limit: usize) -> Rc<Kept> {
    Kept::new(body, limit, Held::new(&services().hub))
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

/// What comes at once, and whether more may come.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Pending(String),
    Whole(String, Option<HeaderMap>),
    Broken(String),
}

fn read_woken(body: &mut Body, woken: &Arc<Woken>) -> Read {
    let waker = Waker::from(Arc::clone(woken));
    let mut cx = Context::from_waker(&waker);
    let (mut text, mut trailers) = (String::new(), None);
    loop {
        match Pin::new(&mut *body).poll_frame(&mut cx) {
            Poll::Pending => return Read::Pending(text),
            Poll::Ready(None) => return Read::Whole(text, trailers),
            Poll::Ready(Some(Err(_))) => return Read::Broken(text),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => text.push_str(std::str::from_utf8(&data).unwrap()),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
    }
}

fn read(body: &mut Body) -> Read {
    read_woken(body, &Arc::default())
}

fn whole(text: &str) -> Read {
    Read::Whole(text.into(), None)
}

#[test]
fn what_has_passed_comes_again_and_then_the_rest() {
    let (fed, body) = Fed::new();
    let kept = kept_of(body, LIMIT);
    let mut first = kept.body();
    fed.data("a");
    fed.data("b");
    assert_eq!(read(&mut first), Read::Pending("ab".into()));
    let mut second = kept.body();
    fed.data("c");
    assert_eq!(read(&mut second), Read::Pending("abc".into()));
    fed.ends();
    assert_eq!(read(&mut second), whole(""));
    assert!(kept.is_whole());
    assert_eq!(read(&mut kept.body()), whole("abc"));
}

#[test]
fn trailers_come_again() {
    let (fed, body) = Fed::new();
    let kept = kept_of(body, LIMIT);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    fed.data("a");
    fed.trailers(trailers.clone());
    fed.ends();
    for _ in 0..3 {
        let again = Read::Whole("a".into(), Some(trailers.clone()));
        assert_eq!(read(&mut kept.body()), again);
    }
}

#[test]
fn up_to_the_limit_it_is_whole_and_past_it_nothing_is_kept() {
    for (limit, is_whole) in [(4, true), (3, false)] {
        let (fed, body) = Fed::new();
        let kept = kept_of(body, limit);
        let mut first = kept.body();
        fed.data("ab");
        fed.data("cd");
        fed.ends();
        assert_eq!(
            read(&mut first),
            whole("abcd"),
            "the first one lacks nothing"
        );
        assert_eq!(kept.is_whole(), is_whole);
        assert_eq!(kept.frames.borrow().is_empty(), !is_whole);
    }
}

#[test]
fn many_small_pieces_are_too_much_before_their_bytes_are() {
    let (fed, body) = Fed::new();
    let kept = kept_of(body, LIMIT);
    let mut first = kept.body();
    let pieces = PIECES + LIMIT / PIECE_BYTES;
    (0..pieces).for_each(|_| fed.data("x"));
    assert_eq!(read(&mut first), Read::Pending("x".repeat(pieces)));
    assert!(kept.is_whole());
    fed.data("x");
    fed.ends();
    assert_eq!(read(&mut first), whole("x"));
    assert!(!kept.is_whole());
}

#[test]
fn what_was_given_up_in_the_middle_of_a_replay_still_comes_whole() {
    let (fed, body) = Fed::new();
    let kept = kept_of(body, LIMIT);
    fed.data("a");
    assert_eq!(read(&mut kept.body()), Read::Pending("a".into()));
    let mut second = kept.body();
    kept.give_up();
    fed.data("b");
    fed.ends();
    assert_eq!(read(&mut second), whole("ab"));
}

/// The connection of an earlier try may still be sending when its answer has come.
#[test]
fn an_earlier_try_takes_nothing_from_the_latest() {
    let (fed, body) = Fed::new();
    let kept = kept_of(body, 2);
    let mut first = kept.body();
    fed.data("a");
    assert_eq!(read(&mut first), Read::Pending("a".into()));
    let mut second = kept.body();
    fed.data("bc");
    assert_eq!(read(&mut first), Read::Broken(String::new()));
    assert!(!first.is_end_stream(), "cut off is not whole");
    fed.ends();
    assert_eq!(read(&mut second), whole("abc"));
}

#[test]
fn an_earlier_try_that_waits_hears_that_it_is_over() {
    let (_fed, body) = Fed::new();
    let kept = kept_of(body, LIMIT);
    let (mut first, woken) = (kept.body(), Arc::<Woken>::default());
    assert_eq!(read_woken(&mut first, &woken), Read::Pending(String::new()));
    let mut second = kept.body();
    assert!(woken.0.load(Relaxed));
    assert_eq!(read(&mut first), Read::Broken(String::new()));
    assert_eq!(read(&mut second), Read::Pending(String::new()));
}

#[test]
fn a_body_that_breaks_breaks_again() {
    let (fed, body) = Fed::new();
    let kept = kept_of(body, LIMIT);
    fed.breaks();
    assert_eq!(read(&mut kept.body()), Read::Broken(String::new()));
    assert_eq!(read(&mut kept.body()), Read::Broken(String::new()));
}

#[test]
fn its_length_is_what_is_left() {
    let kept = kept_of(Body::text("four".into()), LIMIT);
    let mut first = kept.body();
    assert_eq!(first.size_hint().exact(), Some(4));
    assert_eq!(read(&mut first), whole("four"));
    assert!(first.is_end_stream());
    let second = kept.body();
    assert_eq!(second.size_hint().exact(), Some(4));
    assert!(!second.is_end_stream());
}
