use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{text::short, *};
use crate::{
    admin::Sources,
    model::{names::ObjectName, seams::SystemClock, snapshot::Snapshot, status::ServicesStatus},
    telemetry::{self, Telemetry},
};

/// An agent of which this is known.
struct Known {
    readiness: Readiness,
    rejected: usize,
    services: ServicesStatus,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            readiness: Readiness::Ready,
            rejected: 0,
            services: ServicesStatus::default(),
        }
    }
}

impl Known {
    fn answer(self, query: &str) -> String {
        let Self {
            readiness,
            rejected,
            services,
        } = self;
        let services = Mutex::new(services);
        let admin = Admin::new(Sources {
            telemetry: Telemetry::new(telemetry::Settings::default(), Arc::new(SystemClock))
                .unwrap(),
            snapshot: Box::new(move || {
                let mut snapshot = Snapshot::default();
                (snapshot.generation, snapshot.rejected) = (42, rejected);
                Arc::new(snapshot)
            }),
            pods: Box::new(|| Value::Null),
            pod_counts: Box::new(|| PodCounts {
                enrolled: 5,
                captured: 4,
            }),
            services: Box::new(move || services.lock().unwrap().clone()),
            readiness: Box::new(move || readiness.clone()),
            liveness: Box::new(|| Box::pin(std::future::pending())),
        });
        let asked = Asked::read(query).unwrap();
        let written = Status::read(&admin, asked).write(asked.output);
        String::from_utf8(written).unwrap()
    }

    fn json(self, query: &str) -> Value {
        serde_json::from_str(&self.answer(query)).unwrap()
    }
}

fn endpoint(address: &str, breaker: &'static str) -> EndpointStatus {
    EndpointStatus {
        address: address.parse().unwrap(),
        breaker,
        since: Duration::from_millis(4500),
        open_for: (breaker == "open").then_some(Duration::from_secs(10)),
        healthy: true,
    }
}

fn service(name: &str, endpoints: Vec<EndpointStatus>) -> ServiceStatus {
    ServiceStatus {
        service: ObjectName::new("shop", name),
        endpoints,
        requests: 12,
        requests_max: 1024,
        connections: 3,
        connections_max: 100,
        pending: 0,
        pending_max: 0,
    }
}

fn transition(seconds: u64, from: &'static str, to: &'static str) -> TransitionStatus {
    TransitionStatus {
        ago: Duration::from_secs(seconds),
        service: ObjectName::new("shop", "web"),
        endpoint: "10.9.0.2:8080".parse().unwrap(),
        from,
        to,
    }
}

/// One service of three has something to tell.
fn troubled() -> Known {
    let failing = EndpointStatus {
        healthy: false,
        ..endpoint("10.9.0.9:8080", "closed")
    };
    let web = vec![
        failing,
        endpoint("10.9.0.3:8080", "half_open"),
        endpoint("10.9.0.2:8080", "open"),
        endpoint("10.9.0.4:8080", "closed"),
    ];
    let cart = vec![endpoint("10.9.1.1:8080", "closed")];
    Known {
        services: ServicesStatus {
            services: vec![service("web", web), service("cart", cart)],
            transitions: vec![
                transition(130, "closed", "open"),
                transition(4, "half_open", "open"),
                transition(5, "open", "half_open"),
            ],
        },
        ..Known::default()
    }
}

#[test]
fn what_is_well_takes_a_line_each() {
    let services = vec![service("web", vec![endpoint("10.9.0.2:8080", "closed")])];
    let known = Known {
        services: ServicesStatus {
            services,
            transitions: Vec::new(),
        },
        ..Known::default()
    };
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        known.answer("output=text"),
        format!(
            "agent     ready, version {version}\n\
             config    generation 42, nothing refused\n\
             pods      4 of 5 captured\n\
             breakers  all closed\n\
             services  0 shown of 1 that were called\n"
        )
    );
}

