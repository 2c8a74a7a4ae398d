//! Answers that Weir gives itself: RequestRedirect, and CORS preflights.

use http::{HeaderValue, Response, StatusCode, header};

use super::{
    body::Body,
    pipeline::{Exchange, Target},
};
use crate::{
    model::route::{Redirect, Scheme},
    traffic::{cors, matching, redirect, request::RequestView},
};

impl Exchange {
    pub(super) fn preflight(&self) -> Option<Response<Body>> {
        let cors = self.filters()?.cors.as_ref()?;
        let request = RequestView {
            path: self.request.head.uri.path(),
            query: None,
            method: &self.request.head.method,
            headers: &self.request.head.headers,
            grpc: self.grpc,
        };
        let headers = cors::preflight(cors, &request)?;
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::OK;
        *response.headers_mut() = headers;
        Some(response)
    }

    pub(super) fn redirect(&self) -> Option<Response<Body>> {
        let redirect = self.filters()?.redirect.as_ref()?;
        self.redirect_by(redirect)
    }

    pub(super) fn redirect_by(&self, redirect: &Redirect) -> Option<Response<Body>> {
        let origin = redirect::Origin {
            scheme: Scheme::Http,
            authority: self.authority(),
            port: self.cx.dialled.port(),
        };
        let prefix = self.entry.as_ref().and_then(matching::matched_prefix);
        let location = redirect::location(redirect, &origin, self.path_and_query(), prefix);
        let location = HeaderValue::try_from(location).ok()?;
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = redirect.status;
        let headers = response.headers_mut();
        headers.insert(header::LOCATION, location);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        Some(response)
    }

    pub(super) fn redirect_of_backend(&self, target: &Target) -> Option<Response<Body>> {
        let backend = self.rule()?.rule().backends.get(target.backend?)?;
        self.redirect_by(backend.filters.redirect.as_ref()?)
    }
}
