//! Manifests: whatever a valid one is turned into, it is read or refused with the field that is to
//! blame, and what is read can be folded.

use std::time::Instant;

use bolero::TypeGenerator;
use serde_json::{Value, json};
use weir::{
    model::{fold::Fold, resource as model},
    sources::parse::{FieldReason, Manifest, Strings, manifest},
};

use crate::input::{self, Piece, pick, text};

const WORDS: &[&str] = &[
    "/",
    "*",
    ".",
    "-",
    ":",
    "a",
    "Exact",
    "RegularExpression",
    "PathPrefix",
    "(",
    ")",
    "[",
    "\\",
    "{9}",
    "{",
    "$",
    "1s",
    "0",
    "18446744073709551616",
    "-1",
    "http://",
    "https://*.a",
    "é",
    "\0",
    "Service",
    "host",
    "connection",
    "%2F",
    "//",
    "..",
];

/// A change of one value of the object, which the steps lead to.
#[derive(Clone, Debug, TypeGenerator)]
struct Mutation {
    steps: Vec<u8>,
    change: Change,
}

#[derive(Clone, Debug, TypeGenerator)]
enum Change {
    Text(Vec<Piece>),
    Number(i64),
    Odd(u8),
    Remove,
    /// Of a list, its first item this often.
    Repeat(u8),
    /// Of a mapping, its first key.
    Rename(Vec<Piece>),
    /// What is elsewhere in the object.
    Copy(Vec<u8>),
}

/// Below `value` as far as the steps go.
fn walk<'v>(mut value: &'v mut Value, steps: &[u8]) -> &'v mut Value {
    const DEPTH_MAX: usize = 16;
    for step in steps.iter().take(DEPTH_MAX) {
        let below = match &*value {
            Value::Array(items) => items.len(),
            Value::Object(fields) => fields.len(),
            _ => 0,
        };
        let Some(at) = usize::from(*step).checked_rem(below) else {
            break;
        };
        value = match value {
            Value::Array(items) => &mut items[at],
            Value::Object(fields) => fields.values_mut().nth(at).unwrap(),
            _ => unreachable!("a leaf has nothing below it"),
        };
    }
    value
}

impl Mutation {
    fn apply(&self, object: &mut Value) {
        let copied = match &self.change {
            Change::Copy(steps) => walk(object, steps).clone(),
            _ => Value::Null,
        };
        let value = walk(object, &self.steps);
        match &self.change {
            Change::Text(pieces) => *value = text(WORDS, pieces).into(),
            Change::Number(number) => *value = (*number).into(),
            Change::Odd(which) => *value = pick(&odd(), *which).clone(),
            Change::Remove => *value = Value::Null,
            Change::Repeat(times) => {
                if let Some(items) = value.as_array_mut()
                    && let Some(first) = items.first().cloned()
                {
                    items.resize(usize::from(*times), first);
                }
            }
            Change::Rename(pieces) => {
                if let Some(fields) = value.as_object_mut()
                    && let Some(key) = fields.keys().next().cloned()
                    && let Some(value) = fields.remove(&key)
                {
                    fields.insert(text(WORDS, pieces), value);
                }
            }
            Change::Copy(_) => *value = copied,
        }
    }
}

fn odd() -> [Value; 8] {
    [
        json!({}),
        json!([]),
        json!([{}]),
        json!([[[]]]),
        json!(true),
        json!(1e300),
        json!(0.5),
        json!(u64::MAX),
    ]
}

#[test]
fn a_manifest_is_read_or_refused_with_a_field() {
    let valid = valid();
    for object in &valid {
        read(object).unwrap_or_else(|refused| panic!("{object}: {refused}"));
    }
    bolero::check!()
        .with_test_time(input::time())
        .with_type::<(u8, Vec<Mutation>)>()
        .for_each(|(which, mutations)| {
            const MUTATIONS_MAX: usize = 4;
            let mut object = pick(&valid, *which).clone();
            for mutation in mutations.iter().take(MUTATIONS_MAX) {
                mutation.apply(&mut object);
            }
            let _ = read(&object);
        });
}

