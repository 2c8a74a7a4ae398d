//! Warm HTTP connections of one thread, to applications and to endpoints outside the mesh.
//!
//! An idle HTTP/1.1 connection waits in a list; a request takes the one that was used last. HTTP/2
//! connections are shared. Nothing here waits for anything but a dial.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    rc::{Rc, Weak},
    sync::Arc,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::{
    client::conn::{http1, http2},
    rt::Executor,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    sync::{Notify, oneshot},
    task::spawn_local,
    time::Instant,
};

use super::{
    body::Body,
    bound::{Bound, Uses},
    wire::{Stream, Wire},
};
use crate::{
    model::{names::ObjectName, seams::CaptureId},
    telemetry::Metrics,
    transport::limits::*,
};

/// What one connection may be used again for. The client's address is part of it since the
/// application sees it; its port is arbitrary.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key {
    /// The pod whose namespace the connection is made in.
    pub(super) pod: CaptureId,
    pub(super) shown_as: Option<IpAddr>,
    pub(super) to: SocketAddr,
    /// Through a tunnel: the pod that has the address, since another may have it later, and the
    /// service, which the peer's agent was told when the stream was opened.
    pub(super) through: Option<(Arc<str>, Option<ObjectName>)>,
}

/// Which HTTP a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

pub(in crate::proxy) struct Pool(Rc<Inner>);

struct Inner {
    http1: RefCell<HashMap<Key, Vec<Idle>>>,
    http2: RefCell<HashMap<Key, Shared>>,
    /// Requests that wait for an HTTP/1.1 connection to become free.
    waiting: RefCell<HashMap<Key, Awaited>>,
    /// Connections that are open, idle ones included.
    open: Cell<usize>,
    metrics: Arc<Metrics>,
}

struct Idle {
    sender: http1::SendRequest<Body>,
    upgrades: Upgrades,
    since: Instant,
    uses: Uses,
}

/// Requests of this thread that wait for a connection of one key.
#[derive(Default)]
struct Awaited {
    count: usize,
    freed: Rc<Notify>,
}

/// One of them.
pub(super) struct Awaiting {
    pool: Rc<Inner>,
    key: Key,
    freed: Rc<Notify>,
}

impl Awaiting {
    pub(super) fn notified(&self) -> tokio::sync::futures::Notified<'_> {
        self.freed.notified()
    }
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        let mut waiting = self.pool.waiting.borrow_mut();
        if let Some(awaited) = waiting.get_mut(&self.key) {
            awaited.count -= 1;
            if awaited.count == 0 {
                waiting.remove(&self.key);
            }
        }
    }
}

#[derive(Default)]
struct Shared {
    connections: Vec<Rc<Http2>>,
    /// Somebody is dialling: the others wait for it.
    dialling: Option<Rc<Notify>>,
}

struct Http2 {
    pool: Weak<Inner>,
    key: Key,
    sender: http2::SendRequest<Body>,
    streams: Cell<usize>,
    /// How many the server takes, as its SETTINGS say.
    streams_max: Cell<usize>,
    idle_since: Cell<Instant>,
    uses: RefCell<Uses>,
}

/// Where an HTTP/1.1 connection leaves itself when its answer was 101, or 2xx to CONNECT.
type Upgrades = Rc<RefCell<Option<oneshot::Receiver<(Wire, Bytes)>>>>;

/// A connection for one request.
pub(in crate::proxy) enum Lease {
    Http1(Http1Lease),
    Http2(Http2Lease),
}

pub(in crate::proxy) struct Http1Lease {
    sender: http1::SendRequest<Body>,
    upgrades: Upgrades,
    key: Key,
    pool: Weak<Inner>,
    /// It has served a request before, and so may have ended unnoticed.
    reused: bool,
    uses: Uses,
}

pub(in crate::proxy) struct Http2Lease {
    connection: Rc<Http2>,
    reused: bool,
}

impl Drop for Http2Lease {
    fn drop(&mut self) {
        let left = self.connection.streams.get() - 1;
        self.connection.streams.set(left);
        if left == 0 {
            self.connection.idle_since.set(Instant::now());
            self.connection.fell_idle();
        }
    }
}

