//! `/debug/tap`: which requests are shown.

use http::{Method, method::InvalidMethod};
use thiserror::Error;

use crate::{
    model::names::ObjectName,
    telemetry::{Reason, StatusFilterError, TapFilter},
    traffic::form,
};

/// Why the query is no filter.
#[derive(Debug, Error)]
pub(super) enum FilterError {
    #[error("a service is NAMESPACE/NAME, or a name beside a namespace")]
    Service,
    #[error(transparent)]
    Method(#[from] InvalidMethod),
    #[error(transparent)]
    Status(#[from] StatusFilterError),
    #[error("there is no reason {0:?}; docs/guides/metrics.md lists them")]
    Reason(String),
    #[error(
        "there is no parameter {0:?}: they are namespace, pod, service, path, method, status and reason"
    )]
    Unknown(String),
}

/// Of `namespace`, `pod` (with or without its namespace before a slash), `service` (likewise),
/// `path`, `method`, `status` and `reason`.
pub(super) fn filter(query: &str) -> Result<TapFilter, FilterError> {
    let mut filter = TapFilter::default();
    let mut service = None;
    for (name, value) in form::pairs(query) {
        match name.as_str() {
            "namespace" => filter.namespace = Some(value.into()),
            "pod" => match value.split_once('/') {
                Some((namespace, pod)) => {
                    filter.namespace = Some(namespace.into());
                    filter.pod = Some(pod.into());
                }
                None => filter.pod = Some(value.into()),
            },
            "service" => service = Some(value),
            "path" => filter.path_prefix = Some(value.into()),
            "method" => filter.method = Some(Method::from_bytes(value.as_bytes())?),
            "status" => filter.status = Some(value.parse()?),
            "reason" => match Reason::of_name(&value) {
                Some(reason) => filter.reason = Some(reason),
                None => return Err(FilterError::Reason(value)),
            },
            _ => return Err(FilterError::Unknown(name)),
        }
    }
    if let Some(service) = service {
        filter.service = Some(match (service.split_once('/'), &filter.namespace) {
            (Some((namespace, name)), _) => ObjectName::new(namespace, name),
            (None, Some(namespace)) => ObjectName::new(namespace.clone(), service),
            (None, None) => return Err(FilterError::Service),
        });
    }
    Ok(filter)
}
