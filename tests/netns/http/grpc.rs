//! gRPC with its own stack on both ends: every kind of call, its metadata, its status, GRPCRoute.

use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::{
    Call, Mesh, Pod, Proc, ServiceHandle, eventually,
    manifests::{self, parent},
};

struct Carts {
    far: Pod,
    near: Pod,
    v1: Pod,
    v2: Pod,
    apps: [Proc; 2],
    mesh: Mesh,
}

impl Carts {
    fn new() -> Self {
        let mesh = Mesh::new(2);
        let [far, near, v1, v2] = [("far", "n1"), ("near", "n2"), ("v1", "n2"), ("v2", "n2")]
            .map(|(name, node)| mesh.pod(name, node).enrolled());
        let apps = [v1.grpc(8080), v2.grpc(8080)];
        let carts = Self {
            far,
            near,
            v1,
            v2,
            apps,
            mesh,
        };
        carts.service("v1", &[&carts.v1]);
        carts.service("v2", &[&carts.v2]);
        carts
    }

    fn service(&self, name: &str, pods: &[&Pod]) -> ServiceHandle {
        self.mesh.new_service(name).port(80, 8080, "grpc").of(pods)
    }

    fn routed(&self, name: &str, rules: Value) -> ServiceHandle {
        let service = self.service(name, &[&self.v1, &self.v2]);
        self.mesh
            .apply(&manifests::grpc_route("shop", name, parent(name), rules));
        service
    }

    fn clients(&self) -> [&Pod; 2] {
        [&self.far, &self.near]
    }
}

#[test]
fn calls_of_every_kind_pass_whole() {
    let carts = Carts::new();
    let declared = carts.service("declared", &[&carts.v1]);
    // HTTP/2 shows by its preface.
    let undeclared = carts
        .mesh
        .new_service("undeclared")
        .named_port("web", 80, 8080)
        .of(&[&carts.v1]);
    carts.mesh.start_agents();

    for client in carts.clients() {
        for service in [&declared, &undeclared] {
            let unary = client
                .call(service.v4, "/shop.Cart/Unary")
                .metadata("x-user", "ada")
                .metadata("x-user", "bob")
                .send();
            assert_eq!((unary.code(), unary.server()), ("OK", "v1"), "{unary:?}");
            let metadata = &unary.answers()[0]["metadata"];
            assert_eq!(metadata["x-user"], json!(["ada", "bob"]));
            assert_eq!(unary.0["initial"]["x-initial"], "sent");
            assert_eq!(unary.0["trailing"]["x-trailing"], "sent");
            assert_eq!(unary.0["trailing"]["bytes-bin"], "00ff");

            let stream = client
                .call(service.v4, "/shop.Cart/ServerStream")
                .message(&json!({"count": 4, "every": 0.3}))
                .send();
            assert_eq!(stream.code(), "OK", "{stream:?}");
            let arrivals = stream.arrivals();
            assert_eq!(arrivals.len(), 4);
            // Each comes when it is sent, not when the call ends.
            assert!(arrivals[0] < Duration::from_millis(500), "{arrivals:?}");
            assert!(arrivals[3] >= Duration::from_millis(900), "{arrivals:?}");

            let sent = client
                .call(service.v4, "/shop.Cart/ClientStream")
                .messages(100)
                .send();
            assert_eq!(sent.answers()[0]["received"], 100, "{sent:?}");
            // Each message waits for the answer to the one before: both directions at once.
            let bidi = client
                .call(service.v4, "/shop.Cart/Bidi")
                .messages(50)
                .send();
            assert_eq!((bidi.code(), bidi.answers().len()), ("OK", 50), "{bidi:?}");
            assert_eq!(bidi.0["trailing"]["x-trailing"], "sent");

            for code in [
                "NOT_FOUND",
                "RESOURCE_EXHAUSTED",
                "INTERNAL",
                "UNAUTHENTICATED",
            ] {
                let failed = client
                    .call(service.v4, "/shop.Cart/Fail")
                    .message(&json!({"code": code, "details": "why: 100 % known"}))
                    .send();
                assert_eq!(failed.code(), code, "{failed:?}");
                assert_eq!(failed.0["details"], "why: 100 % known");
                assert_eq!(failed.0["trailing"]["x-trailing"], "sent");
            }
        }
    }
    let grpc = |status: &'static str| {
        [
            ("request_protocol", "grpc"),
            ("grpc_response_status", status),
        ]
    };
    carts
        .mesh
        .expect_requests(&carts.far, &carts.v1, 200, &grpc("0"), 4);
    carts
        .mesh
        .expect_requests(&carts.far, &carts.v1, 200, &grpc("5"), 1);
}