impl Http2 {
    /// Its last stream has ended: it makes room where it is of no use any more, or where somebody
    /// else waits for its place, as a HTTP/1.1 connection does.
    fn fell_idle(&self) {
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        let awaited_here = || pool.waiting.borrow().contains_key(&self.key);
        let uses = self.uses.borrow();
        if uses.is_used_up() || uses.is_wanted() && !awaited_here() {
            pool.forget(&self.key, self);
        }
    }
}

/// The thread carries as many upstream connections as it may.
#[derive(Debug)]
pub(super) struct Full;

impl Pool {
    pub(in crate::proxy) fn new(metrics: Arc<Metrics>) -> Self {
        Self(Rc::new(Inner {
            http1: RefCell::default(),
            http2: RefCell::default(),
            waiting: RefCell::default(),
            open: Cell::new(0),
            metrics,
        }))
    }

    /// A warm connection, if there is one.
    pub(super) fn take(&self, key: &Key, version: Version) -> Option<Lease> {
        match version {
            Version::Http1 => self.take_http1(key),
            Version::Http2 => {
                let shared = self.0.http2.borrow();
                let connection = shared.get(key)?.with_room()?;
                Some(Lease::http2(connection, true))
            }
        }
    }

    fn take_http1(&self, key: &Key) -> Option<Lease> {
        let mut http1 = self.0.http1.borrow_mut();
        let idle = http1.get_mut(key)?;
        // One that is still busy with its last answer's end stays where it is.
        let mut at = idle.len();
        while at > 0 {
            at -= 1;
            if idle[at].sender.is_closed() {
                idle.swap_remove(at);
            } else if idle[at].sender.is_ready() {
                let Idle {
                    sender,
                    upgrades,
                    uses,
                    ..
                } = idle.remove(at);
                return Some(Lease::Http1(Http1Lease {
                    sender,
                    upgrades,
                    key: key.clone(),
                    pool: Rc::downgrade(&self.0),
                    reused: true,
                    uses,
                }));
            }
        }
        None
    }

    /// To be told when a connection of `key` is given back.
    pub(super) fn wait_for(&self, key: &Key) -> Awaiting {
        let mut waiting = self.0.waiting.borrow_mut();
        let awaited = waiting.entry(key.clone()).or_default();
        awaited.count += 1;
        Awaiting {
            pool: Rc::clone(&self.0),
            key: key.clone(),
            freed: Rc::clone(&awaited.freed),
        }
    }

    /// One of them has turned out to be dead: probably all are.
    pub(super) fn close_idle(&self, key: &Key) {
        self.0.http1.borrow_mut().remove(key);
    }

    /// Closes idle connections of services that somebody waits for a connection to.
    pub(in crate::proxy) fn evict_wanted(&self) {
        let mut http1 = self.0.http1.borrow_mut();
        http1.retain(|_, idle| {
            idle.retain(|idle| !idle.uses.is_wanted());
            !idle.is_empty()
        });
        let mut http2 = self.0.http2.borrow_mut();
        for shared in http2.values_mut() {
            shared
                .connections
                .retain(|c| c.streams.get() > 0 || !c.uses.borrow().is_wanted());
        }
    }

    /// For who is about to dial.
    pub(super) fn may_dial(&self) -> Result<(), Full> {
        if self.0.open.get() < UPSTREAMS_MAX {
            return Ok(());
        }
        self.0.metrics.limit_reached("upstreams");
        Err(Full)
    }

    /// For HTTP/2: the caller's turn to dial, until it drops it.
    ///
    /// # Errors
    /// Where another request dials already: with what to wait for before looking again.
    pub(super) fn dial_turn(&self, key: &Key) -> Result<Turn, Rc<Notify>> {
        let mut http2 = self.0.http2.borrow_mut();
        let shared = http2.entry(key.clone()).or_default();
        if let Some(dialling) = &shared.dialling {
            return Err(Rc::clone(dialling));
        }
        let done = Rc::new(Notify::new());
        shared.dialling = Some(Rc::clone(&done));
        Ok(Turn {
            pool: Rc::clone(&self.0),
            key: key.clone(),
            done,
        })
    }

