//! One connection or request as a line of the access log, or of a tap.

use std::{
    borrow::Cow,
    io::{self, Write},
    sync::Arc,
    time::SystemTime,
};

use serde::{Serialize, Serializer, ser::SerializeMap};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Ended, EndedRequest};
use crate::{
    model::{
        mesh::{AccessLogField as Field, AccessLogFields},
        pod::Workload,
        spiffe::SpiffeId,
    },
    telemetry::labels::service_host,
};

/// What is told of it. As JSON, fields of which nothing is known are left out.
#[derive(Clone, Copy)]
pub(in crate::telemetry) struct Line<'a> {
    pub(in crate::telemetry) ended: &'a Ended,
    pub(in crate::telemetry) fields: AccessLogFields,
    pub(in crate::telemetry) cluster_domain: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Text(Cow<'a, str>),
    Number(u64),
    Millis(f64),
}

impl<'a> Line<'a> {
    fn value(&self, field: Field) -> Option<Value<'a>> {
        let ended = self.ended;
        let peers = &ended.peers;
        let of_source = |of: fn(&Workload) -> &Arc<str>| peers.source.as_deref().map(of);
        let of_destination = |of: fn(&Workload) -> &Arc<str>| peers.destination.as_deref().map(of);
        let text = match field {
            Field::Time => timestamp(ended.time).into(),
            Field::Reporter => peers.reporter.as_str().into(),
            Field::Reason => ended.reason.as_str().into(),
            Field::ResponseFlags => ended.reason.response_flags().into(),
            Field::SourceAddress => peers.source_address.to_string().into(),
            Field::SourcePod => of_source(pod)?.as_ref().into(),
            Field::SourceWorkload => of_source(workload)?.as_ref().into(),
            Field::SourceNamespace => of_source(namespace)?.as_ref().into(),
            Field::SourcePrincipal => principal(peers.source_principal.as_ref())?,
            Field::OriginalDestination => peers.original_destination.to_string().into(),
            Field::DestinationAddress => peers.destination_address.to_string().into(),
            Field::DestinationPod => of_destination(pod)?.as_ref().into(),
            Field::DestinationWorkload => of_destination(workload)?.as_ref().into(),
            Field::DestinationNamespace => of_destination(namespace)?.as_ref().into(),
            Field::DestinationPrincipal => principal(peers.destination_principal.as_ref())?,
            Field::DestinationService => {
                let service = &peers.service.as_ref()?.service;
                service_host(&service.name, self.cluster_domain).into()
            }
            Field::RequestProtocol => match &ended.request {
                Some(request) => request.protocol.as_str().into(),
                None => "tcp".into(),
            },
            Field::ConnectionSecurityPolicy => peers.security.as_str().into(),
            Field::Sni => peers.sni.as_deref()?.into(),
            Field::BytesSent => return Some(Value::Number(ended.bytes_sent)),
            Field::BytesReceived => return Some(Value::Number(ended.bytes_received)),
            Field::DurationMs => {
                let millis = (ended.duration.as_secs_f64() * 1e6).round() / 1e3;
                return Some(Value::Millis(millis));
            }
            Field::Detail => ended.detail.as_deref()?.into(),
            Field::Policy => ended.policy.as_deref()?.into(),
            of_request => return request_value(ended.request.as_ref()?, of_request),
        };
        Some(Value::Text(text))
    }

    fn text(&self, field: Field) -> Option<String> {
        Some(match self.value(field)? {
            Value::Text(text) => text.into_owned(),
            Value::Number(number) => number.to_string(),
            Value::Millis(millis) => millis.to_string(),
        })
    }

    /// For people: one line. Of all fields, the ends come first; of chosen ones, each has its name.
    pub(in crate::telemetry) fn write_text(&self, out: &mut Vec<u8>) -> io::Result<()> {
        if self.fields.is_all() {
            self.write_prose(out)?;
        } else {
            let mut separator = "";
            for field in self.fields.iter() {
                if let Some(value) = self.text(field) {
                    write!(out, "{separator}{}={}", field.as_str(), quoted(&value))?;
                    separator = " ";
                }
            }
        }
        out.write_all(b"\n")
    }

    fn write_prose(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let get = |field| self.text(field).unwrap_or_default();
        let end = |namespace, pod, address| match (self.text(namespace), self.text(pod)) {
            (Some(namespace), Some(pod)) => format!("{namespace}/{pod} ({})", get(address)),
            _ => get(address),
        };
        write!(
            out,
            "{} {:11} {} {} -> {}",
            get(Field::Time),
            get(Field::Reporter),
            get(Field::Reason),
            end(
                Field::SourceNamespace,
                Field::SourcePod,
                Field::SourceAddress
            ),
            end(
                Field::DestinationNamespace,
                Field::DestinationPod,
                Field::DestinationAddress
            ),
        )?;
        if let Some(request) = &self.ended.request {
            write!(
                out,
                " {} {}{} {} {}",
                request.method,
                quoted(&get(Field::Authority)),
                quoted(&get(Field::Path)),
                get(Field::Protocol),
                get(Field::ResponseCode),
            )?;
        }
        for (name, field) in [
            ("grpc", Field::GrpcStatus),
            ("service", Field::DestinationService),
            ("sni", Field::Sni),
            ("route", Field::Route),
            ("rule", Field::Rule),
            ("backend", Field::Backend),
            ("security", Field::ConnectionSecurityPolicy),
            ("sent", Field::BytesSent),
            ("received", Field::BytesReceived),
        ] {
            if let Some(value) = self.text(field) {
                write!(out, " {name}={}", quoted(&value))?;
            }
        }
        write!(out, " {}ms", get(Field::DurationMs))?;
        if let Some(trace) = self.text(Field::TraceId) {
            write!(out, " trace={trace}")?;
        }
        if let Some(policy) = &self.ended.policy {
            write!(out, " policy={policy}")?;
        }
        if let Some(detail) = &self.ended.detail {
            write!(out, " detail={detail:?}")?;
        }
        Ok(())
    }
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for field in self.fields.iter() {
            if let Some(value) = self.value(field) {
                map.serialize_entry(field.as_str(), &value)?;
            }
        }
        map.end()
    }
}

