//! A request on its way: in one place until it is sent, so that what hands it on needs no copy.

use http::{HeaderMap, HeaderValue, Method, Request, header::ORIGIN, request::Parts};
use hyper::body::Body as _;

use std::rc::Rc;

use super::{
    body::Body,
    expect::{self, GoOn, Waiting},
    pool::Version,
    replay::Kept,
    semantics::Become,
};
use crate::proxy::services::Held;

pub(in crate::proxy) struct Outgoing {
    pub(super) head: Parts,
    pub(super) body: Body,
    pub(super) becomes: Option<Become>,
    /// To be told when the application wants the body.
    pub(super) expects: Option<GoOn>,
    /// What the application is spoken to in.
    pub(super) version: Version,
    taken: bool,
    /// The head stays here, and copies of it are sent.
    keeps_head: bool,
    /// What it takes to send it once more; `None`: it cannot be.
    kept: Option<Again>,
}

enum Again {
    Bodyless,
    Body(Rc<Kept>),
}

impl Outgoing {
    pub(super) fn new(head: Parts, body: Body, version: Version) -> Self {
        Self {
            head,
            body,
            becomes: None,
            expects: None,
            version,
            taken: false,
            keeps_head: false,
            kept: None,
        }
    }

    /// Where the client waits for a word before it sends the body, so does the body.
    pub(super) fn wait_if_expected(&mut self) {
        if expect::is_expected(&self.head.headers) && !self.body.is_end_stream() {
            let go_on = GoOn::default();
            let body = std::mem::take(&mut self.body);
            self.body = Body::Waiting(Box::new(Waiting::new(body, go_on.clone())));
            self.expects = Some(go_on);
        }
    }

    /// The request itself, to be sent.
    pub(super) fn take(&mut self) -> (Parts, Body) {
        self.taken = true;
        if self.keeps_head {
            return (copy_head(&self.head), std::mem::take(&mut self.body));
        }
        let mut left = empty_head();
        left.headers = remaining(&self.head.headers);
        let head = std::mem::replace(&mut self.head, left);
        (head, std::mem::take(&mut self.body))
    }

    /// The headers of one that will not be sent any more.
    pub(super) fn take_headers(&mut self) -> HeaderMap {
        let left = remaining(&self.head.headers);
        std::mem::replace(&mut self.head.headers, left)
    }

    /// The head can be looked at also after the request was sent.
    pub(super) fn keep_head(&mut self) {
        self.keeps_head = true;
    }

    /// Keeps what is needed to send it once more, of the body up to `limit` bytes.
    pub(super) fn keep(&mut self, limit: usize, held: Held) {
        self.keep_head();
        self.kept = Some(if self.body.is_end_stream() {
            Again::Bodyless
        } else {
            let kept = Kept::new(std::mem::take(&mut self.body), limit, held);
            self.body = kept.body();
            Again::Body(kept)
        });
    }

    /// Whether it can be sent once more.
    pub(super) fn can_go_again(&self) -> bool {
        match &self.kept {
            _ if !self.taken => true,
            None => false,
            Some(Again::Bodyless) => true,
            Some(Again::Body(kept)) => kept.is_whole(),
        }
    }

    /// Makes it as if nothing had been sent.
    pub(super) fn go_again(&mut self) {
        if self.taken {
            self.taken = false;
            self.body = match &self.kept {
                Some(Again::Body(kept)) => kept.body(),
                Some(Again::Bodyless) | None => Body::Empty,
            };
        }
    }

    /// It will not be sent again: nothing more is kept for that.
    pub(super) fn is_settled(&self) {
        if let Some(Again::Body(kept)) = &self.kept {
            kept.give_up();
        }
    }

    /// It was answered before the client was told to send the body.
    pub(super) fn is_left_without_body(&self) -> bool {
        self.expects.as_ref().is_some_and(GoOn::was_left_out)
    }

    /// Whether it is still there, for another endpoint.
    pub(super) fn is_unsent(&self) -> bool {
        !self.taken
    }

    /// The same once more, if sending it twice is harmless (RFC 9110 §9.2.2) and there is no body
    /// to replay.
    pub(super) fn copy(head: &Parts, body: &Body) -> Option<Parts> {
        let idempotent = matches!(
            head.method,
            Method::GET
                | Method::HEAD
                | Method::OPTIONS
                | Method::PUT
                | Method::DELETE
                | Method::TRACE
        );
        (idempotent && body.is_end_stream()).then(|| copy_head(head))
    }

    pub(super) fn origin(&self) -> Option<&HeaderValue> {
        self.head.headers.get(ORIGIN)
    }
}

/// What stays of a request's headers: `Origin`, which the answer's filters look at.
fn remaining(headers: &HeaderMap) -> HeaderMap {
    let mut left = HeaderMap::new();
    if let Some(origin) = headers.get(ORIGIN) {
        left.insert(ORIGIN, origin.clone());
    }
    left
}

/// Without the extensions, which are hyper's own.
fn copy_head(head: &Parts) -> Parts {
    let mut copy = empty_head();
    copy.method = head.method.clone();
    copy.uri = head.uri.clone();
    copy.version = head.version;
    copy.headers = head.headers.clone();
    copy
}

/// A head that allocates nothing.
pub(super) fn empty_head() -> Parts {
    let mut request = Request::new(());
    *request.headers_mut() = HeaderMap::new();
    request.into_parts().0
}
