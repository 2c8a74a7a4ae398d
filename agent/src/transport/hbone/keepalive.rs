//! PING on a quiet interval: a peer that has vanished is noticed within seconds.

use std::future::pending;

use h2::{Ping, PingPong};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::transport::limits::{PING_INTERVAL, PING_TIMEOUT};

/// Completes when the peer does not answer any more.
pub async fn watch(ping_pong: Option<PingPong>) {
    let Some(mut ping_pong) = ping_pong else {
        return pending().await;
    };
    let mut ticks = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match timeout(PING_TIMEOUT, ping_pong.ping(Ping::opaque())).await {
            Ok(Ok(_pong)) => {}
            // The connection is over: its own future says so.
            Ok(Err(_)) => return pending().await,
            Err(_elapsed) => return,
        }
    }
}
