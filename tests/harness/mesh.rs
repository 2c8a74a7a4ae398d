//! The private network: a bridge, nodes and pods on it, one folder of manifests.

use std::{
    fs,
    io::{BufRead, BufReader},
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
    fabric::Fabric,
    manifests::{self, Manifests},
    netns::Netns,
    pod::{Pod, PodBuilder},
    poll::wait_for,
    process::{Exec, Place},
    service::{ServiceBuilder, ServiceHandle},
    sniffer::Sniffer,
};

/// The namespace (in the sense of Kubernetes) of all pods and services, where nothing else is said.
pub(crate) const NAMESPACE: &str = "shop";
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
    fabric: Arc<Fabric>,
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
        let fabric = Arc::new(Fabric::create());
        let nodes = (1..=nodes)
            .map(|index| Node {
                place: fabric.node(index),
            })
            .collect();
        let mesh = Self {
            agents: Mutex::default(),
            pods: Mutex::default(),
            nodes,
            ca: Ca::create(fabric.dir(), "root"),
            next_service: AtomicU16::new(1),
            fabric,
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
        self.fabric.dir()
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
        self.fabric.cgroup()
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
        &self.fabric.manifests
    }

    pub fn apply(&self, object: &Value) {
        self.fabric.manifests.apply(object);
    }

    pub fn delete(&self, object: &Value) {
        self.fabric.manifests.delete(object);
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

    pub(crate) fn fabric(&self) -> &Arc<Fabric> {
        &self.fabric
    }

    pub(crate) fn adopt(&self, pod: Pod) {
        lock(&self.pods).push(pod);
    }

    /// A Service to be.
    pub fn new_service(&self, name: &str) -> ServiceBuilder<'_> {
        ServiceBuilder::new(self, name)
    }

    /// A service of opaque bytes with all of these pods behind it.
    pub fn service(&self, name: &str, port: u16, target: u16, pods: &[&Pod]) -> ServiceHandle {
        self.new_service(name).port(port, target, "tcp").of(pods)
    }

    /// Port 80 of a service that speaks HTTP, whichever version a client begins with; the pods
    /// listen on 8080.
    pub fn http_service(&self, name: &str, pods: &[&Pod]) -> ServiceHandle {
        self.new_service(name).port(80, 8080, "http").of(pods)
    }

    pub(crate) fn next_service(&self) -> u16 {
        self.next_service.fetch_add(1, Ordering::Relaxed)
    }

    /// Flags of an agent on `node`. The same node has the same folders each time.
    pub fn agent(&self, node: &str) -> AgentBuilder {
        AgentBuilder {
            node: node.to_owned(),
            place: self.node(node).place.clone(),
            config: self.manifests().dir().to_owned(),
            state: self.dir().join(format!("state-{node}")),
            bpffs: self.bpffs(node),
            cgroup: Some(self.fabric.cgroup().to_owned()),
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
        self.fabric.bpffs(node)
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
        // Not by for_each: a failure shall name the scenario's line.
        for agent in &agents {
            agent.wait_ready();
        }
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

    /// Records what crosses the bridge between the pods.
    pub fn sniff(&self) -> Sniffer {
        self.fabric.sniff()
    }

    /// Takes a pod's processes and namespace away, as a container runtime does; `pod` must be
    /// the last handle. Returns whether the kernel has let go of the namespace within
    /// `deadline`, which it does when nobody holds a socket or a descriptor of it.
    pub fn destroy(&self, pod: Pod, deadline: Duration) -> bool {
        let veth = pod.veth().to_owned();
        self.fabric.kill(pod.name());
        lock(&self.pods).retain(|other| other.name() != pod.name());
        drop(pod);
        wait_for(deadline, || (!self.fabric.is_joined(&veth)).then_some(())).is_some()
    }
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

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
