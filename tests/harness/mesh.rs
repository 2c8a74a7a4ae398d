//! The private network: a bridge, nodes and pods on it, one folder of manifests.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use serde_json::Value;

use crate::{
    agent::{Agent, AgentBuilder, OnExit, weir_binary},
    bpf::{self, LinkTarget},
    ca::Ca,
    cgroup::Cgroup,
    manifests::{self, Endpoint, Manifests},
    metrics::Metrics,
    netns::Netns,
    pod::{Pod, PodBuilder},
    poll::{eventually, wait_for},
    process::{Exec, Place},
    run::Run,
    sniffer::Sniffer,
};

/// The namespace (in the sense of Kubernetes) of all pods and services, where nothing else is said.
pub(crate) const NAMESPACE: &str = "shop";
/// Where in the address plan pods without a node are.
const OUTSIDE: u8 = 200;
/// Metrics follow the connection, and a worker flushes what it logs within this time.
const METRICS_DEADLINE: Duration = Duration::from_secs(5);
/// Lines of each log that a failed test shows.
const LOG_LINES_SHOWN: usize = 60;

/// A simulated cluster. Addresses are the same in every mesh, since each is a world of its own:
/// pods `10.9.<node>.<n>` and `fd00:9::<node>:<n>`, services `10.96.0.<n>` and `fd00:96::<n>`.
pub struct Mesh {
    /// Agents first: they hold sockets in the pods' namespaces.
    agents: Mutex<Vec<Agent>>,
    pods: Mutex<Vec<Pod>>,
    nodes: Vec<Node>,
    ca: Ca,
    next_service: AtomicU16,
    shared: Arc<Shared>,
}

/// What pods and nodes need of their mesh. Fields go in this order: processes, network, folders.
pub(crate) struct Shared {
    cgroup: Cgroup,
    fabric: Netns,
    /// Numbers what is joined to the bridge.
    next: AtomicU16,
    pub(crate) manifests: Manifests,
    run: Run,
}

/// A machine: the namespace where its agent runs.
#[derive(Clone, Debug)]
pub struct Node {
    place: Place,
}

impl Node {
    pub fn name(&self) -> &str {
        &self.place.name
    }

    pub fn netns(&self) -> &Netns {
        &self.place.netns
    }

    /// A command on the node.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Exec {
        self.place.exec(program)
    }
}

impl Mesh {
    /// Nodes `n1`, `n2`, … without agents, and the folder of manifests with the namespace `shop`.
    pub fn new(nodes: u8) -> Self {
        let run = Run::start();
        let fabric = Netns::create(format!("{}-fabric", run.name()));
        fabric.ip("link set lo up\n\
             link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
             link set br0 up\n\
             addr add 10.9.0.1/16 dev br0\n\
             addr add fd00:9::1/64 dev br0 nodad\n");
        // What is not in the plan is refused by the gateway, as in a real network, and does not
        // vanish until a timer ends.
        fabric.sysctl("ipv4/ip_forward", "1");
        fabric.sysctl("ipv6/conf/all/forwarding", "1");
        fabric.ip("route add unreachable default\nroute add unreachable ::/0\n");

        let dir = run.dir().to_owned();
        fs::create_dir_all(dir.join("logs")).unwrap();
        let shared = Arc::new(Shared {
            cgroup: Cgroup::create(run.name()),
            fabric,
            next: AtomicU16::new(0),
            manifests: Manifests::create(dir.join("config")),
            run,
        });
        let nodes = (1..=nodes).map(|i| shared.node(i)).collect();
        let mesh = Self {
            agents: Mutex::default(),
            pods: Mutex::default(),
            nodes,
            ca: Ca::create(&dir, "root"),
            next_service: AtomicU16::new(1),
            shared,
        };
        mesh.apply(&manifests::namespace(NAMESPACE, None));
        mesh.apply(&manifests::mesh_config());
        mesh
    }

    /// What most scenarios begin with: an enrolled `client` on `n1`, an enrolled `server` on `n2`.
    /// Agents are not running yet.
    pub fn client_and_server() -> (Self, Pod, Pod) {
        let mesh = Self::new(2);
        let client = mesh.pod("client", "n1").enrolled();
        let server = mesh.pod("server", "n2").enrolled();
        (mesh, client, server)
    }

    pub fn dir(&self) -> &Path {
        self.shared.run.dir()
    }

    pub fn ca(&self) -> &Ca {
        &self.ca
    }

    /// A certificate for a pod that no agent serves.
    #[cfg(feature = "peers")]
    pub fn identity_of(&self, pod: &Pod) -> crate::ca::Identity {
        self.ca.issue(&crate::ca::Leaf::uri(pod.principal()))
    }

    /// The cgroup of everything that runs here, which the agents hook.
    pub fn cgroup(&self) -> &Path {
        self.shared.cgroup.path()
    }

    /// BPF links that are attached to this mesh: to its cgroup, and to the pods' namespaces.
    pub fn bpf_links(&self) -> Vec<LinkTarget> {
        let cgroup = fs::metadata(self.cgroup()).unwrap().ino();
        let mut ours = vec![LinkTarget::Cgroup(cgroup)];
        ours.extend(
            lock(&self.pods)
                .iter()
                .map(|pod| LinkTarget::Netns(pod.netns().inode())),
        );
        let mut links = bpf::links();
        links.retain(|link| ours.contains(link));
        links.sort();
        links
    }

    pub fn manifests(&self) -> &Manifests {
        &self.shared.manifests
    }

    pub fn apply(&self, object: &Value) {
        self.shared.manifests.apply(object);
    }

    pub fn delete(&self, object: &Value) {
        self.shared.manifests.delete(object);
    }

    pub fn node(&self, name: &str) -> &Node {
        let node = self.nodes.iter().find(|node| node.name() == name);
        node.unwrap_or_else(|| panic!("there is no node {name}"))
    }

    /// A pod to be, on a node of this mesh or on one that nobody plays.
    pub fn pod(&self, name: &str, node: &str) -> PodBuilder<'_> {
        PodBuilder::new(self, name, Some(node))
    }

