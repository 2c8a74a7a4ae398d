//! What a run makes on the machine: namespaces, a cgroup, a folder. All mounts are made in a mount namespace of the
//! run's own, so that even a run that is killed leaves nothing but empty cgroups, which the next run removes.

use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// Where `ip netns` and the agents look for namespaces by name.
const NETNS_DIR: &str = "/run/netns";
const RUN_DIR: &str = "/run/weir-bench";
const CGROUP_PREFIX: &str = "weir-bench-";

/// Where a program runs.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) netns: PathBuf,
    pub(crate) cgroup: PathBuf,
}

/// Two pods joined by a veth pair, the client's and the server's.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) client: Place,
    pub(crate) server: Place,
    pub(crate) client_ip: Ipv4Addr,
    pub(crate) server_ip: Ipv4Addr,
}

pub(crate) struct Sandbox {
    cgroup: PathBuf,
    pairs: u8,
}

impl Sandbox {
    /// To be called while the process has one thread: a mount namespace belongs to a thread.
    pub(crate) fn create() -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "namespaces and eBPF need root: run `sudo -E cargo xtask bench`"
        );
        // Without its parent nobody would read the result.
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
        let unified = cgroup2_root()?;
        sweep(&unified);
        let cgroup = unified.join(format!("{CGROUP_PREFIX}{}", std::process::id()));
        fs::create_dir(&cgroup).with_context(|| format!("cannot create {}", cgroup.display()))?;
        let sandbox = Self { cgroup, pairs: 0 };
        // SAFETY: only CLONE_FILES would make descriptors invalid; this is CLONE_NEWNS alone.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }
            .context("cannot make a mount namespace")?;
        rustix::mount::mount_change(
            "/",
            MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
        )?;
        for dir in [NETNS_DIR, RUN_DIR] {
            fs::create_dir_all(dir)?;
            mount("tmpfs", dir)?;
        }
        let bpf = sandbox.dir("bpf")?;
        mount("bpf", bpf.to_string_lossy().as_ref())?;
        Ok(sandbox)
    }

    /// A folder of the run's own; `bpf` is a BPF file system.
    pub(crate) fn dir(&self, name: &str) -> Result<PathBuf> {
        let dir = Path::new(RUN_DIR).join(name);
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// A node is a cgroup: hooks of an agent attached there see the programs of that node alone, as if they were
    /// another machine's, and `direct` passes no hook at all.
    pub(crate) fn node(&self, name: &str) -> Result<PathBuf> {
        let cgroup = self.cgroup.join(name);
        fs::create_dir_all(&cgroup)?;
        Ok(cgroup)
    }

    /// A namespace with nothing but loopback.
    pub(crate) fn netns(&self, name: &str, node: &Path) -> Result<Place> {
        ip(&["netns", "add", name])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        let place = Place {
            netns: Path::new(NETNS_DIR).join(name),
            cgroup: node.to_owned(),
        };
        inside(&place, || {
            // Tens of thousands of connections to one address in seconds. The range stays clear of 15001–15021.
            fs::write("/proc/sys/net/ipv4/ip_local_port_range", "16384 65535")?;
            fs::write("/proc/sys/net/ipv4/tcp_tw_reuse", "1")?;
            fs::write("/proc/sys/net/core/somaxconn", "16384")?;
            Ok(())
        })?;
        Ok(place)
    }

    /// Every path gets a pair of its own, wired alike.
    pub(crate) fn pair(
        &mut self,
        name: &str,
        client_node: &Path,
        server_node: &Path,
    ) -> Result<Pair> {
        self.pairs += 1;
        let address = |host| Ipv4Addr::new(10, 88, self.pairs, host);
        let (client_name, server_name) = (format!("{name}-c"), format!("{name}-s"));
        let pair = Pair {
            client: self.netns(&client_name, client_node)?,
            server: self.netns(&server_name, server_node)?,
            client_ip: address(1),
            server_ip: address(2),
        };
        ip(&[
            "-n",
            &client_name,
            "link",
            "add",
            "eth0",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            &server_name,
        ])?;
        for (netns, own, other) in [
            (&client_name, pair.client_ip, pair.server_ip),
            (&server_name, pair.server_ip, pair.client_ip),
        ] {
            ip(&[
                "-n",
                netns,
                "address",
                "add",
                &format!("{own}/24"),
                "dev",
                "eth0",
            ])?;
            ip(&["-n", netns, "link", "set", "eth0", "up"])?;
            // A pod has a default route; service addresses go that way.
            ip(&[
                "-n",
                netns,
                "route",
                "add",
                "default",
                "via",
                &other.to_string(),
            ])?;
        }
        Ok(pair)
    }

    /// CPU time of everything the run has started, for telling it from what others do on the machine.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let text = fs::read_to_string(self.cgroup.join("cpu.stat"))?;
        let usage = text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "))
            .context("no usage_usec")?;
        Ok(Duration::from_micros(usage.parse()?))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // The programs are gone by now, but the kernel takes a moment to notice.
        let deadline = Instant::now() + Duration::from_secs(2);
        while !remove_cgroup(&self.cgroup) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Runs `work` on a thread inside the namespace of `place`.
pub(crate) fn inside<T: Send>(place: &Place, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let netns = fs::File::open(&place.netns)?;
    let enter = || {
        rustix::thread::move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
        work()
    };
    std::thread::scope(|scope| match scope.spawn(enter).join() {
        Ok(result) => result,
        Err(_) => bail!("a thread in {} panicked", place.netns.display()),
    })
}

fn mount(kind: &str, target: &str) -> Result<()> {
    rustix::mount::mount(
        kind,
        target,
        kind,
        MountFlags::empty(),
        None::<&std::ffi::CStr>,
    )
    .with_context(|| format!("cannot mount {kind} on {target}"))
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(args)
        .output()
        .context("cannot run `ip` (Debian: iproute2)")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "ip {}: {}",
        args.join(" "),
        stderr.trim()
    );
    Ok(())
}

fn cgroup2_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let find = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let (target, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(target))
    };
    mounts
        .lines()
        .find_map(find)
        .context("no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified")
}

/// Removes what runs left that were killed.
fn sweep(unified: &Path) {
    for entry in fs::read_dir(unified).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name
            .to_str()
            .and_then(|name| name.strip_prefix(CGROUP_PREFIX))
        else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            remove_cgroup(&entry.path());
        }
    }
}

fn remove_cgroup(cgroup: &Path) -> bool {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
    fs::remove_dir(cgroup).is_ok()
}
