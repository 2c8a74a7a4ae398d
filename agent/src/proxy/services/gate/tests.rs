use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use super::*;

#[tokio::test(start_paused = true)]
async fn who_finds_no_room_waits_and_goes_in_when_one_leaves() {
    let gate = Arc::new(Gate::default());
    let first = gate.enter(1, 1).await.unwrap();
    let second = tokio::spawn({
        let gate = Arc::clone(&gate);
        async move { gate.enter(1, 1).await.unwrap() }
    });
    while gate.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(gate.enter(1, 1).await.is_err(), "the queue is full");
    drop(first);
    let second = second.await.unwrap();
    assert_eq!((gate.inside(), gate.waiting()), (1, 0));
    drop(second);
    assert_eq!((gate.inside(), gate.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_leaves_the_queue() {
    let gate = Arc::new(Gate::default());
    let first = gate.enter(1, 1).await.unwrap();
    let gave_up = tokio::time::timeout(Duration::from_secs(1), gate.enter(1, 1)).await;
    assert!(gave_up.is_err());
    assert_eq!(gate.waiting(), 0);
    drop(first);
    drop(gate.enter(1, 0).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_are_inside_than_may_and_everybody_comes_through() {
    const LIMIT: u32 = 3;
    let gate = Arc::new(Gate::default());
    let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let tasks = (0..200).map(|_| {
        let (gate, now, most) = (Arc::clone(&gate), Arc::clone(&now), Arc::clone(&most));
        tokio::spawn(async move {
            let inside = gate.enter(LIMIT, 1000).await.unwrap();
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::task::yield_now().await;
            now.fetch_sub(1, SeqCst);
            drop(inside);
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert!(most.load(SeqCst) <= LIMIT);
    assert_eq!((gate.inside(), gate.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_raised_lets_in_who_waits_already() {
    let gate = Arc::new(Gate::default());
    let first = gate.enter(1, 2).await.unwrap();
    let waits = tokio::spawn({
        let gate = Arc::clone(&gate);
        async move { gate.enter(1, 2).await.unwrap() }
    });
    while gate.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    let third = gate.enter(3, 2).await.unwrap();
    let second = tokio::time::timeout(Duration::from_secs(1), waits).await;
    let second = second.expect("nobody has to leave for that").unwrap();
    assert_eq!((gate.inside(), gate.waiting()), (3, 0));
    drop((first, second, third));
    assert_eq!(gate.inside(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_was_woken_and_gives_up_wakes_the_next() {
    let gate = Arc::new(Gate::default());
    let first = gate.enter(1, 2).await.unwrap();
    let mut woken = Box::pin(gate.enter(1, 2));
    let mut next = Box::pin(gate.enter(1, 2));
    for waits in [&mut woken, &mut next] {
        assert!(poll_once(waits.as_mut()).is_none());
    }
    drop(first);
    drop(woken);
    assert!(poll_once(next.as_mut()).is_some());
}

fn poll_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut cx) {
        std::task::Poll::Ready(done) => Some(done),
        std::task::Poll::Pending => None,
    }
}
