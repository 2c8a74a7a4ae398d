//! A body whose frames come when a test says so: a mirror's copy.

use super::*;

pub(in crate::proxy::l7) struct Fed(Rc<RefCell<Feed>>);

impl Fed {
    pub(in crate::proxy::l7) fn new() -> (Self, Body) {
        let feed = Rc::<RefCell<Feed>>::default();
        (Self(Rc::clone(&feed)), Body::Mirrored(Mirrored(feed)))
    }

    pub(in crate::proxy::l7) fn data(&self, text: &'static str) {
        let frame = Frame::data(Bytes::from_static(text.as_bytes()));
        self.0.borrow_mut().push(frame);
    }

    pub(in crate::proxy::l7) fn trailers(&self, trailers: http::HeaderMap) {
        self.0.borrow_mut().push(Frame::trailers(trailers));
    }

    pub(in crate::proxy::l7) fn ends(&self) {
        self.0.borrow_mut().end(Ended::Whole);
    }

    pub(in crate::proxy::l7) fn breaks(&self) {
        self.0.borrow_mut().end(Ended::Broken);
    }
}
