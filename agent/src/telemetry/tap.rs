//! Tap: requests as they end, for who watches right now.
//!
//! Without a watcher a request pays one load. With one, workers read the list of watchers without a
//! lock and never wait: a watcher that does not keep up loses requests and is told how many.

mod filter;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName};
use serde::{Serialize, Serializer, ser::SerializeMap};
use thiserror::Error;
use tokio::sync::mpsc::{Receiver, Sender, channel};

pub use self::filter::{StatusFilter, StatusFilterError, TapFilter};
use super::{
    Shared, Wanted,
    ended::{Ended, Line},
};
use crate::model::mesh::AccessLogFields;

/// Watchers at a time.
pub const TAPS_MAX: usize = 8;
/// Requests that wait for one watcher.
const TAP_QUEUE_MAX: usize = 1024;
/// Header fields that are shown of a request, and of an answer.
const HEADERS_MAX: usize = 64;
/// Of each value so much.
const HEADER_BYTES_MAX: usize = 256;
const REDACTED: &str = "[redacted]";

/// There are [`TAPS_MAX`] watchers already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{TAPS_MAX} taps are open already; close one of them")]
pub struct TooManyTaps;

/// Who watches.
pub(super) struct Taps {
    watchers: ArcSwap<Vec<Arc<Watcher>>>,
    cluster_domain: Arc<str>,
}

struct Watcher {
    filter: TapFilter,
    queue: Sender<Arc<Ended>>,
    lost: AtomicU64,
}

impl Taps {
    pub(super) fn new(cluster_domain: Arc<str>) -> Self {
        Self {
            watchers: ArcSwap::default(),
            cluster_domain,
        }
    }

    pub(super) fn tell(&self, ended: &Arc<Ended>) {
        for watcher in self.watchers.load().iter() {
            if watcher.filter.matches(ended) && watcher.queue.try_send(Arc::clone(ended)).is_err() {
                watcher.lost.fetch_add(1, Relaxed);
            }
        }
    }
}

pub(super) fn subscribe(shared: &Arc<Shared>, filter: TapFilter) -> Result<TapStream, TooManyTaps> {
    let (queue, requests) = channel(TAP_QUEUE_MAX);
    let watcher = Arc::new(Watcher {
        filter,
        queue,
        lost: AtomicU64::new(0),
    });
    // Two who come at once both go through here; the one that was second tries again.
    let before = shared.taps.watchers.rcu(|watchers| {
        let mut watchers = Vec::clone(watchers);
        if watchers.len() < TAPS_MAX {
            watchers.push(Arc::clone(&watcher));
        }
        watchers
    });
    if before.len() >= TAPS_MAX {
        return Err(TooManyTaps);
    }
    shared.want(Wanted::Taps, true);
    Ok(TapStream {
        shared: Arc::clone(shared),
        watcher,
        requests,
    })
}

/// Requests for one watcher. Dropping it ends the tap.
pub struct TapStream {
    shared: Arc<Shared>,
    watcher: Arc<Watcher>,
    requests: Receiver<Arc<Ended>>,
}

impl TapStream {
    /// The next request; before it, how many were lost since the last one. May be cancelled.
    pub async fn next(&mut self) -> TapEvent {
        if let Some(lost) = self.lost() {
            return lost;
        }
        match self.requests.recv().await {
            Some(ended) => TapEvent(Event::Request {
                ended,
                cluster_domain: Arc::clone(&self.shared.taps.cluster_domain),
            }),
            // Not before the stream, which holds the queue's other end, is dropped.
            None => std::future::pending().await,
        }
    }

    fn lost(&self) -> Option<TapEvent> {
        let lost = self.watcher.lost.swap(0, Relaxed);
        (lost > 0).then_some(TapEvent(Event::Lost(lost)))
    }
}

impl Drop for TapStream {
    fn drop(&mut self) {
        let taps = &self.shared.taps;
        taps.watchers.rcu(|watchers| {
            let others = watchers.iter();
            let others = others.filter(|other| !Arc::ptr_eq(other, &self.watcher));
            others.cloned().collect::<Vec<_>>()
        });
        if taps.watchers.load().is_empty() {
            self.shared.want(Wanted::Taps, false);
            // Somebody may have come meanwhile.
            if !taps.watchers.load().is_empty() {
                self.shared.want(Wanted::Taps, true);
            }
        }
    }
}

impl fmt::Debug for TapStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TapStream")
            .field("filter", &self.watcher.filter)
            .finish_non_exhaustive()
    }
}

/// What a tap tells. As JSON: an object with the fields of the access log, `request_headers` and
/// `response_headers`; or `{"lost": n}`.
#[derive(Debug)]
pub struct TapEvent(Event);

#[derive(Debug)]
enum Event {
    Request {
        ended: Arc<Ended>,
        cluster_domain: Arc<str>,
    },
    Lost(u64),
}

impl TapEvent {
    /// How many requests were lost for being read too slowly.
    pub fn lost(&self) -> Option<u64> {
        match self.0 {
            Event::Request { .. } => None,
            Event::Lost(lost) => Some(lost),
        }
    }
}

impl Serialize for TapEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Event::Lost(lost) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("lost", lost)?;
                map.end()
            }
            Event::Request {
                ended,
                cluster_domain,
            } => TappedRequest {
                line: Line {
                    ended,
                    fields: AccessLogFields::default(),
                    cluster_domain,
                },
                headers: ended
                    .request
                    .as_ref()
                    .and_then(|request| request.headers.as_deref()),
            }
            .serialize(serializer),
        }
    }
}

#[derive(Serialize)]
struct TappedRequest<'a> {
    #[serde(flatten)]
    line: Line<'a>,
    #[serde(flatten)]
    headers: Option<&'a CapturedHeaders>,
}

/// Headers as a tap shows them: what is secret is gone before they leave the data plane.
#[derive(Debug, Default, Serialize)]
pub(super) struct CapturedHeaders {
    #[serde(rename = "request_headers")]
    pub(super) request: Vec<(String, String)>,
    #[serde(rename = "response_headers")]
    pub(super) response: Vec<(String, String)>,
}

/// In their order, repeated fields apart.
pub(super) fn redacted(headers: &HeaderMap) -> Vec<(String, String)> {
    let shown = headers.iter().take(HEADERS_MAX).map(|(name, value)| {
        let value = if is_secret(name) {
            REDACTED.to_owned()
        } else {
            let bytes = value.as_bytes();
            let shown = bytes.get(..HEADER_BYTES_MAX).unwrap_or(bytes);
            String::from_utf8_lossy(shown).into_owned()
        };
        (name.as_str().to_owned(), value)
    });
    shown.collect()
}

fn is_secret(name: &HeaderName) -> bool {
    let name = name.as_str();
    let known = [
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "x-api-key",
    ];
    known.contains(&name)
        || ["token", "secret", "password"]
            .iter()
            .any(|word| name.contains(word))
}

#[cfg(test)]
mod tests;
