//! Distributed tracing: contexts that callers send are continued, others are begun, and spans go to
//! a collector by OTLP.
//!
//! The source's agent makes a CLIENT span, the destination's a SERVER span that is its child. While
//! `MeshConfig` names no collector, headers of traces pass as they are.

mod context;
mod export;
mod otlp;
mod span;

pub use self::context::{SpanId, TraceContext, TraceId, extract};
pub(super) use self::export::Spans;
use super::{Wanted, peers::ConnectionInfo, worker::WorkerTelemetry};

impl WorkerTelemetry {
    /// The span that a request is to be, with `headers` changed so that the next hop is its child.
    ///
    /// `None`, and the headers as they were, where the caller decided against it or no collector is
    /// configured. A trace that is begun here and not sampled is told on as such: the next hop does
    /// not decide again.
    pub fn trace(
        &self,
        peers: &ConnectionInfo,
        headers: &mut http::HeaderMap,
    ) -> Option<TraceContext> {
        let worker = &self.0;
        if !worker.shared.wants(Wanted::Traces) {
            return None;
        }
        let incoming = extract(headers);
        let said = match &incoming {
            Some(context) => context.sampled,
            None => context::decision(headers),
        };
        if said == Some(false) {
            return None;
        }
        let config = worker.shared.config.load();
        let namespace = peers.own().map(|own| &*own.pod.name.namespace);
        let share = config.tracing.as_ref()?.sampling.of(namespace);
        let sampled = said.unwrap_or_else(|| share.takes(worker.random()));
        let random = || worker.random();
        let mut own = match incoming {
            Some(context) => context.child(random),
            None => TraceContext::begin(random),
        };
        own.sampled = Some(sampled);
        own.inject(headers);
        Some(own)
    }
}

#[cfg(test)]
mod tests;