fn request_value(request: &EndedRequest, field: Field) -> Option<Value<'_>> {
    let details = request.details.as_deref();
    let rule = request.route.as_ref().map(|route| &route.rule);
    let text: Cow<'_, str> = match field {
        Field::Method => request.method.as_str().into(),
        Field::Authority => details?.authority.as_deref()?.into(),
        Field::Path => request.path()?.into(),
        Field::Protocol => request.protocol.version().into(),
        Field::UserAgent => details?.user_agent.as_deref()?.into(),
        Field::ResponseCode => {
            let status = request.status.map_or(0, |status| status.as_u16());
            return Some(Value::Number(status.into()));
        }
        Field::GrpcStatus => return Some(Value::Number(request.grpc_status?.into())),
        Field::Route => rule?.route_label.as_ref().into(),
        Field::Rule => rule?.rule_label.as_ref().into(),
        Field::Backend => request.route.as_ref()?.backend()?.into(),
        Field::TraceId => request.trace_id()?.to_string().into(),
        _ => return None,
    };
    Some(Value::Text(text))
}

fn pod(workload: &Workload) -> &Arc<str> {
    &workload.pod.name.name
}

fn workload(workload: &Workload) -> &Arc<str> {
    &workload.pod.workload_name
}

fn namespace(workload: &Workload) -> &Arc<str> {
    &workload.pod.name.namespace
}

fn principal(principal: Option<&SpiffeId>) -> Option<Cow<'_, str>> {
    principal.map(|principal| principal.as_str().into())
}

/// Text of a peer cannot forge a second line or another field.
fn quoted(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
    if text.chars().all(plain) {
        text.into()
    } else {
        format!("{text:?}").into()
    }
}

fn timestamp(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(&Rfc3339)
        .unwrap_or_default()
}
