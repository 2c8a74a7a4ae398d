//! What each feature of a TrafficPolicy costs a request: rows that differ from the first by one field alone.

use super::node::{APP_PORT, SERVICE_NAME};

/// One way of configuring the service, and what the application makes of it.
pub(crate) struct Feature {
    pub(crate) name: &'static str,
    /// Fields of a TrafficPolicy's `spec`; none: there is no policy.
    policy: &'static str,
    /// Endpoints of the service, all of one pod.
    pub(crate) endpoints: u16,
    /// Further fields of the request's head and of the answer's.
    pub(crate) request_fields: &'static str,
    pub(crate) answer_fields: &'static str,
    /// Whether answers are kept for when the service fails.
    pub(crate) keeps_answers: bool,
}

/// As the other figures of this bench are taken.
pub(crate) const PLAIN: Feature = Feature {
    name: "plain",
    policy: "",
    endpoints: 1,
    request_fields: "",
    answer_fields: "",
    keeps_answers: false,
};

/// What the others are compared with; the defaults act. The head is one as clients send it.
const NONE: Feature = Feature {
    name: "none",
    endpoints: 3,
    request_fields: "user-agent: bench/1.0\r\naccept: */*\r\naccept-encoding: gzip\r\nx-user: u-17\r\n",
    ..PLAIN
};

const fn policy(name: &'static str, policy: &'static str) -> Feature {
    Feature {
        name,
        policy,
        ..NONE
    }
}

const fn keeping(feature: Feature) -> Feature {
    Feature {
        keeps_answers: true,
        ..feature
    }
}

/// One field each, and at the end the policy of `api.md` with limits that nobody reaches.
pub(crate) const FEATURES: [Feature; 22] = [
    NONE,
    policy("timeouts.request", "timeouts: {request: 2s}"),
    policy("timeouts.idle", "timeouts: {idle: 30s}"),
    policy("retries.perTryTimeout", "retries: {perTryTimeout: 500ms}"),
    policy("retries.on", "retries: {attempts: 2, on: [gateway-error]}"),
    policy(
        "retries.budget",
        "retries: {budget: {percent: 20, minPerSecond: 10}}",
    ),
    policy(
        "circuitBreaker",
        "circuitBreaker: {consecutiveErrors: 5, openFor: 1s}",
    ),
    policy(
        "circuitBreaker.errorPercent",
        "circuitBreaker: {errorPercent: 50, window: 10s}",
    ),
    keeping(policy(
        "fallback",
        "fallback: {staleIfError: 60s, maxBytes: 1Mi}",
    )),
    Feature {
        answer_fields: "cache-control: no-store\r\n",
        ..policy(
            "fallback, no-store",
            "fallback: {staleIfError: 60s, maxBytes: 1Mi}",
        )
    },
    policy("ewma", "loadBalancer: {algorithm: ewma}"),
    policy("least-request", "loadBalancer: {algorithm: least-request}"),
    policy("round-robin", "loadBalancer: {algorithm: round-robin}"),
    policy("random", "loadBalancer: {algorithm: random}"),
    policy(
        "ring-hash",
        "loadBalancer: {algorithm: ring-hash, hashOn: {header: x-user}}",
    ),
    policy(
        "maglev",
        "loadBalancer: {algorithm: maglev, hashOn: {header: x-user}}",
    ),
    policy("rateLimit", "rateLimit: [{requests: 1000000, per: 1s}]"),
    policy(
        "rateLimit by identity",
        "rateLimit: [{requests: 1000000, per: 1s, by: {source: identity}}]",
    ),
    policy(
        "rateLimit by header",
        "rateLimit: [{requests: 1000000, per: 1s, by: {header: x-user}}]",
    ),
    policy("concurrency", "concurrency: {limit: 100, queue: 10}"),
    policy("fault at 0 %", "fault: {abort: {percent: 0, status: 503}}"),
    keeping(policy(
        "everything",
        "timeouts: {request: 2s}, \
         retries: {attempts: 2, on: [gateway-error], perTryTimeout: 500ms, budget: {percent: 20, minPerSecond: 10}}, \
         circuitBreaker: {consecutiveErrors: 5, openFor: 1s}, \
         fallback: {staleIfError: 60s, maxBytes: 1Mi}, \
         loadBalancer: {algorithm: ewma}, \
         rateLimit: [{requests: 1000000, per: 1s, burst: 1000000, by: {source: identity}}]",
    )),
];

impl Feature {
    pub(crate) fn named(name: &str) -> &'static Self {
        let mut all = FEATURES.iter().chain([&PLAIN]);
        all.find(|feature| feature.name == name).unwrap()
    }

    pub(crate) fn has_policy(&self) -> bool {
        !self.policy.is_empty()
    }

    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> + use<> {
        APP_PORT..APP_PORT + self.endpoints
    }

    /// The TrafficPolicy on the service, as a document of its own.
    pub(crate) fn manifest(&self) -> String {
        if !self.has_policy() {
            return String::new();
        }
        format!(
            "---\napiVersion: weir.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: policy, namespace: bench}}\n\
             spec: {{targetRefs: [{{group: \"\", kind: Service, name: {SERVICE_NAME}}}], {}}}\n",
            self.policy
        )
    }
}