/// A call that the client gives up is given up at the server too, and Weir's own refusals are gRPC's.
#[test]
fn calls_that_fail_in_the_mesh_end_with_a_status() {
    let carts = Carts::new();
    let web = carts.service("web", &[&carts.v1]);
    let empty = carts.service("empty", &[]);
    let absent = carts.routed(
        "to-absent",
        json!([{"backendRefs": [{"name": "absent", "port": 80}]}]),
    );
    let unmatched = carts.routed(
        "unmatched",
        json!([{"matches": [{"method": {"service": "shop.Cart"}}], "backendRefs": [{"name": "v1", "port": 80}]}]),
    );
    let dead = carts.mesh.pod("dead", "n2").enrolled();
    let dead = carts.service("dead", &[&dead]);
    carts.mesh.start_agents();

    for client in carts.clients() {
        let late = client
            .call(web.v4, "/shop.Cart/Unary")
            .message(&json!({"delay": 5}))
            .deadline(Duration::from_millis(500))
            .send();
        assert_eq!(late.code(), "DEADLINE_EXCEEDED", "{late:?}");
        assert!(late.took() < Duration::from_secs(2), "{late:?}");
        for (service, code, reason) in [
            (&empty, "UNAVAILABLE", "no_healthy_endpoint"),
            (&absent, "UNAVAILABLE", "backend_not_found"),
            (&unmatched, "UNIMPLEMENTED", "no_route"),
            (&dead, "UNAVAILABLE", ""),
        ] {
            let call = client.call(service.v4, "/other.Service/Unary").send();
            assert_eq!(call.code(), code, "{call:?}");
            let details = call.0["details"].as_str().unwrap_or_default();
            assert!(details.contains(reason), "{call:?}");
        }
    }
}

fn share(calls: &[Call], server: &str) -> usize {
    calls.iter().filter(|call| call.server() == server).count()
}

/// MeshGRPCRouteWeight, GRPCRouteExactMethodMatching, GRPCRouteHeaderMatching, GRPCRouteNamedRule
#[test]
fn calls_are_matched_split_and_balanced_one_by_one() {
    let carts = Carts::new();
    let to = |service: &str| json!([{"name": service, "port": 80}]);
    let matched = carts.routed(
        "matched",
        json!([
            {"matches": [{"method": {"service": "shop.Cart", "method": "Add"}}], "backendRefs": to("v1")},
            {"matches": [{"method": {"service": "shop.Cart"}}], "backendRefs": to("v2")},
            {"matches": [{"method": {"method": "Ping"}}], "backendRefs": to("v1")},
            {"matches": [{"method": {"type": "RegularExpression", "service": "stock\\.v[12]\\..*", "method": "Get.+"}}], "backendRefs": to("v2")},
            {"matches": [{"headers": [{"name": "version", "value": "one"}]}], "backendRefs": to("v1")},
            {"matches": [{"method": {"service": "both.Service"}, "headers": [{"name": "version", "value": "two"}]}], "backendRefs": to("v2")},
        ]),
    );
    let weighted = carts.routed(
        "weighted",
        json!([{"backendRefs": [
            {"name": "v1", "port": 80, "weight": 70},
            {"name": "v2", "port": 80, "weight": 30},
        ]}]),
    );
    let modified = carts.routed(
        "modified",
        json!([{
            "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x-set", "value": "rule"}]}}],
            "backendRefs": to("v1"),
        }]),
    );
    let balanced = carts.service("balanced", &[&carts.v1, &carts.v2]);
    carts.mesh.start_agents();

    for client in carts.clients() {
        for (method, version, wanted) in [
            ("/shop.Cart/Add", "", "v1"),
            ("/shop.Cart/Remove", "", "v2"),
            ("/other.Service/Ping", "", "v1"),
            ("/stock.v1.Items/GetAll", "", "v2"),
            ("/other.Service/Other", "one", "v1"),
            ("/both.Service/Any", "two", "v2"),
        ] {
            let call = client.call(matched.v4, method);
            let call = match version {
                "" => call,
                version => call.metadata("version", version),
            };
            let call = call.send();
            assert_eq!(
                (call.code(), call.server()),
                ("OK", wanted),
                "{method}: {call:?}"
            );
        }
        for method in [
            "/stock.v3.Items/GetAll",
            "/both.Service/Any",
            "/shop.CartX/Add",
        ] {
            let call = client.call(matched.v4, method).send();
            assert_eq!(call.code(), "UNIMPLEMENTED", "{method}: {call:?}");
        }
        let call = client.call(modified.v4, "/shop.Cart/Unary").send();
        assert_eq!(call.answers()[0]["metadata"]["x-set"], json!(["rule"]));

        // One channel, one HTTP/2 connection: see split.rs for the number.
        let calls = client.call(weighted.v4, "/shop.Cart/Unary").send_all(2_000);
        let to_v1 = share(&calls, "v1");
        assert!((1_300..=1_500).contains(&to_v1), "{to_v1} of 2,000 to v1");
        assert_eq!(to_v1 + share(&calls, "v2"), 2_000);
        // A busy machine may have made one slow for a moment, which is held against it for a while.
        eventually("an even share", Duration::from_secs(10), || {
            let calls = client.call(balanced.v4, "/shop.Cart/Unary").send_all(100);
            let shares = ["v1", "v2"].map(|server| share(&calls, server));
            let is_even = shares.iter().all(|&n| n >= 25) && shares.iter().sum::<usize>() == 100;
            is_even.then_some(()).ok_or(shares)
        });
    }
    eventually("both are asked", Duration::from_secs(1), || {
        let counts = carts.apps.iter().map(|app| app.count("request"));
        counts
            .clone()
            .all(|n| n > 600)
            .then_some(())
            .ok_or(counts.collect::<Vec<_>>())
    });
}
