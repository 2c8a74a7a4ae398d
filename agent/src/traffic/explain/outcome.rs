//! What can come of a request.

use http::StatusCode;
use serde::Serialize;

use crate::traffic::backend::Unresolved;

/// One of the ends that a request can have, and how likely it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    pub percent: f64,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Outcome {
    /// The mesh has no part in it.
    LeftAlone { why: String },
    /// To an endpoint of it.
    Sent { to: String },
    /// Weir answers itself, and all is well.
    #[serde(rename_all = "camelCase")]
    Answered {
        status: u16,
        why: String,
        /// Of a redirect.
        location: Option<String>,
    },
    /// Weir refuses an HTTP request.
    #[serde(rename_all = "camelCase")]
    Refused {
        status: u16,
        /// Of a gRPC call, whose HTTP status is 200.
        grpc_status: Option<u16>,
        /// `x-weir-reason`
        reason: &'static str,
        why: String,
    },
    /// Weir resets the connection.
    Reset { reason: &'static str, why: String },
}

/// The reasons of `telemetry::Reason` that a request can be refused for before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    BadRequest,
    NoRoute,
    BackendNotFound,
    NoHealthyEndpoint,
    NoSuchPort,
    PolicyDenied,
}

impl Refusal {
    #[cfg(test)]
    pub(super) const ALL: [Self; 6] = [
        Self::BadRequest,
        Self::NoRoute,
        Self::BackendNotFound,
        Self::NoHealthyEndpoint,
        Self::NoSuchPort,
        Self::PolicyDenied,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::NoRoute => "no_route",
            Self::BackendNotFound => "backend_not_found",
            Self::NoHealthyEndpoint => "no_healthy_endpoint",
            Self::NoSuchPort => "no_such_port",
            Self::PolicyDenied => "policy_denied",
        }
    }

    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::NoRoute | Self::NoSuchPort => StatusCode::NOT_FOUND,
            Self::BackendNotFound => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoHealthyEndpoint => StatusCode::SERVICE_UNAVAILABLE,
            Self::PolicyDenied => StatusCode::FORBIDDEN,
        }
    }

    pub(super) fn grpc_status(self) -> u16 {
        match self {
            Self::BadRequest => 13,
            Self::NoRoute | Self::NoSuchPort => 12,
            Self::BackendNotFound | Self::NoHealthyEndpoint => 14,
            Self::PolicyDenied => 7,
        }
    }
}

pub(super) fn reset(refusal: Refusal, why: String) -> Outcome {
    Outcome::Reset {
        reason: refusal.as_str(),
        why,
    }
}

pub(super) fn of_unresolved(error: &Unresolved) -> Refusal {
    match error {
        Unresolved::NoEndpoint(_) => Refusal::NoHealthyEndpoint,
        Unresolved::Refused(_) | Unresolved::NoService(_) | Unresolved::NoPort { .. } => {
            Refusal::BackendNotFound
        }
    }
}