#[test]
fn what_is_not_well_is_in_tables() {
    let known = Known {
        readiness: Readiness::NotReady(vec!["the agent is draining".into()]),
        rejected: 2,
        ..troubled()
    };
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "\
agent     not ready, version {version}
          - the agent is draining
config    generation 42, 2 objects or files refused: weir validate says why
pods      4 of 5 captured
breakers  1 open, 1 half open; 1 endpoint fails its health checks
services  1 shown of 2 that were called

SERVICE   ENDPOINT       BREAKER    SINCE  HALF OPEN IN  HEALTH
shop/web  10.9.0.2:8080  open       4s     5s            -
shop/web  10.9.0.3:8080  half open  4s     -             -
shop/web  10.9.0.9:8080  closed     -      -             failing

SERVICE   REQUESTS    CONNECTIONS  PENDING
shop/web  12 of 1024  3 of 100     0 of 0

AGO     SERVICE   ENDPOINT       CHANGE
4s      shop/web  10.9.0.2:8080  half open -> open
5s      shop/web  10.9.0.2:8080  open -> half open
2m 10s  shop/web  10.9.0.2:8080  closed -> open
"
    );
    assert_eq!(known.answer("output=text"), expected);
}

#[test]
fn json_tells_the_same() {
    let told = troubled().json("");
    assert_eq!(told["ready"], true);
    assert_eq!(told["generation"], 42);
    assert_eq!(told["pods"], json!({ "enrolled": 5, "captured": 4 }));
    assert_eq!(
        told["breakers"],
        json!({ "open": 1, "halfOpen": 1, "unhealthy": 1 })
    );
    assert_eq!(told["servicesKnown"], 2);
    assert_eq!(told["services"].as_array().unwrap().len(), 1);
    let web = &told["services"][0];
    assert_eq!(web["service"], "shop/web");
    assert_eq!(web["requests"], json!({ "now": 12, "max": 1024 }));
    assert_eq!(
        web["endpoints"][0],
        json!({
            "address": "10.9.0.2:8080",
            "breaker": "open",
            "sinceSeconds": 4.5,
            "halfOpenInSeconds": 5.5,
            "healthy": true,
        })
    );
    assert_eq!(web["endpoints"][1]["halfOpenInSeconds"], Value::Null);
    assert_eq!(
        told["transitions"][0],
        json!({
            "agoSeconds": 4.0,
            "service": "shop/web",
            "endpoint": "10.9.0.2:8080",
            "from": "half_open",
            "to": "open",
        })
    );
}

#[test]
fn all_is_shown_to_who_asks() {
    let told = troubled().json("all=true");
    let names: Vec<_> = told["services"].as_array().unwrap().iter().collect();
    assert_eq!(names[0]["service"], "shop/cart");
    assert_eq!(names[0]["endpoints"].as_array().unwrap().len(), 1);
    assert_eq!(names[1]["endpoints"].as_array().unwrap().len(), 4);
}

#[test]
fn a_pool_that_is_nearly_full_is_worth_a_look() {
    let shown = |connections| {
        let web = ServiceStatus {
            connections,
            ..service("web", Vec::new())
        };
        let services = ServicesStatus {
            services: vec![web],
            transitions: Vec::new(),
        };
        let known = Known {
            services,
            ..Known::default()
        };
        known.json("")["services"].as_array().unwrap().len()
    };
    assert_eq!([shown(79), shown(80), shown(u32::MAX)], [0, 1, 1]);
}

#[test]
fn durations_are_short() {
    for (milliseconds, told) in [
        (0, "0ms"),
        (850, "850ms"),
        (59_999, "59s"),
        (60_000, "1m 0s"),
        (130_000, "2m 10s"),
        (3_600_000, "1h 0m"),
        (90_000_000, "25h 0m"),
    ] {
        assert_eq!(short(Duration::from_millis(milliseconds)), told);
    }
}

#[test]
fn a_query_that_makes_no_sense_is_refused() {
    for (query, said) in [
        ("all=yes", "all is true or false"),
        ("output=xml", "json or text"),
        ("colour=red", "no parameter"),
    ] {
        let error = Asked::read(query).unwrap_err().to_string();
        assert!(error.contains(said), "{query}: {error}");
    }
}
