//! What a mesh consists of beneath its pods: the bridge, the addresses, the cgroup, the folders.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use crate::{
    cgroup::Cgroup, manifests::Manifests, netns::Netns, process::Place, run::Run, sniffer::Sniffer,
};

/// Where in the address plan pods without a node are.
const OUTSIDE: u8 = 200;

/// What pods and nodes need of their mesh. Fields go in this order: processes, network, folders.
pub(crate) struct Fabric {
    cgroup: Cgroup,
    bridge: Netns,
    /// Numbers what is joined to the bridge.
    next: AtomicU16,
    pub(crate) manifests: Manifests,
    run: Run,
}

impl Fabric {
    pub(crate) fn create() -> Self {
        let run = Run::start();
        let bridge = Netns::create(format!("{}-fabric", run.name()));
        bridge.ip("link set lo up\n\
             link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
             link set br0 up\n\
             addr add 10.9.0.1/16 dev br0\n\
             addr add fd00:9::1/64 dev br0 nodad\n");
        // What is not in the plan is refused by the gateway, as in a real network, and does not
        // vanish until a timer ends.
        bridge.sysctl("ipv4/ip_forward", "1");
        bridge.sysctl("ipv6/conf/all/forwarding", "1");
        bridge.ip("route add unreachable default\nroute add unreachable ::/0\n");

        let dir = run.dir();
        fs::create_dir_all(dir.join("logs")).unwrap();
        Self {
            cgroup: Cgroup::create(run.name()),
            bridge,
            next: AtomicU16::new(0),
            manifests: Manifests::create(dir.join("config")),
            run,
        }
    }

    pub(crate) fn cgroup(&self) -> &Path {
        self.cgroup.path()
    }

    /// Kills what runs in a pod.
    pub(crate) fn kill(&self, place: &str) {
        self.cgroup.kill(place);
    }

    pub(crate) fn bpffs(&self, node: &str) -> PathBuf {
        self.run.bpffs(node)
    }

    pub(crate) fn sniff(&self) -> Sniffer {
        Sniffer::start(&self.bridge)
    }

    /// Whether an interface is still joined to the bridge.
    pub(crate) fn is_joined(&self, veth: &str) -> bool {
        self.bridge.links().iter().any(|link| link == veth)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.run.dir()
    }

    /// The place of node number `index`.
    pub(crate) fn node(&self, index: u8) -> Place {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("n{index}");
        let netns = self.join(&name, &veth(number), plan(0, 10 + u16::from(index)));
        self.place(&name, netns)
    }

    /// A place in the network for a pod, and the name of its interface on the bridge. Without
    /// `ips` the plan gives it its own.
    pub(crate) fn pod_place(
        &self,
        name: &str,
        node: Option<&str>,
        ips: Option<[IpAddr; 2]>,
    ) -> (Place, String, [IpAddr; 2]) {
        let node = node.map_or(OUTSIDE, |node| {
            let digits = node.trim_start_matches(|c: char| !c.is_ascii_digit());
            digits
                .parse()
                .unwrap_or_else(|_| panic!("nodes are n1, n2, …, not {node}"))
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let ips = ips.unwrap_or_else(|| plan(node, number + 2));
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
        self.bridge.ip(&format!(
            "link add {veth} type veth peer name eth0 address {} netns {}\n\
             link set {veth} master br0 up\n",
            mac(v4),
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

/// One that follows from the address: whoever has the address next is found at once, as in a
/// network that routes to pods, and not when an entry of ARP has aged.
fn mac(v4: IpAddr) -> String {
    let IpAddr::V4(v4) = v4 else {
        unreachable!("the plan's first address is of IPv4");
    };
    let [a, b, c, d] = v4.octets();
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
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
