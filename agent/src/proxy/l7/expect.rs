//! `Expect: 100-continue` (RFC 9110 §10.1.1): the body of a request waits until the application
//! wants it.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::EXPECT};
use http_body::Frame;
use hyper::body::Body as _;
use tokio::time::{Sleep, sleep};

use super::body::{Body, BodyError};
use crate::transport::limits::CONTINUE_TIMEOUT;

/// Whether the client waits for a word before it sends the body.
pub(super) fn is_expected(headers: &HeaderMap) -> bool {
    headers
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The application's word to go on. hyper wants its callbacks to be `Send`: hence no `Rc`.
#[derive(Clone, Default)]
pub(super) struct GoOn(Arc<State>);

#[derive(Default)]
struct State {
    said: AtomicBool,
    waiting: Mutex<Option<Waker>>,
}

impl GoOn {
    pub(super) fn say(&self) {
        self.0.said.store(true, Ordering::Release);
        let waiting = self
            .0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// An answer without the word: the client may never send the body, or send it after all. Only
    /// the end of the connection makes that clear (RFC 9110 §10.1.1).
    pub(super) fn was_left_out(&self) -> bool {
        !self.0.said.load(Ordering::Acquire)
    }

    /// For hyper: what the application answers before its answer.
    pub(super) fn listen_to(&self, request: &mut http::Request<Body>) {
        let go_on = self.clone();
        hyper::ext::on_informational(request, move |response| {
            if response.status() == StatusCode::CONTINUE {
                go_on.say();
            }
        });
    }

    pub(super) fn poll_said(&self, cx: &Context<'_>) -> Poll<()> {
        if self.0.said.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        let mut waiting = self
            .0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *waiting = Some(cx.waker().clone());
        drop(waiting);
        // It may have been said meanwhile.
        match self.0.said.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

/// A body that is not asked for until the application says so, or has been silent for so long
/// that it probably never will.
pub(in crate::proxy) struct Waiting {
    body: Body,
    go_on: GoOn,
    patience: Option<Pin<Box<Sleep>>>,
    over: bool,
}

impl Waiting {
    pub(super) fn new(body: Body, go_on: GoOn) -> Self {
        Self {
            body,
            go_on,
            patience: None,
            over: false,
        }
    }

    pub(super) fn body(&self) -> &Body {
        &self.body
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.over {
            if self.go_on.poll_said(cx).is_pending() {
                let patience = self
                    .patience
                    .get_or_insert_with(|| Box::pin(sleep(CONTINUE_TIMEOUT)));
                ready!(patience.as_mut().poll(cx));
            }
            self.over = true;
            self.patience = None;
            self.go_on.say();
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }
}
