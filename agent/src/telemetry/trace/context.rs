//! Which trace a request belongs to: W3C Trace Context (level 1) and B3, read and written. Pure.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// Never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// Never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

impl TraceId {
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl SpanId {
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// In which headers a context came, and goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Formats {
    w3c: bool,
    b3_single: bool,
    b3_multi: bool,
}

/// One span's place in its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    /// Of a context that was read: not known.
    pub parent: Option<SpanId>,
    /// `None`: B3 leaves it to whoever comes next.
    pub sampled: Option<bool>,
    /// B3's `d`, which asks for the trace whatever the sampling.
    debug: bool,
    /// W3C's flags but `sampled`.
    flags: u8,
    formats: Formats,
}

/// The context that `headers` carry: `traceparent`, else `b3`, else `x-b3-*`. What is not exactly
/// as its standard says is no context.
pub fn extract(headers: &HeaderMap) -> Option<TraceContext> {
    let w3c = w3c(headers);
    let single = b3_single(headers);
    let multi = b3_multi(headers);
    let formats = Formats {
        w3c: w3c.is_some(),
        b3_single: single.is_some(),
        b3_multi: multi.is_some(),
    };
    Some(TraceContext {
        formats,
        ..w3c.or(single).or(multi)?
    })
}

/// What B3 decides where it names no trace: `b3: 0`, `x-b3-sampled: 0`.
pub(super) fn decision(headers: &HeaderMap) -> Option<bool> {
    let single = one(headers, &B3).and_then(b3_sampled);
    let multi = || one(headers, &B3_SAMPLED).and_then(b3_sampled);
    single.or_else(multi)
}

impl TraceContext {
    /// The first span of a trace of its own, not decided yet. It goes on as W3C.
    pub fn begin(mut random: impl FnMut() -> u64) -> Self {
        let id = u128::from(random()) << 64 | u128::from(random());
        Self {
            trace_id: TraceId(id.max(1)),
            span_id: span_id(random),
            parent: None,
            sampled: None,
            debug: false,
            flags: 0,
            formats: Formats {
                w3c: true,
                b3_single: false,
                b3_multi: false,
            },
        }
    }

    /// A span below this one.
    pub fn child(&self, random: impl FnMut() -> u64) -> Self {
        Self {
            span_id: span_id(random),
            parent: Some(self.span_id),
            ..self.clone()
        }
    }

    /// Writes it in the formats that it came in. `tracestate` stays as it is, save for the one that
    /// belonged to no context.
    pub fn inject(&self, headers: &mut HeaderMap) {
        let mut put = |name: HeaderName, value: String| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        let sampled = self.sampled == Some(true);
        if self.formats.w3c {
            let flags = self.flags | u8::from(sampled);
            let value = format!("00-{}-{}-{flags:02x}", self.trace_id, self.span_id);
            put(TRACEPARENT, value);
        }
        let state = match (self.debug, sampled) {
            (true, _) => "d",
            (false, true) => "1",
            (false, false) => "0",
        };
        if self.formats.b3_single {
            let mut value = format!("{}-{}-{state}", self.b3_trace_id(), self.span_id);
            if let Some(parent) = self.parent {
                value.push_str(&format!("-{parent}"));
            }
            put(B3, value);
        }
        if self.formats.b3_multi {
            put(B3_TRACE, self.b3_trace_id());
            put(B3_SPAN, self.span_id.to_string());
            if let Some(parent) = self.parent {
                put(B3_PARENT, parent.to_string());
            }
            // With `x-b3-flags: 1` the decision is implied.
            if !self.debug {
                put(B3_SAMPLED, state.to_owned());
            }
        }
        if self.formats.w3c && self.parent.is_none() {
            headers.remove(TRACESTATE);
        }
    }

    /// Of 64 bits where it came so: who sent it may know no longer ones.
    fn b3_trace_id(&self) -> String {
        match u64::try_from(self.trace_id.0) {
            Ok(short) => format!("{short:016x}"),
            Err(_) => self.trace_id.to_string(),
        }
    }
}

fn span_id(mut random: impl FnMut() -> u64) -> SpanId {
    SpanId(random().max(1))
}

/// Trace Context, §3.2: `00-<trace id>-<parent id>-<flags>`; of later versions the beginning.
fn w3c(headers: &HeaderMap) -> Option<TraceContext> {
    const LENGTH: usize = 55;
    let text = one(headers, &TRACEPARENT)?;
    let version = lower_hex(text.get(..2)?)?;
    let fits = match version {
        0 => text.len() == LENGTH,
        0xff => false,
        _ => text.len() == LENGTH || text.as_bytes().get(LENGTH) == Some(&b'-'),
    };
    let dashes = [2, 35, 52];
    if !fits
        || dashes
            .iter()
            .any(|at| text.as_bytes().get(*at) != Some(&b'-'))
    {
        return None;
    }
    let flags = u8::try_from(lower_hex(text.get(53..LENGTH)?)?).ok()?;
    Some(TraceContext {
        sampled: Some(flags & 1 != 0),
        // `random` of level 2; what else there may be is not ours to pass on.
        flags: flags & 2,
        ..context(
            lower_hex(text.get(3..35)?)?,
            lower_hex(text.get(36..52)?)?,
            None,
        )?
    })
}

/// B3 single: `<trace id>-<span id>[-<sampling state>[-<parent span id>]]`.
fn b3_single(headers: &HeaderMap) -> Option<TraceContext> {
    let mut parts = one(headers, &B3)?.split('-');
    let (trace, span) = (parts.next()?, parts.next()?);
    let state = parts.next();
    if parts.next().is_some_and(|parent| parent.len() != 16) || parts.next().is_some() {
        return None;
    }
    let sampled = match state {
        Some(state) => Some(b3_sampled(state)?),
        None => None,
    };
    Some(TraceContext {
        debug: state == Some("d"),
        ..context(b3_id(trace)?, b3_id(span)?, sampled)?
    })
}

fn b3_multi(headers: &HeaderMap) -> Option<TraceContext> {
    let debug = one(headers, &B3_FLAGS) == Some("1");
    let sampled = one(headers, &B3_SAMPLED).and_then(b3_sampled);
    let (trace, span) = (one(headers, &B3_TRACE)?, one(headers, &B3_SPAN)?);
    Some(TraceContext {
        debug,
        ..context(
            b3_id(trace)?,
            b3_id(span)?,
            if debug { Some(true) } else { sampled },
        )?
    })
}

fn context(trace: u128, span: u128, sampled: Option<bool>) -> Option<TraceContext> {
    let span = u64::try_from(span).ok()?;
    (trace != 0 && span != 0).then_some(TraceContext {
        trace_id: TraceId(trace),
        span_id: SpanId(span),
        parent: None,
        sampled,
        debug: false,
        flags: 0,
        formats: Formats {
            w3c: false,
            b3_single: false,
            b3_multi: false,
        },
    })
}

/// The field's value, where it is there exactly once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.to_str().ok())?
}

/// Old B3 libraries write `true` and `false`.
fn b3_sampled(text: &str) -> Option<bool> {
    match text {
        "1" | "d" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

fn b3_id(text: &str) -> Option<u128> {
    matches!(text.len(), 16 | 32)
        .then(|| lower_hex(&text.to_ascii_lowercase()))
        .flatten()
}

fn lower_hex(text: &str) -> Option<u128> {
    let digits = |b| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    text.bytes()
        .all(digits)
        .then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests;
