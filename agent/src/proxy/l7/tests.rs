//! What a request costs begins with the size of its task.

use super::*;
use crate::telemetry::{RequestInfo, RequestRecord};

fn size4<A, B, C, D, F>(_: fn(A, B, C, D) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn tasks_of_requests_stay_small() {
    let pipeline = size4(pipeline::answer);
    println!(
        "record {} info {} exchange {} pipeline {pipeline}",
        size_of::<RequestRecord>(),
        size_of::<RequestInfo>(),
        size_of::<pipeline::Exchange>(),
    );
    assert!(pipeline <= 8192);
}
