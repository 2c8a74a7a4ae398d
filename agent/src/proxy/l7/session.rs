//! `sessionPersistence`: which backend and endpoint a client's session is with.

use http::Response;

use super::{
    body::Body,
    pipeline::{Exchange, Target},
};
use crate::{
    model::{
        route::{BackendRef, SessionPersistence},
        service::Endpoint,
    },
    traffic::affinity,
};

impl Exchange {
    pub(super) fn session_of(&self, session: &SessionPersistence) -> Option<affinity::Token> {
        affinity::read(
            session,
            &self.request.head.headers,
            self.cx.worker.unix_seconds(),
        )
    }

    pub(super) fn keep_session(
        &self,
        response: &mut Response<Body>,
        target: &Target,
        endpoint: Endpoint,
    ) {
        let Some(rule) = self.rule().map(|rule| rule.rule()) else {
            return;
        };
        let (Some(session), Some(index)) = (&rule.session, target.backend) else {
            return;
        };
        let now = self.cx.worker.unix_seconds();
        let BackendRef::Service { name, port } = &rule.backends[index].backend else {
            return;
        };
        let mut token = affinity::Token::new(name, *port, endpoint, now);
        if let Some(read) = &self.session {
            token.issued_unix = read.issued_unix;
        }
        if affinity::needs_write(session, self.session.as_ref(), &token, now)
            && let Some((name, value)) = affinity::write(session, &token, now, false)
        {
            response.headers_mut().append(name, value);
        }
    }
}
