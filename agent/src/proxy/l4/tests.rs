//! What an idle connection costs begins with the size of its task.

use super::*;
use crate::telemetry::ConnectionRecord;

fn future_size<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
    size_of::<F>()
}

fn future_size4<A, B, C, D, F>(_: fn(A, B, C, D) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn tasks_of_connections_stay_small() {
    println!(
        "record {} outbound {} inbound {} stream {}",
        size_of::<ConnectionRecord>(),
        future_size(outbound::serve),
        future_size(inbound::serve),
        future_size4(tunnel::stream_in),
    );
    assert!(size_of::<ConnectionRecord>() <= 384);
    assert!(future_size(outbound::serve) <= 1024);
    assert!(future_size(inbound::serve) <= 1280);
    assert!(future_size4(tunnel::stream_in) <= 1024);
}
