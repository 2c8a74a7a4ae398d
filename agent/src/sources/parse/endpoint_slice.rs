//! `EndpointSlice`.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use serde_json::Value;

use super::{
    address,
    field::{Errors, FieldReason, join},
    meta::Meta,
    strings::Strings,
};
use crate::model::{
    names::ObjectName,
    service::{Conditions, EndpointSlice, SliceEndpoint},
};

const LABEL_SERVICE: &str = "kubernetes.io/service-name";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Meta<'a>,
    address_type: Option<&'a str>,
    #[serde(borrow)]
    ports: Option<Vec<Port<'a>>>,
    #[serde(borrow)]
    endpoints: Option<Vec<Endpoint<'a>>>,
}

#[derive(Deserialize)]
struct Port<'a> {
    name: Option<&'a str>,
    port: Option<i64>,
    protocol: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint<'a> {
    #[serde(borrow)]
    addresses: Vec<&'a str>,
    conditions: Option<EndpointConditions>,
    node_name: Option<&'a str>,
    zone: Option<&'a str>,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct EndpointConditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

pub(super) fn parse(
    value: &Value,
    name: ObjectName,
    strings: &mut Strings,
    errors: &mut Errors,
) -> Option<EndpointSlice> {
    let object: Object<'_> = errors.shape(value)?;
    let service = service(object.metadata.labels(), strings, errors);
    let ports = ports(object.ports.as_deref().unwrap_or_default(), strings, errors);
    let endpoints = match object.address_type {
        // A name is no address: nothing that a socket could be given.
        Some("FQDN") => Vec::new(),
        _ => endpoints(
            object.endpoints.as_deref().unwrap_or_default(),
            strings,
            errors,
        ),
    };
    Some(EndpointSlice {
        name,
        service,
        ports,
        endpoints,
    })
}

fn service(labels: &BTreeMap<&str, &str>, strings: &mut Strings, errors: &mut Errors) -> Arc<str> {
    let service = labels.get(LABEL_SERVICE).copied().unwrap_or_default();
    if service.is_empty() {
        errors.push(
            join("metadata.labels", LABEL_SERVICE),
            FieldReason::Required,
        );
    }
    strings.get(service)
}

/// A port without a number means "all ports", which no Service port can be matched with.
fn ports(ports: &[Port<'_>], strings: &mut Strings, errors: &mut Errors) -> Vec<(Arc<str>, u16)> {
    let mut taken: Vec<(Arc<str>, u16)> = Vec::with_capacity(ports.len());
    for (index, port) in ports.iter().enumerate() {
        let Some(number) = port.port else { continue };
        let number = address::port(number, || format!("ports[{index}].port"), errors);
        let Some(number) =
            number.filter(|_| port.protocol.is_none_or(|protocol| protocol == "TCP"))
        else {
            continue;
        };
        let name = port.name.unwrap_or_default();
        if taken.iter().any(|(other, _)| other.as_ref() == name) {
            errors.push(
                format!("ports[{index}].name"),
                FieldReason::Twice {
                    value: name.to_owned(),
                },
            );
        }
        taken.push((strings.get(name), number));
    }
    taken.shrink_to_fit();
    taken
}

fn endpoints(
    endpoints: &[Endpoint<'_>],
    strings: &mut Strings,
    errors: &mut Errors,
) -> Vec<SliceEndpoint> {
    let mut taken = Vec::with_capacity(endpoints.len());
    for (index, endpoint) in endpoints.iter().enumerate() {
        // The API allows several; they are interchangeable and consumers take the first.
        let Some(value) = endpoint.addresses.first() else {
            errors.push(
                format!("endpoints[{index}].addresses"),
                FieldReason::Required,
            );
            continue;
        };
        let address = address::ip(value, || format!("endpoints[{index}].addresses[0]"), errors);
        let conditions = endpoint.conditions.unwrap_or_default();
        taken.extend(address.map(|address| SliceEndpoint {
            address,
            conditions: Conditions {
                ready: conditions.ready.unwrap_or(true),
                serving: conditions.serving.unwrap_or(true),
                terminating: conditions.terminating.unwrap_or(false),
            },
            node: endpoint.node_name.map(|node| strings.get(node)),
            zone: endpoint.zone.map(|zone| strings.get(zone)),
        }));
    }
    taken
}