    /// A pod that no manifest knows: the world outside the mesh.
    pub fn outside(&self, name: &str) -> Pod {
        PodBuilder::new(self, name, None).unlisted()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn adopt(&self, pod: Pod) {
        lock(&self.pods).push(pod);
    }

    /// A service with all of these pods behind it, over IPv4 and IPv6.
    pub fn service(&self, name: &str, port: u16, target: u16, pods: &[&Pod]) -> ServiceHandle {
        let number = self.next_service.fetch_add(1, Ordering::Relaxed);
        let service = ServiceHandle {
            name: name.to_owned(),
            v4: SocketAddr::new(
                Ipv4Addr::new(10, 96, 0, number.to_be_bytes()[1]).into(),
                port,
            ),
            v6: SocketAddr::new(
                Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, number).into(),
                port,
            ),
            ports: vec![(port, target)],
            shared: Arc::clone(&self.shared),
        };
        self.apply(&manifests::service(
            NAMESPACE,
            name,
            &[service.v4.ip(), service.v6.ip()],
            &service.ports,
        ));
        service.set_pods(pods);
        service
    }

    /// Flags of an agent on `node`. The same node has the same folders each time.
    pub fn agent(&self, node: &str) -> AgentBuilder {
        AgentBuilder {
            node: node.to_owned(),
            place: self.node(node).place.clone(),
            config: self.manifests().dir().to_owned(),
            state: self.dir().join(format!("state-{node}")),
            bpffs: self.bpffs(node),
            cgroup: Some(self.shared.cgroup.path().to_owned()),
            ca: Some(self.ca.clone()),
            on_exit: OnExit::Release,
            drain_timeout: "10s".to_owned(),
            metrics_port: 15020,
            admin_port: 15021,
            extra: Vec::new(),
        }
    }

    /// The folder of an agent's pins.
    pub fn bpffs(&self, node: &str) -> PathBuf {
        self.shared.run.bpffs(node)
    }

    /// Starts an agent on every node and waits until all are ready.
    #[track_caller]
    pub fn start_agents(&self) {
        let agents: Vec<_> = self
            .nodes
            .iter()
            .map(|node| self.agent(node.name()).spawn())
            .collect();
        lock(&self.agents).extend(agents.iter().cloned());
        agents.iter().for_each(Agent::wait_ready);
    }

    /// Starts an agent so that [`Mesh::agent_on`] and the assertions find it.
    #[track_caller]
    pub fn start_agent(&self, builder: AgentBuilder) -> Agent {
        let agent = builder.spawn();
        lock(&self.agents).push(agent.clone());
        agent.wait_ready();
        agent
    }

