//! `filters` of rules and of their backends.

use std::sync::Arc;

use http::StatusCode;
use serde::{Deserialize, de::IgnoredAny};

use super::{
    backend::Reference, cors::CorsSpec, field::FieldReason, headers::HeaderSpec,
    matches::is_path_text, path::Path, route::Reader,
};
use crate::model::route::{Filters, Mirror, PathModifier, Redirect, Rewrite, Scheme};

const FILTERS_MAX: usize = 16;
const PATH_BYTES_MAX: usize = 1024;
const PERCENT_MAX: u32 = 100;

/// Which kinds of filters there can be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Http,
    Grpc,
}

impl Level {
    fn types(self) -> &'static str {
        match self {
            Self::Http => {
                "RequestHeaderModifier, ResponseHeaderModifier, RequestMirror, RequestRedirect, URLRewrite, CORS"
            }
            Self::Grpc => "RequestHeaderModifier, ResponseHeaderModifier, RequestMirror",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Filter<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    request_header_modifier: Option<HeaderSpec<'a>>,
    #[serde(borrow)]
    response_header_modifier: Option<HeaderSpec<'a>>,
    #[serde(borrow)]
    request_mirror: Option<MirrorSpec<'a>>,
    #[serde(borrow)]
    request_redirect: Option<RedirectSpec<'a>>,
    #[serde(borrow)]
    url_rewrite: Option<RewriteSpec<'a>>,
    #[serde(borrow)]
    cors: Option<CorsSpec<'a>>,
    extension_ref: Option<IgnoredAny>,
    external_auth: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct MirrorSpec<'a> {
    #[serde(borrow)]
    backend_ref: Reference<'a>,
    percent: Option<i64>,
    fraction: Option<Fraction>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fraction {
    numerator: i64,
    denominator: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RedirectSpec<'a> {
    scheme: Option<&'a str>,
    hostname: Option<&'a str>,
    #[serde(borrow)]
    path: Option<PathSpec<'a>>,
    port: Option<i64>,
    status_code: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RewriteSpec<'a> {
    hostname: Option<&'a str>,
    #[serde(borrow)]
    path: Option<PathSpec<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PathSpec<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    replace_full_path: Option<&'a str>,
    replace_prefix_match: Option<&'a str>,
}

impl Filter<'_> {
    /// Each type with its field, and whether that is there.
    fn fields(&self) -> [(&'static str, &'static str, bool); 8] {
        [
            (
                "RequestHeaderModifier",
                "requestHeaderModifier",
                self.request_header_modifier.is_some(),
            ),
            (
                "ResponseHeaderModifier",
                "responseHeaderModifier",
                self.response_header_modifier.is_some(),
            ),
            (
                "RequestMirror",
                "requestMirror",
                self.request_mirror.is_some(),
            ),
            (
                "RequestRedirect",
                "requestRedirect",
                self.request_redirect.is_some(),
            ),
            ("URLRewrite", "urlRewrite", self.url_rewrite.is_some()),
            ("CORS", "cors", self.cors.is_some()),
            ("ExtensionRef", "extensionRef", self.extension_ref.is_some()),
            ("ExternalAuth", "externalAuth", self.external_auth.is_some()),
        ]
    }
}

impl Reader<'_> {
    pub(super) fn filters(
        &mut self,
        shapes: Option<Vec<Filter<'_>>>,
        level: Level,
        at: Path<'_>,
    ) -> Filters {
        let mut filters = Filters::default();
        let mut kinds: Vec<String> = Vec::new();
        for (index, shape) in self.items(shapes, FILTERS_MAX, at).into_iter().enumerate() {
            let at = at.index(index);
            if !self.is_one_filter(&shape, level, at) {
                continue;
            }
            self.filter_clash(&kinds, shape.kind, at.key("type"));
            kinds.push(shape.kind.to_owned());
            self.filter(shape, &mut filters, at);
        }
        filters
    }

    /// Whether the filter is of a type that is known here and has that type's field alone.
    fn is_one_filter(&mut self, shape: &Filter<'_>, level: Level, at: Path<'_>) -> bool {
        if matches!(shape.kind, "ExtensionRef" | "ExternalAuth") {
            self.push(at.key("type"), FieldReason::Unsupported);
            return false;
        }
        if !level.types().split(", ").any(|kind| kind == shape.kind) {
            self.not_one_of(shape.kind, level.types(), at.key("type"));
            return false;
        }
        let mut is_one = true;
        for (kind, field, there) in shape.fields() {
            if (kind == shape.kind) == there {
                continue;
            }
            is_one = false;
            let reason = match there {
                true => FieldReason::NotTogether {
                    with: format!("type {}", shape.kind),
                },
                false => FieldReason::Required,
            };
            self.push(at.key(field), reason);
        }
        is_one
    }

    fn filter_clash(&mut self, before: &[String], kind: &str, at: Path<'_>) {
        let has = |kind: &str| before.iter().any(|other| other == kind);
        if kind != "RequestMirror" && has(kind) {
            self.twice(kind, at);
        }
        let excluded = match kind {
            "RequestRedirect" => "URLRewrite",
            "URLRewrite" => "RequestRedirect",
            _ => return,
        };
        if has(excluded) {
            let with = excluded.to_owned();
            self.push(at, FieldReason::NotTogether { with });
        }
    }

