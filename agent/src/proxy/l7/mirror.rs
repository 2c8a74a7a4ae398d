//! Shadow traffic (`RequestMirror`): the same request to another backend as well, whose answer
//! nobody sees. It never delays or fails the request itself.

use std::{
    cell::RefCell,
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::request::Parts;
use http_body::Frame;
use hyper::body::Body as _;
use tokio::{task::spawn_local, time::timeout};

use super::{
    body::{Body, BodyError},
    outbound::Outbound,
    pipeline::{Exchange, Target},
    retry,
};
use crate::{
    model::route::{Mirror, ResolvedRule},
    traffic::{backend, mirror::chosen},
    transport::limits::{MIRROR_LAG_BYTES_MAX, MIRROR_TIMEOUT, MIRRORS_MAX},
};

/// Starts the mirrors of a rule that this request is chosen for.
pub(super) fn start(exchange: &mut Exchange, rule: &Arc<ResolvedRule>, backend: Option<usize>) {
    let mut feeds = Vec::new();
    for (index, mirror) in of_request(rule, backend) {
        let refused = rule.mirrors_refused.get(index).is_some_and(Option::is_some);
        let worker = &exchange.cx.worker;
        if refused || !chosen(mirror, worker.balancer.random()) {
            continue;
        }
        if worker.mirrors.get() >= MIRRORS_MAX {
            worker.metrics.limit_reached("mirrors");
            continue;
        }
        let body = if exchange.request.body.is_end_stream() {
            Body::Empty
        } else {
            let feed = Rc::new(RefCell::new(Feed::default()));
            feeds.push(Rc::clone(&feed));
            Body::Mirrored(Mirrored(feed))
        };
        run(exchange, mirror.clone(), rule, body);
    }
    if !feeds.is_empty() {
        let body = std::mem::take(&mut exchange.request.body);
        exchange.request.body = Body::Mirroring(Box::new(Mirroring { body, feeds }));
    }
}

/// The rule's mirrors and those of the chosen backend, each with its place among all of the rule.
fn of_request(
    rule: &ResolvedRule,
    backend: Option<usize>,
) -> impl Iterator<Item = (usize, &Mirror)> {
    let of_backends = rule.rule().backends.iter().enumerate();
    let of_backends = of_backends.flat_map(|(index, backend)| {
        backend
            .filters
            .mirrors
            .iter()
            .map(move |m| (Some(index), m))
    });
    let of_rule = rule.rule().filters.mirrors.iter().map(|m| (None, m));
    of_rule
        .chain(of_backends)
        .enumerate()
        .filter(move |(_, (of, _))| of.is_none() || *of == backend)
        .map(|(place, (_, mirror))| (place, mirror))
}

fn run(exchange: &Exchange, mirror: Mirror, rule: &Arc<ResolvedRule>, body: Body) {
    let cx = Rc::clone(&exchange.cx);
    let head = exchange.request.head.clone();
    let limit = rule.rule().timeouts.request;
    let limit = limit
        .filter(|limit| !limit.is_zero())
        .unwrap_or(MIRROR_TIMEOUT);
    let counted = Counted::new(&cx);
    spawn_local(async move {
        let _counted = counted;
        let mirrored = mirror_one(&cx, head, body, mirror);
        if timeout(limit, mirrored).await.is_err() {
            tracing::trace!("a mirrored request took too long");
        }
    });
}

async fn mirror_one(cx: &Rc<Outbound>, head: Parts, body: Body, mirror: Mirror) {
    let mut exchange = Exchange::mirrored(Rc::clone(cx), head, body);
    let resolved = backend::resolve(&exchange.snapshot, &mirror.backend)
        .map(|resolved| Target::of(resolved, &cx.worker, &exchange.snapshot));
    let outcome = match resolved {
        Ok(target) => retry::send(&mut exchange, &target)
            .await
            .map(|(sent, _)| sent),
        Err(error) => Err(error.into()),
    };
    exchange.mirror_ended(outcome).await;
}

/// Reads an answer that nobody wants to its end, so that its connection can be used again.
pub(super) async fn discard(mut body: Body) {
    while let Some(Ok(_)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {}
}

/// Counts a mirrored request that is under way.
struct Counted(Rc<Outbound>);

impl Counted {
    fn new(cx: &Rc<Outbound>) -> Self {
        let mirrors = &cx.worker.mirrors;
        mirrors.set(mirrors.get() + 1);
        Self(Rc::clone(cx))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mirrors = &self.0.worker.mirrors;
        mirrors.set(mirrors.get() - 1);
    }
}

/// A request's body that is copied as it passes.
pub(in crate::proxy) struct Mirroring {
    body: Body,
    feeds: Vec<Rc<RefCell<Feed>>>,
}

/// The copy, on the mirror's side.
pub(in crate::proxy) struct Mirrored(Rc<RefCell<Feed>>);

#[derive(Default)]
struct Feed {
    frames: VecDeque<Frame<Bytes>>,
    bytes: usize,
    ended: Option<Ended>,
    reader: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Whole,
    /// The body broke, or the mirror lags too far behind.
    Broken,
}

impl Feed {
    fn push(&mut self, frame: Frame<Bytes>) {
        if self.ended.is_some() {
            return;
        }
        self.bytes += frame.data_ref().map_or(0, Bytes::len);
        if self.bytes > MIRROR_LAG_BYTES_MAX {
            self.end(Ended::Broken);
            return;
        }
        self.frames.push_back(frame);
        self.wake();
    }

    /// The first end counts.
    fn end(&mut self, ended: Ended) {
        if self.ended.is_none() {
            self.ended = Some(ended);
            if ended == Ended::Broken {
                self.frames.clear();
            }
            self.wake();
        }
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Mirroring {
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        for feed in &self.feeds {
            let mut feed = feed.borrow_mut();
            match &polled {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        feed.push(Frame::data(data.clone()));
                    } else if let Some(trailers) = frame.trailers_ref() {
                        feed.push(Frame::trailers(trailers.clone()));
                    }
                    if self.body.is_end_stream() {
                        feed.end(Ended::Whole);
                    }
                }
                Some(Err(_)) => feed.end(Ended::Broken),
                None => feed.end(Ended::Whole),
            }
        }
        Poll::Ready(polled)
    }

    pub(super) fn body(&self) -> &Body {
        &self.body
    }
}

impl Drop for Mirroring {
    fn drop(&mut self) {
        for feed in &self.feeds {
            // Unless it came to its end already.
            feed.borrow_mut().end(Ended::Broken);
        }
    }
}

impl Mirrored {
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut feed = self.0.borrow_mut();
        if let Some(frame) = feed.frames.pop_front() {
            feed.bytes -= frame.data_ref().map_or(0, Bytes::len);
            return Poll::Ready(Some(Ok(frame)));
        }
        match feed.ended {
            Some(Ended::Whole) => Poll::Ready(None),
            Some(Ended::Broken) => Poll::Ready(Some(Err(BodyError::Lagging))),
            None => {
                feed.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
pub(super) mod testing;