    /// The latest agent that was started on the node.
    #[track_caller]
    pub fn agent_on(&self, node: &str) -> Agent {
        let agents = lock(&self.agents);
        let agent = agents.iter().rev().find(|agent| agent.node() == node);
        agent
            .unwrap_or_else(|| panic!("no agent was started on {node}"))
            .clone()
    }

    /// The agent on the pod's node.
    #[track_caller]
    pub fn agent_of(&self, pod: &Pod) -> Agent {
        self.agent_on(
            pod.node()
                .unwrap_or_else(|| panic!("{} is on no node", pod.name())),
        )
    }

    /// Other commands of the binary under test, run on a node: `weir(&node, &["check"])`.
    pub fn weir(&self, node: &str, args: &[&str]) -> Exec {
        self.node(node).command(weir_binary()).args(args)
    }

    /// Connections that both agents count as mutual TLS between exactly these two identities.
    /// Nothing that went round the mesh is in it.
    #[track_caller]
    pub fn expect_tunnelled(&self, client: &Pod, server: &Pod, at_least: u32) {
        self.expect_counted(client, server, &MUTUAL_TLS, at_least);
    }

    /// As [`Mesh::expect_tunnelled`], with `labels` instead of the security policy.
    #[track_caller]
    pub fn expect_counted(
        &self,
        client: &Pod,
        server: &Pod,
        labels: &[(&str, &str)],
        at_least: u32,
    ) {
        self.expect_reported(
            "source",
            &self.agent_of(client),
            client,
            server,
            labels,
            at_least,
        );
        let agent = self.agent_of(server);
        self.expect_reported("destination", &agent, client, server, labels, at_least);
    }

    /// What one agent has counted, as `source` or `destination`.
    #[track_caller]
    pub fn expect_reported(
        &self,
        reporter: &str,
        agent: &Agent,
        client: &Pod,
        server: &Pod,
        labels: &[(&str, &str)],
        at_least: u32,
    ) {
        let what = format!("{at_least} connections counted by the {reporter}'s agent");
        eventually(&what, METRICS_DEADLINE, || {
            let metrics = agent.metrics();
            let seen = opened(&metrics, reporter, client, server, labels);
            if seen >= f64::from(at_least) {
                return Ok(());
            }
            Err(format!("{seen} of {:#?}", metrics.starting_with(OPENED)))
        });
    }

    /// How many connections between these identities the client's agent has counted.
    pub fn tunnelled(&self, client: &Pod, server: &Pod) -> u64 {
        let metrics = self.agent_of(client).metrics();
        opened(&metrics, "source", client, server, &MUTUAL_TLS) as u64
    }

    /// Plaintext connections to the pod that its agent let in.
    #[track_caller]
    pub fn expect_plaintext_in(&self, server: &Pod, at_least: u32) {
        let agent = self.agent_of(server);
        let labels = [
            ("reporter", "destination"),
            ("destination_workload", server.name()),
            ("source_principal", "unknown"),
            ("connection_security_policy", "none"),
        ];
        eventually(
            "plaintext counted by the destination",
            METRICS_DEADLINE,
            || {
                let metrics = agent.metrics();
                if metrics.sum(OPENED, &labels) >= f64::from(at_least) {
                    return Ok(());
                }
                Err(format!("{:#?}", metrics.starting_with(OPENED)))
            },
        );
    }

    /// Records what crosses the bridge between the pods.
    pub fn sniff(&self) -> Sniffer {
        Sniffer::start(&self.shared.fabric)
    }

    /// Takes a pod's processes and namespace away, as a container runtime does; `pod` must be
    /// the last handle. Returns whether the kernel has let go of the namespace within
    /// `deadline`, which it does when nobody holds a socket or a descriptor of it.
    pub fn destroy(&self, pod: Pod, deadline: Duration) -> bool {
        let veth = pod.veth().to_owned();
        self.shared.cgroup.kill(pod.name());
        lock(&self.pods).retain(|other| other.name() != pod.name());
        drop(pod);
        wait_for(deadline, || {
            (!self.shared.fabric.links().contains(&veth)).then_some(())
        })
        .is_some()
    }
}

/// The label of connections whose bytes were protected on the wire.
pub const MUTUAL_TLS: [(&str, &str); 1] = [("connection_security_policy", "mutual_tls")];
const OPENED: &str = "istio_tcp_connections_opened_total";

