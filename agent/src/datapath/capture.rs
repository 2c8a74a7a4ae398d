//! Captured pods in the kernel: what `enroll` drives.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd as _, AsRawFd as _},
    sync::Arc,
};

use aya::maps::{MapError, lpm_trie::Key};
use socket2::Domain;
use weir_abi::*;

use super::{
    Datapath, DatapathError, loader,
    netns::Netns,
    sockets::{self, PodSockets},
    sys::AttachType,
};
use crate::model::{
    pod::{Pod, SkipRules},
    seams::{Capture, CaptureId, OpenedPod, PodListeners, ProbeToken},
};

/// The pods that this agent has opened, by slot.
#[derive(Default)]
pub(super) struct Captures {
    pods: BTreeMap<CaptureId, CapturedPod>,
}

struct CapturedPod {
    sockets: Arc<PodSockets>,
    ips: Vec<IpAddr>,
    /// The same sockets that the data plane accepts from: here for the kernel's map.
    listeners: Vec<(ListenerKey, std::net::TcpListener)>,
    skips: SkipRules,
}

impl Capture for Datapath {
    type Error = DatapathError;

    fn open(&mut self, pod: &Pod) -> Result<OpenedPod, DatapathError> {
        self.check_owner()?;
        let reference = pod.netns.as_ref().ok_or_else(|| DatapathError::Netns {
            action: "find",
            netns: pod.name.to_string(),
            source: std::io::Error::other(
                "the pod's manifest names none (annotation weir.dev/netns or weir.dev/pid)",
            ),
        })?;
        let netns = Netns::open(reference)?;
        let id = self.free_slot(netns.cookie)?;
        let ips = one_of_each_family(&pod.ips);
        let mut captured = CapturedPod {
            listeners: Vec::new(),
            skips: SkipRules::default(),
            sockets: Arc::new(PodSockets {
                own: ips.iter().map(|ip| SocketAddr::new(*ip, 0)).collect(),
                token: token().map_err(|source| netns.error("make a token for", source))?,
                socks: Arc::clone(&self.maps.socks),
                netns,
            }),
            ips,
        };
        let listeners = captured.listen(self.workers)?;
        let opened = OpenedPod {
            id,
            token: captured.sockets.token,
            net: Arc::clone(&captured.sockets) as _,
            listeners,
        };
        self.captures.pods.insert(id, captured);
        Ok(opened)
    }

    fn activate(&mut self, id: CaptureId) -> Result<(), DatapathError> {
        self.check_owner()?;
        let Some(pod) = self.captures.pods.get(&id) else {
            return Ok(());
        };
        for (key, listener) in &pod.listeners {
            self.maps
                .listeners
                .insert(*key, listener.as_raw_fd(), 0)
                .map_err(DatapathError::map("LISTENERS"))?;
        }
        for ip in &pod.ips {
            self.maps
                .local
                .insert(Addr::from(*ip), LocalEntry { slot: id.0 }, 0)
                .map_err(DatapathError::map("LOCAL"))?;
        }
        let netns = &pod.sockets.netns;
        loader::attach(
            &self.pins.pod(netns.cookie),
            "sk_lookup",
            self.sk_lookup.as_fd(),
            netns.as_fd(),
            AttachType::SkLookup,
        )?;
        // Last: from here on the pod's dials are answered by all of the above.
        self.maps
            .pods
            .insert(netns.cookie, pod.entry(id), 0)
            .map_err(DatapathError::map("PODS"))
    }

    fn set_skips(&mut self, id: CaptureId, skips: &SkipRules) -> Result<(), DatapathError> {
        self.check_owner()?;
        let Some(pod) = self.captures.pods.get_mut(&id) else {
            return Ok(());
        };
        let old = std::mem::replace(&mut pod.skips, skips.clone());
        self.forget_skips(id, &old, skips)?;
        for key in port_keys(id, skips) {
            self.maps
                .skip_ports
                .insert(key, 1, 0)
                .map_err(DatapathError::map("SKIP_PORTS"))?;
        }
        for key in cidr_keys(id, skips) {
            self.maps
                .skip_cidrs
                .insert(&key, 1, 0)
                .map_err(DatapathError::map("SKIP_CIDRS"))?;
        }
        Ok(())
    }

    fn release_outbound(&mut self, id: CaptureId) -> Result<(), DatapathError> {
        self.check_owner()?;
        if let Some(pod) = self.captures.pods.get(&id) {
            gone(self.maps.pods.remove(&pod.sockets.netns.cookie), "PODS")?;
        }
        Ok(())
    }