    /// Speaks HTTP/1.1 over a fresh connection.
    pub(super) async fn add_http1(
        &self,
        key: &Key,
        stream: Stream,
        bound: Option<Bound>,
    ) -> hyper::Result<Lease> {
        let (inside, uses) = Bound::split(bound);
        let io = TokioIo::new(Wire::new(stream, Bytes::new()));
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_AHEAD_BYTES_MAX)
            .handshake(io)
            .await?;
        let (gone, upgraded) = oneshot::channel();
        let open = (Open::new(&self.0), inside);
        spawn_local(async move {
            let _open = open;
            // The parts are there whether or not there was an upgrade; who waits for one takes
            // them.
            let mut connection = connection;
            let ended = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
            if ended.is_ok() {
                let parts = connection.into_parts();
                let _ = gone.send((parts.io.into_inner(), parts.read_buf));
            }
        });
        Ok(Lease::Http1(Http1Lease {
            sender,
            upgrades: Rc::new(RefCell::new(Some(upgraded))),
            key: key.clone(),
            pool: Rc::downgrade(&self.0),
            reused: false,
            uses,
        }))
    }

    /// Speaks HTTP/2 by prior knowledge over a fresh connection.
    pub(super) async fn add_http2(
        &self,
        turn: &Turn,
        stream: Stream,
        bound: Option<Bound>,
    ) -> hyper::Result<Lease> {
        let (inside, uses) = Bound::split(bound);
        let io = TokioIo::new(Wire::new(stream, Bytes::new()));
        let (sender, connection) = http2::Builder::new(Local)
            .timer(TokioTimer::new())
            .initial_stream_window_size(APP_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(APP_CONNECTION_WINDOW_BYTES)
            .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX))
            .max_concurrent_reset_streams(REMEMBERED_RESETS_MAX)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(io)
            .await?;
        let entry = Rc::new(Http2 {
            pool: Rc::downgrade(&self.0),
            key: turn.key.clone(),
            sender,
            streams: Cell::new(0),
            streams_max: Cell::new(connection.current_max_send_streams()),
            idle_since: Cell::new(Instant::now()),
            uses: RefCell::new(uses),
        });
        let (pool, key, running) = (
            Rc::downgrade(&self.0),
            turn.key.clone(),
            Rc::downgrade(&entry),
        );
        let open = (Open::new(&self.0), inside);
        spawn_local(async move {
            let _open = open;
            let mut connection = std::pin::pin!(connection);
            let _ = std::future::poll_fn(|cx| {
                let polled = connection.as_mut().poll(cx);
                if let Some(entry) = running.upgrade() {
                    entry.streams_max.set(connection.current_max_send_streams());
                }
                polled
            })
            .await;
            if let Some(pool) = pool.upgrade() {
                pool.forget(&key, running.as_ptr());
            }
        });
        let mut http2 = self.0.http2.borrow_mut();
        let shared = http2.entry(turn.key.clone()).or_default();
        shared.connections.push(Rc::clone(&entry));
        drop(http2);
        Ok(Lease::http2(entry, false))
    }

    /// Once a second: closes what has been idle for too long.
    pub(in crate::proxy) fn sweep(&self) {
        let now = Instant::now();
        let fresh = |since: Instant| now.duration_since(since) < UPSTREAM_IDLE_TIMEOUT;
        self.0.http1.borrow_mut().retain(|_, idle| {
            idle.retain(|idle| fresh(idle.since) && !idle.sender.is_closed());
            !idle.is_empty()
        });
        self.0.http2.borrow_mut().retain(|_, shared| {
            shared.connections.retain(|c| {
                let idle = c.streams.get() == 0;
                !idle || fresh(c.idle_since.get()) && !c.uses.borrow().is_used_up()
            });
            !shared.connections.is_empty() || shared.dialling.is_some()
        });
    }

    /// The pod is gone: its idle connections end at once.
    pub(in crate::proxy) fn retire(&self, pod: CaptureId) {
        self.0.http1.borrow_mut().retain(|key, _| key.pod != pod);
        self.0.http2.borrow_mut().retain(|key, _| key.pod != pod);
    }
}

