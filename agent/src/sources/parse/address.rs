//! Ports, addresses and ranges as people write them.

use std::{fmt::Display, net::IpAddr};

use ipnet::IpNet;

use super::field::{Errors, FieldReason};

/// A port of a pod or service; 0 is none.
pub(super) fn port(
    value: impl Display + Copy + TryInto<u16>,
    path: impl FnOnce() -> String,
    errors: &mut Errors,
) -> Option<u16> {
    match value.try_into() {
        Ok(port) if port != 0 => Some(port),
        _ => {
            errors.push(
                path(),
                FieldReason::Port {
                    value: value.to_string(),
                },
            );
            None
        }
    }
}

/// An address that a connection can go to; `::ffff:10.0.0.1` is 10.0.0.1.
pub(super) fn ip(
    value: &str,
    path: impl FnOnce() -> String,
    errors: &mut Errors,
) -> Option<IpAddr> {
    let address = value.parse::<IpAddr>().map(|ip| ip.to_canonical());
    match address {
        Ok(ip) if !ip.is_unspecified() && !ip.is_multicast() => Some(ip),
        _ => {
            errors.push(
                path(),
                FieldReason::Address {
                    value: value.to_owned(),
                },
            );
            None
        }
    }
}

/// `80, 443`
pub(super) fn port_list(value: &str, path: &str, errors: &mut Errors) -> Vec<u16> {
    list(value)
        .filter_map(|item| {
            let port = item.parse().ok().filter(|port| *port != 0);
            if port.is_none() {
                errors.push(
                    path,
                    FieldReason::Port {
                        value: item.to_owned(),
                    },
                );
            }
            port
        })
        .collect()
}

/// `10.0.0.0/8, 192.0.2.1`: an address alone is that address.
pub(super) fn cidr_list(value: &str, path: &str, errors: &mut Errors) -> Vec<IpNet> {
    list(value)
        .filter_map(|item| {
            let range = item
                .parse::<IpNet>()
                .ok()
                .or_else(|| item.parse::<IpAddr>().ok().map(IpNet::from));
            if range.is_none() {
                errors.push(
                    path,
                    FieldReason::Cidr {
                        value: item.to_owned(),
                    },
                );
            }
            range.map(|range| range.trunc())
        })
        .collect()
}

/// Items between commas; an empty text has none, an empty item is an item.
fn list(value: &str) -> impl Iterator<Item = &str> {
    let empty = value.trim().is_empty();
    value.split(',').map(str::trim).filter(move |_| !empty)
}