fn opened(
    metrics: &Metrics,
    reporter: &str,
    client: &Pod,
    server: &Pod,
    extra: &[(&str, &str)],
) -> f64 {
    let (source, destination) = (client.principal(), server.principal());
    let mut labels = vec![
        ("reporter", reporter),
        ("source_principal", &source),
        ("destination_principal", &destination),
        ("source_workload", client.name()),
        ("destination_workload", server.name()),
    ];
    labels.extend_from_slice(extra);
    metrics.sum(OPENED, &labels)
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        lock(&self.agents).clear();
        lock(&self.pods).clear();
    }
}

impl Mesh {
    /// The end of what every program wrote, for the report of a failed test.
    fn show_logs(&self) {
        let mut logs: Vec<_> = fs::read_dir(self.dir().join("logs"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        logs.sort();
        for path in logs {
            let Ok(file) = fs::File::open(&path) else {
                continue;
            };
            let lines: Vec<_> = BufReader::new(file).lines().map_while(Result::ok).collect();
            if !lines.is_empty() {
                let name = path.file_name().unwrap_or_default();
                eprintln!("--- {} ({} lines)", name.display(), lines.len());
                lines
                    .iter()
                    .rev()
                    .take(LOG_LINES_SHOWN)
                    .rev()
                    .for_each(|line| eprintln!("{line}"));
            }
        }
    }
}

impl Shared {
    pub(crate) fn dir(&self) -> &Path {
        self.run.dir()
    }

    fn node(&self, index: u8) -> Node {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("n{index}");
        let netns = self.join(&name, &veth(number), plan(0, 10 + u16::from(index)));
        Node {
            place: self.place(&name, netns),
        }
    }

    /// A place in the network for a pod, and the name of its interface on the bridge.
    pub(crate) fn pod_place(&self, name: &str, node: Option<&str>) -> (Place, String, [IpAddr; 2]) {
        let node = node.map_or(OUTSIDE, |node| {
            let digits = node.trim_start_matches(|c: char| !c.is_ascii_digit());
            digits
                .parse()
                .unwrap_or_else(|_| panic!("nodes are n1, n2, …, not {node}"))
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let ips = plan(node, number + 2);
        let netns = self.join(name, &veth(number), ips);
        (self.place(name, netns), veth(number), ips)
    }

    fn place(&self, name: &str, netns: Netns) -> Place {
        Place {
            name: name.to_owned(),
            netns: Arc::new(netns),
            cgroup_procs: Arc::new(self.cgroup.child(name)),
            logs: self.run.dir().join("logs"),
        }
    }

    /// A new namespace with these addresses, joined to the bridge.
    fn join(&self, name: &str, veth: &str, [v4, v6]: [IpAddr; 2]) -> Netns {
        let netns = Netns::create(format!("{}-{name}", self.run.name()));
        self.fabric.ip(&format!(
            "link add {veth} type veth peer name eth0 netns {}\n\
             link set {veth} master br0 up\n",
            netns.name()
        ));
        netns.ip(&format!(
            "link set lo up\n\
             link set eth0 up\n\
             addr add {v4}/16 dev eth0\n\
             addr add {v6}/64 dev eth0 nodad\n\
             route add default via 10.9.0.1\n\
             route add default via fd00:9::1\n"
        ));
        netns
    }
}

fn veth(number: u16) -> String {
    format!("v{number}")
}

/// The addresses of number `n` on a node.
fn plan(node: u8, n: u16) -> [IpAddr; 2] {
    let octet = u8::try_from(n).expect("a mesh has at most 250 pods");
    [
        Ipv4Addr::new(10, 9, node, octet).into(),
        Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, node.into(), n).into(),
    ]
}

/// A Service, and how to change what is behind it.
pub struct ServiceHandle {
    pub name: String,
    pub v4: SocketAddr,
    pub v6: SocketAddr,
    ports: Vec<(u16, u16)>,
    shared: Arc<Shared>,
}

impl ServiceHandle {
    pub fn set_pods(&self, pods: &[&Pod]) {
        let endpoints: Vec<_> = pods.iter().flat_map(|pod| pod.endpoints()).collect();
        self.set_endpoints(&endpoints);
    }

    /// Any addresses, also of nobody.
    pub fn set_endpoints(&self, endpoints: &[Endpoint]) {
        for ipv6 in [false, true] {
            let slice =
                manifests::endpoint_slice(NAMESPACE, &self.name, &self.ports, ipv6, endpoints);
            self.shared.manifests.apply(&slice);
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
