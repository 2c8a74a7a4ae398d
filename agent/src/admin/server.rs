//! Takes connections, with bounds: the metrics address is open to every pod.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::IpAddr,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Admin, Surface, body::TAP_DURATION_MAX, routes};

/// Connections of one listener at a time; further ones wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 64;
/// Connections from one address at a time; further ones are closed. One pod cannot take the
/// kubelet's probes away from the agent.
pub const CONNECTIONS_PER_PEER_MAX: usize = 8;
/// Time to send a request's header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a whole connection: one request and its answer, to a scraper far away.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Size of a request's line and header.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// Fields of a request's header.
const HEADERS_MAX: usize = 64;
/// Wait after an accept that failed for want of descriptors or memory.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Answers on `listener` until dropped; open connections end with it.
pub async fn serve(listener: TcpListener, surface: Surface, admin: Arc<Admin>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let peers = Arc::new(Peers::default());
    let mut connections = JoinSet::new();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if !of_one_connection(&error) {
                    tracing::warn!(%error, "the admin listener cannot accept; trying again");
                    sleep(ACCEPT_BACKOFF).await;
                }
                continue;
            }
        };
        // Ended ones are taken out as new ones come, so there are never more than slots and taps.
        while connections.try_join_next().is_some() {}
        let Some(place) = Peers::enter(&peers, peer.ip()) else {
            continue;
        };
        let admin = Arc::clone(&admin);
        let life = Arc::new(Life(Mutex::new(Some((place, slot)))));
        connections.spawn(serve_connection(stream, surface, admin, life));
    }
}

/// Errors of `accept` that say something of the connection and nothing of the listener (accept(2)).
fn of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// One request for each connection: nothing is left open between two scrapes that would have to
/// be bounded again, and a new connection every few seconds costs nothing.
async fn serve_connection(stream: TcpStream, surface: Surface, admin: Arc<Admin>, life: Arc<Life>) {
    let of_request = Arc::clone(&life);
    let service = service_fn(move |request| {
        let (admin, life) = (Arc::clone(&admin), Arc::clone(&of_request));
        async move { Ok::<_, Infallible>(routes::answer(&admin, surface, &request, &life).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = match timeout(CONNECTION_TIMEOUT, connection.as_mut()).await {
        // A tap ends itself; what is left then is a client that does not read.
        Err(_) if life.is_a_tap() => timeout(TAP_DURATION_MAX, connection).await,
        ended => ended,
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection failed"),
        Err(_) => tracing::debug!("an admin connection took too long and was closed"),
    }
}

/// What a connection takes of the listener: its places among all and among those of its address.
pub(super) struct Life(Mutex<Option<(Place, OwnedSemaphorePermit)>>);

impl Life {
    /// Gives the places back: taps have a bound of their own
    /// ([`crate::telemetry::TAPS_MAX`]), and an open one must not take them from short requests.
    pub(super) fn becomes_a_tap(&self) {
        drop(self.lock().take());
    }

    fn is_a_tap(&self) -> bool {
        self.lock().is_none()
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Place, OwnedSemaphorePermit)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many connections each address has.
#[derive(Default)]
struct Peers(Mutex<HashMap<IpAddr, usize>>);

/// One connection of an address, counted until dropped.
struct Place {
    peers: Arc<Peers>,
    ip: IpAddr,
}

impl Peers {
    fn enter(peers: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let ip = ip.to_canonical();
        let mut counts = peers.lock();
        let count = counts.entry(ip).or_default();
        if *count >= CONNECTIONS_PER_PEER_MAX {
            return None;
        }
        *count += 1;
        Some(Place {
            peers: Arc::clone(peers),
            ip,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.peers.lock();
        if let Some(count) = counts.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.ip);
            }
        }
    }
}
