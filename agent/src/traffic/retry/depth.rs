//! How deep in retries a request is, told to the next hop, so that a chain of services does not
//! multiply them: of a request that is a retry itself, each hop knows.
//!
//! It is in a header of its own and in `tracestate` (W3C Trace Context §3.3), which applications
//! that propagate a trace carry on to what they call in turn.

use http::{HeaderMap, HeaderName, HeaderValue};

const DEPTH: HeaderName = HeaderName::from_static("x-weir-retry-depth");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Ours of `tracestate`, before the number.
const MEMBER: &str = "weir=r:";
/// All that is of us, of whatever version.
const KEY: &str = "weir=";

/// Deeper is no different.
pub const DEPTH_MAX: u32 = 255;

/// W3C Trace Context §3.3.1.1.
const MEMBERS_MAX: usize = 32;
/// §3.3.1.5: what everybody propagates.
const STATE_BYTES_MAX: usize = 512;
/// §3.3.1.5: members that go first when it is too long.
const MEMBER_BYTES_LONG: usize = 128;

/// The larger of what both headers say, 0 if neither does.
pub fn read(headers: &HeaderMap) -> u32 {
    let lines = headers.get_all(DEPTH).iter();
    let told = lines.filter_map(|line| number(line.to_str().ok()?.trim()));
    let traced = members(headers).filter_map(|member| number(member.strip_prefix(MEMBER)?));
    told.chain(traced).max().unwrap_or(0)
}

/// Says how deep the request is; at depth 0 nothing, as [`strip`]. `tracestate` is written where
/// the request has a trace: without `traceparent` it means nothing.
pub fn write(headers: &mut HeaderMap, depth: u32) {
    let depth = depth.min(DEPTH_MAX);
    if depth == 0 {
        strip(headers);
        return;
    }
    headers.insert(DEPTH, HeaderValue::from(depth));
    match headers.contains_key(TRACEPARENT) {
        true => set_state(headers, Some(format!("{MEMBER}{depth}"))),
        false => strip_member(headers),
    }
}

/// Takes it all out: for what leaves the mesh, or comes from where nobody is believed.
pub fn strip(headers: &mut HeaderMap) {
    headers.remove(DEPTH);
    strip_member(headers);
}

/// What has none of ours stays as it is, byte by byte.
fn strip_member(headers: &mut HeaderMap) {
    if members(headers).any(|member| member.starts_with(KEY)) {
        set_state(headers, None);
    }
}

/// The others' members, behind `ours`: who changed it last comes first.
fn set_state(headers: &mut HeaderMap, ours: Option<String>) {
    let others = members(headers).filter(|member| !member.starts_with(KEY));
    let mut kept: Vec<&str> = ours.as_deref().into_iter().chain(others).collect();
    shorten(&mut kept);
    let state = kept.join(",");
    match HeaderValue::try_from(state) {
        Ok(state) if !state.is_empty() => headers.insert(TRACESTATE, state),
        _ => headers.remove(TRACESTATE),
    };
}

/// Whole members go: long ones first, then from the end.
fn shorten(members: &mut Vec<&str>) {
    members.truncate(MEMBERS_MAX);
    let bytes = |members: &[&str]| -> usize {
        let commas = members.len().saturating_sub(1);
        members.iter().map(|member| member.len()).sum::<usize>() + commas
    };
    while bytes(members) > STATE_BYTES_MAX {
        let long = members
            .iter()
            .rposition(|member| member.len() > MEMBER_BYTES_LONG);
        match long {
            Some(at) => drop(members.remove(at)),
            None => drop(members.pop()),
        }
    }
}

/// Lines are one list; empty members are allowed.
fn members(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(TRACESTATE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|member| member.trim_matches([' ', '\t']))
        .filter(|member| !member.is_empty())
}

/// At most [`DEPTH_MAX`]; `None`: it is no number.
fn number(digits: &str) -> Option<u32> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| {
        digits
            .parse()
            .map_or(DEPTH_MAX, |depth: u32| depth.min(DEPTH_MAX))
    })
}

#[cfg(test)]
mod tests;
