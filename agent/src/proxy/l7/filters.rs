//! What a route changes of a request and of its answer: URLRewrite, the header modifiers, CORS.

use http::{
    HeaderValue, Response, Uri, header,
    uri::{Authority, PathAndQuery},
};

use super::{
    body::Body,
    pipeline::{Exchange, Target},
};
use crate::{
    model::route::Rewrite,
    traffic::{cors, matching, modify, rewrite},
};

impl Exchange {
    pub(super) fn modify(&mut self, target: &Target) {
        let Some(entry) = self.entry.clone() else {
            return;
        };
        let rule = entry.rule.rule();
        let of_backend = target.backend.map(|index| &rule.backends[index].filters);
        for filters in [Some(&rule.filters), of_backend].into_iter().flatten() {
            if let Some(rewrite) = &filters.rewrite {
                self.rewrite(rewrite, matching::matched_prefix(&entry));
            }
            if let Some(modifier) = &filters.request_headers {
                modify::headers(modifier, &mut self.request.head.headers);
            }
        }
    }

    /// What a rewrite leaves out stays; one that comes to no valid target changes nothing.
    pub(super) fn rewrite(&mut self, rewrite: &Rewrite, prefix: Option<&str>) {
        let mut uri = std::mem::take(&mut self.request.head.uri).into_parts();
        if let Some(modifier) = &rewrite.path {
            let now = uri
                .path_and_query
                .as_ref()
                .map_or("/", PathAndQuery::as_str);
            let new = rewrite::path_and_query(modifier, now, prefix);
            if let Ok(new) = PathAndQuery::try_from(new) {
                uri.path_and_query = Some(new);
            }
        }
        if let Some(hostname) = &rewrite.hostname {
            if uri.authority.is_some() {
                uri.authority = Authority::try_from(&**hostname).ok().or(uri.authority);
            }
            if let Ok(host) = HeaderValue::from_str(hostname) {
                self.request.head.headers.insert(header::HOST, host);
            }
        }
        self.request.head.uri = Uri::from_parts(uri).unwrap_or_default();
    }

    pub(super) fn modify_response(&self, response: &mut Response<Body>, backend: Option<usize>) {
        let Some(rule) = self.rule().map(|rule| rule.rule()) else {
            return;
        };
        let of_backend = backend.map(|index| &rule.backends[index].filters);
        for filters in [of_backend, Some(&rule.filters)].into_iter().flatten() {
            if let Some(modifier) = &filters.response_headers {
                modify::headers(modifier, response.headers_mut());
            }
            if let Some(cors) = &filters.cors {
                let origin = self.request.origin();
                cors::response(cors, origin, response.headers_mut());
            }
        }
    }
}