    fn release(&mut self, id: CaptureId) -> Result<(), DatapathError> {
        let Some(pod) = self.captures.pods.remove(&id) else {
            return Ok(());
        };
        self.check_owner()?;
        let cookie = pod.sockets.netns.cookie;
        gone(self.maps.pods.remove(&cookie), "PODS")?;
        self.pins.remove_pod(cookie);
        for ip in &pod.ips {
            // Another pod may have the address by now.
            let addr = Addr::from(*ip);
            if self
                .maps
                .local
                .get(&addr, 0)
                .is_ok_and(|entry| entry.slot == id.0)
            {
                gone(self.maps.local.remove(&addr), "LOCAL")?;
                for direction in [Direction::Outbound, Direction::Inbound] {
                    gone(
                        self.maps.listeners.remove(&listener_key(*ip, direction)),
                        "LISTENERS",
                    )?;
                }
            }
        }
        self.forget_skips(id, &pod.skips, &SkipRules::default())
    }

    fn refuse(&mut self, id: CaptureId) -> Result<(), DatapathError> {
        self.check_owner()?;
        if let Some(pod) = self.captures.pods.get_mut(&id) {
            for (key, _listener) in pod.listeners.drain(..) {
                gone(self.maps.listeners.remove(&key), "LISTENERS")?;
            }
        }
        Ok(())
    }
}

impl Datapath {
    /// Removes what an earlier agent captured and this one does not: call it once the first
    /// complete snapshot is enrolled.
    pub fn release_strangers(&mut self) -> Result<(), DatapathError> {
        self.check_owner()?;
        let ours: Vec<u64> = self.captures.cookies().collect();
        for cookie in self.pins.pods() {
            if !ours.contains(&cookie) {
                self.pins.remove_pod(cookie);
            }
        }
        let pinned: Vec<u64> = self.maps.pods.keys().filter_map(Result::ok).collect();
        for cookie in pinned {
            if !ours.contains(&cookie) {
                gone(self.maps.pods.remove(&cookie), "PODS")?;
            }
        }
        let local: Vec<Addr> = self.maps.local.keys().filter_map(Result::ok).collect();
        for addr in local {
            if !self.captures.has_address(addr.into()) {
                gone(self.maps.local.remove(&addr), "LOCAL")?;
            }
        }
        self.forget_strange_skips()
    }

    fn forget_strange_skips(&mut self) -> Result<(), DatapathError> {
        let ports: Vec<PortKey> = self.maps.skip_ports.keys().filter_map(Result::ok).collect();
        for key in ports {
            let wanted = self
                .captures
                .pods
                .get(&CaptureId(key.slot))
                .is_some_and(|pod| {
                    port_keys(CaptureId(key.slot), &pod.skips).any(|ours| ours == key)
                });
            if !wanted {
                gone(self.maps.skip_ports.remove(&key), "SKIP_PORTS")?;
            }
        }
        let cidrs: Vec<Key<CidrKey>> = self.maps.skip_cidrs.keys().filter_map(Result::ok).collect();
        for key in cidrs {
            let slot = key.data().slot;
            let wanted = self.captures.pods.get(&CaptureId(slot)).is_some_and(|pod| {
                cidr_keys(CaptureId(slot), &pod.skips).any(|ours| same_cidr(&ours, &key))
            });
            if !wanted {
                gone(self.maps.skip_cidrs.remove(&key), "SKIP_CIDRS")?;
            }
        }
        Ok(())
    }

    /// The slot that the namespace has already (from an earlier agent), or a free one.
    fn free_slot(&self, cookie: u64) -> Result<CaptureId, DatapathError> {
        let mut taken = vec![false; PODS_MAX as usize];
        for id in self.captures.pods.keys() {
            if let Some(slot) = taken.get_mut(id.0 as usize) {
                *slot = true;
            }
        }
        for (other, entry) in self.maps.pods.iter().filter_map(Result::ok) {
            let slot = entry.slot as usize;
            if other == cookie && taken.get(slot) == Some(&false) {
                return Ok(CaptureId(entry.slot));
            }
            if let Some(slot) = taken.get_mut(slot) {
                *slot = true;
            }
        }
        taken
            .iter()
            .position(|taken| !taken)
            .and_then(|slot| u32::try_from(slot).ok())
            .map(CaptureId)
            .ok_or(DatapathError::TooManyPods(PODS_MAX))
    }