/// Reads an object, and folds it into a state that has the others.
///
/// # Errors
/// What is wrong with it, as its author is told.
fn read(object: &Value) -> Result<(), String> {
    let mut strings = Strings::default();
    match manifest(object, &mut strings) {
        Ok(Manifest::Object(key, resource)) => {
            let mut changes = vec![model::Change::Upsert(key, resource)];
            for other in valid() {
                if let Ok(Manifest::Object(key, resource)) = manifest(&other, &mut strings) {
                    changes.insert(0, model::Change::Upsert(key, resource));
                }
            }
            let delta = model::Delta {
                changes,
                rejected: 0,
                synced: true,
            };
            Fold::new("cluster.local", "n1").apply(delta, Instant::now());
            Ok(())
        }
        Ok(_) => Ok(()),
        Err(rejected) => {
            let told: Vec<String> = rejected
                .errors
                .iter()
                .map(|error| {
                    let of_all = error.reason == FieldReason::NotAnObject;
                    assert!(of_all || !error.path.is_empty(), "{error:?}");
                    format!("{}: {}", error.path, error.reason)
                })
                .collect();
            assert!(!told.is_empty(), "{rejected:?}");
            Err(told.join("\n"))
        }
    }
}

/// One of each kind, with as many of its fields as can be together.
fn valid() -> Vec<Value> {
    let meta = |name: &str| json!({"name": name, "namespace": "shop"});
    let gateway = "gateway.networking.k8s.io/v1";
    let parents = json!([{"group": "", "kind": "Service", "name": "web", "port": 80}]);
    let backends = json!([{"name": "web", "port": 80, "weight": 3}, {"name": "other", "namespace": "b", "port": 80}]);
    vec![
        json!({"apiVersion": gateway, "kind": "HTTPRoute", "metadata": meta("web"), "spec": {
            "parentRefs": parents, "hostnames": ["web.example"],
            "rules": [{
                "name": "first",
                "matches": [
                    {"path": {"type": "PathPrefix", "value": "/a"}, "method": "GET",
                     "headers": [{"type": "Exact", "name": "x-a", "value": "1"}],
                     "queryParams": [{"type": "RegularExpression", "name": "q", "value": "[0-9]+"}]},
                ],
                "filters": [
                    {"type": "RequestHeaderModifier", "requestHeaderModifier": {
                        "set": [{"name": "x-a", "value": "b"}], "add": [{"name": "x-b", "value": "c"}], "remove": ["x-c"]}},
                    {"type": "URLRewrite", "urlRewrite": {"hostname": "other.example",
                        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/b"}}},
                    {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "web", "port": 80}, "percent": 42}},
                    {"type": "CORS", "cors": {"allowOrigins": ["https://*.example"], "allowMethods": ["GET"],
                        "allowHeaders": ["x-a"], "exposeHeaders": ["x-b"], "maxAge": 60, "allowCredentials": true}},
                ],
                "backendRefs": backends,
                "timeouts": {"request": "10s", "backendRequest": "2s"},
                "retry": {"codes": [503], "attempts": 2, "backoff": "50ms"},
                "sessionPersistence": {"sessionName": "sid", "type": "Cookie", "absoluteTimeout": "1h",
                    "cookieConfig": {"lifetimeType": "Permanent"}},
            }, {
                "filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "hostname": "a.example",
                    "port": 8443, "statusCode": 301, "path": {"type": "ReplaceFullPath", "replaceFullPath": "/x"}}}],
            }],
        }}),
        json!({"apiVersion": gateway, "kind": "GRPCRoute", "metadata": meta("grpc"), "spec": {
            "parentRefs": parents,
            "rules": [{
                "matches": [{"method": {"type": "Exact", "service": "shop.Cart", "method": "Add"},
                             "headers": [{"type": "RegularExpression", "name": "x-a", "value": "a|b"}]}],
                "filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"remove": ["x-c"]}}],
                "backendRefs": backends,
            }],
        }}),
        json!({"apiVersion": gateway, "kind": "TLSRoute", "metadata": meta("tls"), "spec": {
            "parentRefs": parents, "hostnames": ["*.shop.example"], "rules": [{"backendRefs": backends}],
        }}),
        json!({"apiVersion": "gateway.networking.k8s.io/v1alpha2", "kind": "TCPRoute", "metadata": meta("tcp"), "spec": {
            "parentRefs": parents, "rules": [{"backendRefs": backends}],
        }}),
        json!({"apiVersion": "weir.dev/v1alpha1", "kind": "MeshConfig", "metadata": {"name": "default"}, "spec": {
            "rootNamespace": "weir-system", "trustDomainAliases": ["old.example"],
            "accessLog": {"mode": "sampled", "sampling": 10, "format": "json",
                "namespaces": [{"names": ["shop"], "mode": "all"}]},
            "tracing": {"endpoint": "http://collector.observability:4317", "sampling": 1.5},
        }}),
        json!({"apiVersion": "weir.dev/v1alpha1", "kind": "PeerAuthentication", "metadata": meta("web"), "spec": {
            "selector": {"matchLabels": {"app": "web"}}, "mtls": {"mode": "STRICT"},
            "portLevelMtls": {"8080": {"mode": "PERMISSIVE"}},
        }}),
        json!({"apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
            "metadata": {"name": "a", "namespace": "b"}, "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "shop"}],
            "to": [{"group": "", "kind": "Service", "name": "other"}],
        }}),
        json!({"apiVersion": "weir.dev/v1alpha1", "kind": "TrafficPolicy", "metadata": meta("web"), "spec": {
            "targetRefs": [{"group": "", "kind": "Service", "name": "web"}],
            "timeouts": {"connect": "1s", "request": "2s", "idle": "0s"},
            "retries": {"attempts": 2, "on": ["gateway-error", "unavailable"], "perTryTimeout": "500ms",
                "backoff": {"base": "25ms", "max": "250ms"}, "methods": ["GET"], "bufferBytes": "64Ki",
                "budget": {"percent": 20, "minPerSecond": 10}},
            "connections": {"max": 10, "pending": 10, "requests": 10, "requestsPerConnection": 10},
            "circuitBreaker": {"consecutiveErrors": 5, "errorPercent": 50, "window": "10s", "minRequests": 20,
                "openFor": "1s", "maxOpenFor": "1m", "halfOpenRequests": 1, "halfOpenFor": "1s",
                "maxEjectedPercent": 50, "errorOn": ["5xx", 429, "internal"]},
            "fallback": {"staleIfError": "60s", "maxBytes": "1Mi", "methods": ["GET", "HEAD"]},
            "loadBalancer": {"algorithm": "maglev", "hashOn": {"header": "x-user"}, "slowStart": "30s",
                "locality": "prefer-zone"},
            "healthCheck": {"path": "/healthz?a=b", "interval": "10s", "timeout": "1s", "healthy": 2, "unhealthy": 3},
            "rateLimit": [{"requests": 100, "per": "1s", "burst": 20, "by": {"source": "identity"}}],
            "concurrency": {"limit": 10, "queue": 10},
            "fault": {"delay": {"percent": 1, "duration": "1s", "headers": [{"name": "x-a", "value": "b"}]},
                "abort": {"percent": 1, "grpcStatus": "unavailable",
                    "headers": [{"type": "RegularExpression", "name": "x-a", "value": "b|c"}]}},
        }}),
        json!({"apiVersion": "weir.dev/v1alpha1", "kind": "TrafficPolicy", "metadata": meta("rule"), "spec": {
            "targetRefs": [
                {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "web", "sectionName": "first"},
                {"group": "gateway.networking.k8s.io", "kind": "GRPCRoute", "name": "grpc"}],
            "retries": {"attempts": 1},
        }}),
        json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z1"}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("web"), "spec": {
            "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"],
            "trafficDistribution": "PreferClose", "internalTrafficPolicy": "Local",
            "ports": [{"name": "web", "port": 80, "targetPort": 8080, "protocol": "TCP", "appProtocol": "http"}],
        }}),
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web-1", "namespace": "shop", "uid": "1", "labels": {"weir.dev/mesh": "enabled"},
             "annotations": {"weir.dev/weight": "50"}},
            "spec": {"nodeName": "n1", "containers": [{"name": "app"}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "nodeName": "n1", "zone": "z1",
                "targetRef": {"kind": "Pod", "name": "web-1", "namespace": "shop"}}]}),
    ]
}
