//! HBONE peers that share no code with Weir: a client and a server made of h2 and rustls, which
//! say what the wire says, and may be told to behave badly.
//!
//! They run inside the test's own process, with sockets made in the pod's namespace, and outside
//! of the cgroup that Weir hooks. Calls block, for at most [`DEADLINE`].

mod client;
mod server;
mod stream;
mod tls;

use std::{future::Future, sync::LazyLock, time::Duration};

use tokio::runtime::{Builder, Runtime};

pub use client::{Dial, Refused, Tunnel};
pub use h2::Reason;
pub use server::{Answer, HboneServer, Seen};
pub use stream::{End, Stream};

pub const PORT: u16 = 15008;
/// No single step of a peer takes longer: past it the test has failed.
pub const DEADLINE: Duration = Duration::from_secs(30);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
});

#[track_caller]
fn block_on<T>(what: &str, future: impl Future<Output = T>) -> T {
    match RUNTIME.block_on(async { tokio::time::timeout(DEADLINE, future).await }) {
        Ok(value) => value,
        Err(_) => panic!("the HBONE peer waited {DEADLINE:?} for {what}"),
    }
}