    fn filter(&mut self, shape: Filter<'_>, filters: &mut Filters, at: Path<'_>) {
        if let Some(spec) = shape.request_header_modifier {
            let at = at.key("requestHeaderModifier");
            filters.request_headers = Some(self.header_modifier(spec, at));
        }
        if let Some(spec) = shape.response_header_modifier {
            let at = at.key("responseHeaderModifier");
            filters.response_headers = Some(self.header_modifier(spec, at));
        }
        if let Some(spec) = shape.request_mirror {
            filters
                .mirrors
                .push(self.mirror(&spec, at.key("requestMirror")));
        }
        if let Some(spec) = shape.request_redirect {
            filters.redirect = Some(self.redirect(&spec, at.key("requestRedirect")));
        }
        if let Some(spec) = shape.url_rewrite {
            let at = at.key("urlRewrite");
            filters.rewrite = Some(Rewrite {
                hostname: self.new_hostname(spec.hostname, at.key("hostname")),
                path: self.path_modifier(spec.path.as_ref(), at.key("path")),
            });
        }
        if let Some(spec) = shape.cors {
            filters.cors = Some(self.cors(spec, at.key("cors")));
        }
    }

    fn mirror(&mut self, spec: &MirrorSpec<'_>, at: Path<'_>) -> Mirror {
        let (numerator, denominator) = match (spec.percent, &spec.fraction) {
            (percent, None) => {
                let percent = percent.unwrap_or(PERCENT_MAX.into());
                (
                    self.whole(percent, 0..=PERCENT_MAX, at.key("percent")),
                    PERCENT_MAX,
                )
            }
            (None, Some(fraction)) => self.fraction(fraction, at.key("fraction")),
            (Some(_), Some(_)) => {
                let with = "percent".to_owned();
                self.push(at.key("fraction"), FieldReason::NotTogether { with });
                (0, PERCENT_MAX)
            }
        };
        Mirror {
            backend: self.backend(spec.backend_ref, at.key("backendRef")),
            numerator,
            denominator,
        }
    }

    fn fraction(&mut self, fraction: &Fraction, at: Path<'_>) -> (u32, u32) {
        const MAX: u32 = i32::MAX as u32;
        let denominator = fraction.denominator.unwrap_or(PERCENT_MAX.into());
        let denominator = self.whole(denominator, 1..=MAX, at.key("denominator"));
        let numerator = self.whole(fraction.numerator, 0..=denominator, at.key("numerator"));
        (numerator, denominator)
    }

    fn redirect(&mut self, spec: &RedirectSpec<'_>, at: Path<'_>) -> Redirect {
        let scheme = match spec.scheme {
            None => None,
            Some("http") => Some(Scheme::Http),
            Some("https") => Some(Scheme::Https),
            Some(other) => {
                self.not_one_of(other, "http, https", at.key("scheme"));
                None
            }
        };
        let status = match spec.status_code {
            None | Some(302) => StatusCode::FOUND,
            Some(301) => StatusCode::MOVED_PERMANENTLY,
            Some(303) => StatusCode::SEE_OTHER,
            Some(307) => StatusCode::TEMPORARY_REDIRECT,
            Some(308) => StatusCode::PERMANENT_REDIRECT,
            Some(other) => {
                let allowed = "301, 302, 303, 307, 308";
                self.not_one_of(&other.to_string(), allowed, at.key("statusCode"));
                StatusCode::FOUND
            }
        };
        Redirect {
            scheme,
            hostname: self.new_hostname(spec.hostname, at.key("hostname")),
            path: self.path_modifier(spec.path.as_ref(), at.key("path")),
            port: spec.port.and_then(|port| self.port(port, at.key("port"))),
            status,
        }
    }

    fn new_hostname(&mut self, hostname: Option<&str>, at: Path<'_>) -> Option<Arc<str>> {
        let hostname = hostname?;
        self.hostname(hostname, at);
        Some(self.strings.get(hostname))
    }

    fn path_modifier(&mut self, spec: Option<&PathSpec<'_>>, at: Path<'_>) -> Option<PathModifier> {
        let spec = spec?;
        let full = ("replaceFullPath", spec.replace_full_path);
        let prefix = ("replacePrefixMatch", spec.replace_prefix_match);
        let ((field, value), (other, stray)) = match spec.kind {
            "ReplaceFullPath" => (full, prefix),
            "ReplacePrefixMatch" => (prefix, full),
            kind => {
                let allowed = "ReplaceFullPath, ReplacePrefixMatch";
                self.not_one_of(kind, allowed, at.key("type"));
                return None;
            }
        };
        if stray.is_some() {
            let with = format!("type {}", spec.kind);
            self.push(at.key(other), FieldReason::NotTogether { with });
        }
        let Some(value) = value else {
            self.push(at.key(field), FieldReason::Required);
            return None;
        };
        self.new_path(value, field == prefix.0, at.key(field));
        let value = self.strings.get(value);
        Some(match field == prefix.0 {
            true => PathModifier::Prefix(value),
            false => PathModifier::Full(value),
        })
    }

    /// What would not make a request's path is refused; a prefix may become nothing.
    fn new_path(&mut self, path: &str, may_be_empty: bool, at: Path<'_>) {
        if path.len() > PATH_BYTES_MAX {
            let bytes_max = PATH_BYTES_MAX;
            self.push(at, FieldReason::TooLong { bytes_max });
        }
        let shaped = path.starts_with('/') || may_be_empty && path.is_empty();
        if !shaped || !is_path_text(path) {
            let value = path.to_owned();
            self.push(at, FieldReason::PathText { value });
        }
    }
}