    fn forget_skips(
        &mut self,
        id: CaptureId,
        old: &SkipRules,
        new: &SkipRules,
    ) -> Result<(), DatapathError> {
        let kept: Vec<PortKey> = port_keys(id, new).collect();
        for key in port_keys(id, old).filter(|key| !kept.contains(key)) {
            gone(self.maps.skip_ports.remove(&key), "SKIP_PORTS")?;
        }
        for key in cidr_keys(id, old) {
            if !cidr_keys(id, new).any(|kept| same_cidr(&kept, &key)) {
                gone(self.maps.skip_cidrs.remove(&key), "SKIP_CIDRS")?;
            }
        }
        Ok(())
    }
}

impl Captures {
    fn cookies(&self) -> impl Iterator<Item = u64> + '_ {
        self.pods.values().map(|pod| pod.sockets.netns.cookie)
    }

    fn has_address(&self, ip: IpAddr) -> bool {
        self.pods.values().any(|pod| pod.ips.contains(&ip))
    }
}

impl CapturedPod {
    /// Opens the listeners; keeps the first of each group for the kernel's map (the kernel then
    /// chooses within the group), gives one of each group to each data-plane thread.
    fn listen(&mut self, workers: usize) -> Result<Vec<PodListeners>, DatapathError> {
        let netns = &self.sockets.netns;
        let failed = |source| netns.error("listen", source);
        let mut shares: Vec<PodListeners> = (0..workers).map(|_| PodListeners::default()).collect();
        for ip in &self.ips {
            for direction in [Direction::Outbound, Direction::Inbound] {
                let group =
                    sockets::listeners(netns, Domain::for_address((*ip, 0).into()), workers)
                        .map_err(failed)?;
                if let Some(first) = group.first() {
                    let first = first.try_clone().map_err(failed)?;
                    self.listeners.push((listener_key(*ip, direction), first));
                }
                for (share, listener) in shares.iter_mut().zip(group) {
                    match direction {
                        Direction::Outbound => share.outbound.push(listener),
                        Direction::Inbound => share.inbound.push(listener),
                    }
                }
            }
        }
        Ok(shares)
    }

    fn entry(&self, id: CaptureId) -> PodEntry {
        let of_family = |v4: bool| {
            let ip = self.ips.iter().find(|ip| ip.is_ipv4() == v4);
            ip.map_or(Addr::NONE, |ip| Addr::from(*ip))
        };
        PodEntry {
            v4: of_family(true),
            v6: of_family(false),
            slot: id.0,
            dials: 0,
        }
    }
}

/// A pod has at most one address of a family (Kubernetes API, PodStatus.podIPs).
fn one_of_each_family(ips: &[IpAddr]) -> Vec<IpAddr> {
    let v4 = ips.iter().find(|ip| ip.is_ipv4());
    let v6 = ips.iter().find(|ip| ip.is_ipv6());
    v4.into_iter().chain(v6).copied().collect()
}

fn listener_key(ip: IpAddr, direction: Direction) -> ListenerKey {
    ListenerKey {
        addr: ip.into(),
        direction: direction as u32,
    }
}

fn port_keys(id: CaptureId, skips: &SkipRules) -> impl Iterator<Item = PortKey> {
    let key = move |direction: Direction| {
        move |port: &u16| PortKey {
            slot: id.0,
            port: *port,
            direction: direction as u16,
        }
    };
    let inbound = skips.inbound_ports.iter().map(key(Direction::Inbound));
    inbound.chain(skips.outbound_ports.iter().map(key(Direction::Outbound)))
}

fn cidr_keys(id: CaptureId, skips: &SkipRules) -> impl Iterator<Item = Key<CidrKey>> {
    skips.outbound_cidrs.iter().map(move |cidr| {
        let mapped_bits = if cidr.addr().is_ipv4() { 96 } else { 0 };
        let bits = CidrKey::SLOT_BITS + mapped_bits + u32::from(cidr.prefix_len());
        let data = CidrKey {
            slot: id.0,
            addr: cidr.network().into(),
        };
        Key::new(bits, data)
    })
}

fn same_cidr(a: &Key<CidrKey>, b: &Key<CidrKey>) -> bool {
    a.prefix_len() == b.prefix_len() && a.data() == b.data()
}

/// Removing what is not there is no error.
fn gone(result: Result<(), MapError>, name: &'static str) -> Result<(), DatapathError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(())
        }
        other => other.map_err(DatapathError::map(name)),
    }
}

fn token() -> std::io::Result<ProbeToken> {
    let mut token = ProbeToken::default();
    File::open("/dev/urandom")?.read_exact(&mut token)?;
    Ok(token)
}
