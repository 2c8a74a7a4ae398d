//! Applications come and go as a Deployment's do, and nobody notices: with retries off.

use serde_json::json;
use weir_tests::{
    HttpLoad, Load, Mesh, Pod, Proc, ServiceHandle, eventually,
    manifests::{self, Endpoint},
};

use super::{SOON, no_retries};

const PER_SECOND: u32 = 120;
const CONNECTIONS_PER_SECOND: u32 = 40;
/// Requests within which a pod that is out must not be asked once.
const ENOUGH: u64 = 30;

/// One pod of the Deployment, with an application that speaks HTTP and one of opaque bytes.
struct Replica {
    pod: Pod,
    http: Proc,
    echo: Proc,
}

/// A service with both ports, and what is asked of it all the time.
struct Rollout {
    web: ServiceHandle,
    replicas: Vec<Replica>,
    /// Which pods there have been.
    revision: usize,
    requests: HttpLoad,
    connections: Load,
    mesh: Mesh,
}

impl Rollout {
    fn new(replicas: usize) -> Self {
        let mesh = Mesh::new(2);
        let client = mesh.pod("client", "n1").enrolled();
        let web = mesh
            .new_service("web")
            .port(80, 8080, "http")
            .port(90, 9090, "tcp")
            .of(&[]);
        let target = manifests::parent("web");
        let spec = json!({"retries": no_retries()});
        mesh.apply(&manifests::traffic_policy("shop", "web", target, &spec));
        let first: Vec<_> = (1..=replicas)
            .map(|number| Replica::start(&mesh, number))
            .collect();
        web.set_pods(&first.iter().map(|replica| &replica.pod).collect::<Vec<_>>());
        mesh.start_agents();
        let rollout = Self {
            requests: client.http_load(web.v4, PER_SECOND),
            connections: client.load(web.at(90), CONNECTIONS_PER_SECOND),
            revision: replicas,
            replicas: first,
            web,
            mesh,
        };
        rollout.go_on();
        rollout
    }

    /// Traffic flows.
    #[track_caller]
    fn go_on(&self) {
        self.requests.wait_for_more(ENOUGH);
        self.connections.wait_for_more(ENOUGH / 3);
    }

    /// Tells the mesh who is ready, and who on its way out.
    fn publish(&self, leaving: Option<&Replica>) {
        let ready = self
            .replicas
            .iter()
            .flat_map(|replica| replica.pod.endpoints());
        let leaving = leaving
            .into_iter()
            .flat_map(|replica| replica.pod.endpoints());
        let endpoints: Vec<_> = ready.chain(leaving.map(Endpoint::terminating)).collect();
        self.web.set_endpoints(&endpoints);
    }

    /// A new pod, in the service once its application is ready and its node's agent has taken it up.
    #[track_caller]
    fn add(&mut self) {
        self.revision += 1;
        let replica = Replica::start(&self.mesh, self.revision);
        self.mesh.agent_of(&replica.pod).wait_captured(&replica.pod);
        self.replicas.push(replica);
        self.publish(None);
        let new = self.replicas.last().unwrap();
        eventually("the new one is asked", SOON, || {
            let asked = (new.http.counted("requests"), new.echo.count("accepted"));
            (asked.0 > 0 && asked.1 > 0).then_some(()).ok_or(asked)
        });
    }

    /// The oldest pod: terminating, drained, out of the service, gone.
    #[track_caller]
    fn remove(&mut self) {
        let old = self.replicas.remove(0);
        self.publish(Some(&old));
        eventually("the old one is asked no more", SOON, || {
            let asked = || (old.http.counted("requests"), old.echo.count("accepted"));
            let before = asked();
            self.go_on();
            (asked() == before).then_some(()).ok_or(before)
        });
        self.publish(None);
        let Replica { pod, http, echo } = old;
        drop((http, echo));
        pod.delete();
        self.go_on();
    }

    /// Nothing was lost, and everybody who was there at the end has had its share.
    #[track_caller]
    fn end(self) {
        let report = self.requests.stop();
        assert!(report.is_all_well(), "{report:?}");
        let (ok, failures) = self.connections.stop();
        assert!(
            ok > 0 && failures.is_empty(),
            "{ok} were well, and not: {failures:?}"
        );
        for replica in &self.replicas {
            assert!(report.from(replica.pod.name()) > 0, "{report:?}");
        }
    }
}

impl Replica {
    /// Once it listens.
    #[track_caller]
    fn start(mesh: &Mesh, number: usize) -> Self {
        let pod = mesh.pod(&format!("web-{number}"), "n2").enrolled();
        let (http, echo) = (pod.http(8080), pod.serve("echo", 9090));
        Self { pod, http, echo }
    }
}

#[test]
fn a_rolling_update_loses_no_request() {
    let mut rollout = Rollout::new(2);
    for _ in 0..2 {
        rollout.add();
        rollout.remove();
    }
    rollout.end();
}

#[test]
fn scaling_up_and_down_loses_no_request() {
    let mut rollout = Rollout::new(1);
    rollout.add();
    rollout.add();
    rollout.remove();
    rollout.remove();
    rollout.end();
}

/// A terminating pod that is the last one still serves (KEP-1669): better than nobody.
#[test]
fn the_last_one_serves_until_it_is_gone() {
    let rollout = Rollout::new(1);
    let leaving = rollout.replicas[0]
        .pod
        .endpoints()
        .map(Endpoint::terminating);
    rollout.web.set_endpoints(&leaving);
    rollout.go_on();
    rollout.go_on();
    rollout.end();
}