impl Inner {
    fn forget(&self, key: &Key, gone: *const Http2) {
        let mut http2 = self.http2.borrow_mut();
        if let Some(shared) = http2.get_mut(key) {
            shared
                .connections
                .retain(|other| !std::ptr::eq(Rc::as_ptr(other), gone));
            if shared.connections.is_empty() && shared.dialling.is_none() {
                http2.remove(key);
            }
        }
    }
}

impl Shared {
    /// The least loaded connection that takes another stream; `None` also where one more
    /// connection is to be opened beside them.
    fn with_room(&self) -> Option<Rc<Http2>> {
        let usable = |c: &&Rc<Http2>| !c.sender.is_closed() && !c.uses.borrow().is_used_up();
        let open = self.connections.iter().filter(usable);
        let best = open.min_by_key(|c| c.streams.get())?;
        let room = best.streams_max.get() * STREAMS_SHARE_PERCENT / 100;
        let full = best.streams.get() >= room.max(1);
        let may_open_more = self.connections.len() < HTTP2_UPSTREAMS_PER_KEY_MAX;
        (!full || !may_open_more).then(|| Rc::clone(best))
    }
}

/// The right to dial for a key, and the duty to tell those who wait.
pub(super) struct Turn {
    pool: Rc<Inner>,
    key: Key,
    done: Rc<Notify>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(shared) = self.pool.http2.borrow_mut().get_mut(&self.key) {
            shared.dialling = None;
        }
        self.done.notify_waiters();
    }
}

/// Counts an open connection.
struct Open(Rc<Inner>);

impl Open {
    fn new(pool: &Rc<Inner>) -> Self {
        pool.open.set(pool.open.get() + 1);
        Self(Rc::clone(pool))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

/// A request that got no answer.
pub(super) struct Unanswered {
    pub(super) error: hyper::Error,
    /// There, where nothing of it was sent.
    pub(super) request: Option<Request<Body>>,
}

impl Lease {
    fn http2(connection: Rc<Http2>, reused: bool) -> Self {
        connection.uses.borrow_mut().used();
        connection.streams.set(connection.streams.get() + 1);
        Self::Http2(Http2Lease { connection, reused })
    }

    pub(super) fn is_reused(&self) -> bool {
        match self {
            Self::Http1(lease) => lease.reused,
            Self::Http2(lease) => lease.reused,
        }
    }

    pub(super) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let answered = match self {
            Self::Http1(lease) => {
                lease.uses.used();
                lease.sender.try_send_request(request).await
            }
            Self::Http2(lease) => {
                lease
                    .connection
                    .sender
                    .clone()
                    .try_send_request(request)
                    .await
            }
        };
        answered.map_err(|mut error| Unanswered {
            request: error.take_message(),
            error: error.into_error(),
        })
    }

    /// The connection itself, once its answer was 101 or 2xx to CONNECT.
    pub(super) async fn upgraded(&self) -> Option<(Wire, Bytes)> {
        let Self::Http1(lease) = self else {
            return None;
        };
        let gone = lease.upgrades.borrow_mut().take()?;
        gone.await.ok()
    }

    /// The answer is complete.
    pub(super) fn give_back(self) {
        let Self::Http1(lease) = self else { return };
        let Some(pool) = lease.pool.upgrade() else {
            return;
        };
        if lease.sender.is_closed() || lease.uses.is_used_up() {
            return;
        }
        let awaited = {
            let waiting = pool.waiting.borrow();
            waiting
                .get(&lease.key)
                .map(|awaited| Rc::clone(&awaited.freed))
        };
        if awaited.is_none() && lease.uses.is_wanted() {
            // Another thread, or another way to the service, needs its place.
            return;
        }
        let mut http1 = pool.http1.borrow_mut();
        let idle = http1.entry(lease.key).or_default();
        if idle.len() >= IDLE_UPSTREAMS_PER_KEY_MAX {
            pool.metrics.limit_reached("idle_upstreams_per_key");
            return;
        }
        idle.push(Idle {
            sender: lease.sender,
            upgrades: lease.upgrades,
            since: Instant::now(),
            uses: lease.uses,
        });
        if let Some(freed) = awaited {
            freed.notify_one();
        }
    }
}

/// hyper's tasks stay on this thread.
#[derive(Clone, Copy)]
pub(super) struct Local;

impl<F> Executor<F> for Local
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}
