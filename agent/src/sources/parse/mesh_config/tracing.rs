//! `spec.tracing`.

use http::Uri;
use serde::Deserialize;

use super::{per_namespace, share};
use crate::{
    model::mesh::{Collector, OtlpProtocol, PerNamespace, Tracing},
    sources::parse::{
        field::{Errors, FieldReason},
        strings::Strings,
    },
};

const PATH: &str = "spec.tracing";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec<'a> {
    endpoint: Option<&'a str>,
    protocol: Option<&'a str>,
    sampling: Option<f64>,
    #[serde(borrow)]
    namespaces: Option<Vec<Override<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Override<'a> {
    #[serde(borrow)]
    names: Vec<&'a str>,
    sampling: Option<f64>,
}

/// `None` only with an error.
pub(super) fn parse(
    spec: &Spec<'_>,
    strings: &mut Strings,
    errors: &mut Errors,
) -> Option<Tracing> {
    let sampling = PerNamespace {
        default: share(spec.sampling, format!("{PATH}.sampling"), errors),
        namespaces: per_namespace(
            &format!("{PATH}.namespaces"),
            spec.namespaces.as_deref().unwrap_or_default(),
            |spec| &spec.names,
            |spec, path, errors| share(spec.sampling, format!("{path}.sampling"), errors),
            strings,
            errors,
        ),
    };
    let Some(endpoint) = spec.endpoint else {
        errors.push(format!("{PATH}.endpoint"), FieldReason::Required);
        return None;
    };
    let protocol = protocol(spec.protocol, errors);
    let Some(collector) = collector(endpoint, protocol, strings) else {
        let value = endpoint.to_owned();
        errors.push(format!("{PATH}.endpoint"), FieldReason::Collector { value });
        return None;
    };
    Some(Tracing {
        collector,
        sampling,
    })
}

/// `None`: the port says it.
fn protocol(protocol: Option<&str>, errors: &mut Errors) -> Option<OtlpProtocol> {
    match protocol? {
        "grpc" => Some(OtlpProtocol::Grpc),
        "http" => Some(OtlpProtocol::Http),
        other => {
            let value = other.to_owned();
            let allowed = "grpc, http";
            errors.push(
                format!("{PATH}.protocol"),
                FieldReason::NotOneOf { value, allowed },
            );
            None
        }
    }
}

/// `http://host[:port][/path]`.
fn collector(
    endpoint: &str,
    protocol: Option<OtlpProtocol>,
    strings: &mut Strings,
) -> Option<Collector> {
    let uri: Uri = endpoint.parse().ok()?;
    let authority = uri.authority()?;
    if uri.scheme_str() != Some("http") || uri.query().is_some() || authority.as_str().contains('@')
    {
        return None;
    }
    let port = match authority.as_str().rsplit_once(':') {
        // A port that is none is no default either.
        Some((_, after)) if !after.contains(']') => Some(authority.port_u16()?),
        _ => None,
    };
    let http = port == Some(OtlpProtocol::Http.default_port());
    let protocol = protocol.unwrap_or(if http {
        OtlpProtocol::Http
    } else {
        OtlpProtocol::Grpc
    });
    let path = match (protocol, uri.path()) {
        (_, "" | "/") => protocol.default_path(),
        (OtlpProtocol::Http, path) => path,
        (OtlpProtocol::Grpc, _) => return None,
    };
    Some(Collector {
        protocol,
        host: strings.get(uri.host()?),
        port: port.unwrap_or_else(|| protocol.default_port()),
        path: strings.get(path),
    })
}
