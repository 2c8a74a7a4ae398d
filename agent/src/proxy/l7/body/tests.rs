use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::*;
use crate::proxy::l7::mirror::testing::Fed;

fn answer(body: Body, ends: Instant, idle: Duration) -> Body {
    Body::answer(Answer {
        body,
        record: None,
        received: None,
        deadline: Some((Box::pin(sleep_until(ends)), Reason::RequestTimeout)),
        idle: Some(Idle::new(idle)),
        keep: Keep::Nothing,
        failed: None,
        guards: Guards::default(),
    })
}

async fn next(body: &mut Body) -> Option<Result<Frame<Bytes>, BodyError>> {
    std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_be_idle_no_longer_than_it_may_whatever_its_deadline() {
    let (fed, body) = Fed::new();
    let began = Instant::now();
    let ends = began + Duration::from_secs(60);
    let mut body = answer(body, ends, Duration::from_secs(2));
    fed.data("x");
    assert!(next(&mut body).await.unwrap().is_ok());
    assert!(next(&mut body).await.unwrap().is_err());
    assert_eq!(began.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_an_answer_that_goes_on() {
    let (fed, body) = Fed::new();
    let began = Instant::now();
    let ends = began + Duration::from_secs(3);
    let mut body = answer(body, ends, Duration::from_secs(60));
    fed.data("x");
    assert!(next(&mut body).await.unwrap().is_ok());
    assert!(next(&mut body).await.unwrap().is_err());
    assert_eq!(began.elapsed().as_secs(), 3);
}
