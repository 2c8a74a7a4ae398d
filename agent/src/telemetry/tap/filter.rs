//! Which requests a tap shows.

use std::{str::FromStr, sync::Arc};

use http::{Method, StatusCode};
use thiserror::Error;

use crate::{
    model::{names::ObjectName, pod::Workload},
    telemetry::{ended::Ended, reason::Reason},
};

/// All of what it says must hold; what is `None` lets everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TapFilter {
    /// Of either end.
    pub namespace: Option<Arc<str>>,
    /// Either end; in a namespace only together with `namespace`.
    pub pod: Option<Arc<str>>,
    pub service: Option<ObjectName>,
    /// Compared as text: `/a` lets `/ab` through.
    pub path_prefix: Option<Arc<str>>,
    pub method: Option<Method>,
    pub status: Option<StatusFilter>,
    pub reason: Option<Reason>,
}

/// `404`, or `4xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusFilter {
    Exact(StatusCode),
    /// The first digit.
    Class(u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a status is a number such as 404, or a class such as 4xx")]
pub struct StatusFilterError;

impl FromStr for StatusFilter {
    type Err = StatusFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_suffix("xx") {
            Some(class @ ("1" | "2" | "3" | "4" | "5")) => class
                .parse()
                .map(Self::Class)
                .map_err(|_| StatusFilterError),
            Some(_) => Err(StatusFilterError),
            None => text.parse().map(Self::Exact).map_err(|_| StatusFilterError),
        }
    }
}

impl StatusFilter {
    fn matches(self, status: StatusCode) -> bool {
        match self {
            Self::Exact(exact) => status == exact,
            Self::Class(class) => status.as_u16() / 100 == class,
        }
    }
}

impl TapFilter {
    /// Connections have no part in a tap.
    pub(super) fn matches(&self, ended: &Ended) -> bool {
        let Some(request) = &ended.request else {
            return false;
        };
        let peers = &ended.peers;
        let service = peers.service.as_ref().map(|state| &state.service.name);
        let ends = [peers.source.as_deref(), peers.destination.as_deref()];
        ends.into_iter().any(|end| self.matches_end(end))
            && self
                .service
                .as_ref()
                .is_none_or(|wanted| service == Some(wanted))
            && self.path_prefix.as_ref().is_none_or(|prefix| {
                let path = request.path();
                path.is_some_and(|path| path.starts_with(&**prefix))
            })
            && self
                .method
                .as_ref()
                .is_none_or(|method| request.method == *method)
            && self
                .status
                .is_none_or(|filter| request.status.is_some_and(|status| filter.matches(status)))
            && self.reason.is_none_or(|reason| ended.reason == reason)
    }

    /// The namespace and the pod are of the same end.
    fn matches_end(&self, end: Option<&Workload>) -> bool {
        let is = |wanted: &Option<Arc<str>>, of: fn(&ObjectName) -> &Arc<str>| {
            let name = end.map(|end| of(&end.pod.name));
            wanted.as_ref().is_none_or(|wanted| name == Some(wanted))
        };
        is(&self.namespace, |name| &name.namespace) && is(&self.pod, |name| &name.name)
    }
}
