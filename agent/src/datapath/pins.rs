//! What lies in the agent's folder of the bpffs.
//!
//! ```text
//! maps/NAME     every map, so that a successor keeps what is in it
//! links/HOOK    the cgroup hooks
//! pods/COOKIE   sk_lookup of a captured pod, by the cookie of its network namespace
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::maps::{Map, MapData, MapInfo};
use tracing::warn;
use weir_abi::*;

use super::{DatapathError, sys};

/// The size of a map's key and value, and its capacity, as this version has them.
struct Layout {
    name: &'static str,
    key: usize,
    value: usize,
    /// 0 where the kernel chooses it.
    max_entries: u32,
}

const fn layout<K, V>(name: &'static str, max_entries: u32) -> Layout {
    Layout {
        name,
        key: size_of::<K>(),
        value: size_of::<V>(),
        max_entries,
    }
}

/// Every pinned map. `LISTENERS` values are descriptors; the trie's key starts with its length.
const LAYOUTS: [Layout; 10] = [
    layout::<u64, PodEntry>("PODS", PODS_MAX),
    layout::<Addr, LocalEntry>("LOCAL", LOCAL_ADDRESSES_MAX),
    layout::<Addr, u32>("DESTINATIONS", DESTINATIONS_MAX),
    layout::<ListenerKey, u32>("LISTENERS", LISTENERS_MAX),
    layout::<FlowKey, SockState>("HANDOFFS", HANDOFFS_MAX),
    layout::<PortKey, u32>("SKIP_PORTS", SKIP_PORTS_MAX),
    layout::<(u32, CidrKey), u32>("SKIP_CIDRS", SKIP_CIDRS_MAX),
    layout::<u32, SockState>("SOCKS", 0),
    layout::<u32, u64>("VERDICTS", Verdict::COUNT),
    layout::<u32, Meta>("META", 1),
];

#[derive(Clone, Debug)]
pub(super) struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Makes the folders.
    pub(super) fn open(root: &Path) -> Result<Self, DatapathError> {
        let pins = Self { root: root.into() };
        for folder in ["maps", "links", "pods"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(|source| DatapathError::Open {
                path,
                remedy: "mount a bpffs there: `mount -t bpf bpf /sys/fs/bpf`",
                source,
            })?;
        }
        Ok(pins)
    }

    pub(super) fn map_names() -> impl Iterator<Item = &'static str> {
        LAYOUTS.iter().map(|layout| layout.name)
    }

    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.root.join("maps").join(name)
    }

    pub(super) fn link(&self, name: &str) -> PathBuf {
        self.root.join("links").join(name)
    }

    pub(super) fn pod(&self, cookie: u64) -> PathBuf {
        self.root.join("pods").join(cookie.to_string())
    }

    /// Cookies of the network namespaces that have a pinned `sk_lookup` link.
    pub(super) fn pods(&self) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(self.root.join("pods")) else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect()
    }

    /// Removes the pins of maps that this version cannot go on with, so that they are made anew.
    /// What they held is written again from the configuration.
    pub(super) fn drop_unusable_maps(&self) {
        let reason = match self.pinned_meta() {
            Ok(None) => None,
            Ok(Some(meta)) if meta.abi_version == ABI_VERSION => None,
            Ok(Some(meta)) => Some(format!(
                "they are of layout version {}, this agent's is {ABI_VERSION}",
                meta.abi_version
            )),
            Err(error) => Some(format!("their version cannot be read: {error}")),
        };
        if let Some(reason) = reason {
            warn!(pins = %self.root.display(), reason, "replacing all pinned BPF maps");
            for layout in &LAYOUTS {
                self.remove_map(layout.name);
            }
            return;
        }
        for layout in &LAYOUTS {
            if let Err(reason) = self.check(layout) {
                warn!(
                    pins = %self.root.display(),
                    map = layout.name,
                    reason,
                    "replacing a pinned BPF map"
                );
                self.remove_map(layout.name);
            }
        }
    }

    /// The version and generation that the pins carry; `None` where nothing is pinned.
    fn pinned_meta(&self) -> Result<Option<Meta>, String> {
        let path = self.map("META");
        if !path.exists() {
            return Ok(None);
        }
        let data = MapData::from_pin(&path).map_err(|error| error.to_string())?;
        let map = Map::from_map_data(data).map_err(|error| error.to_string())?;
        let array: aya::maps::Array<_, Meta> = map
            .try_into()
            .map_err(|error: aya::maps::MapError| error.to_string())?;
        array
            .get(&0, 0)
            .map(Some)
            .map_err(|error| error.to_string())
    }

    fn check(&self, layout: &Layout) -> Result<(), String> {
        let path = self.map(layout.name);
        if !path.exists() {
            return Ok(());
        }
        let info = MapInfo::from_pin(&path).map_err(|error| error.to_string())?;
        let (key, value) = (info.key_size() as usize, info.value_size() as usize);
        if (key, value) != (layout.key, layout.value) {
            return Err(format!(
                "its keys and values have {key} and {value} bytes, this agent's have {} and {}",
                layout.key, layout.value
            ));
        }
        if info.max_entries() != layout.max_entries {
            return Err(format!(
                "it holds {} entries, this agent's {}",
                info.max_entries(),
                layout.max_entries
            ));
        }
        Ok(())
    }

    fn remove_map(&self, name: &str) {
        remove_file(&self.map(name));
    }

    pub(super) fn remove_pod(&self, cookie: u64) {
        remove_file(&self.pod(cookie));
    }

    /// Removes every pin, the hooks first, and the folders.
    pub(super) fn remove_all(&self) -> io::Result<()> {
        for folder in ["links", "pods", "maps"] {
            let path = self.root.join(folder);
            match fs::read_dir(&path) {
                Ok(entries) => {
                    for entry in entries {
                        fs::remove_file(entry?.path())?;
                    }
                    fs::remove_dir(&path)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        match fs::remove_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Whether there is anything of an agent.
    pub(super) fn exist(root: &Path) -> bool {
        sys::get(&root.join("maps/META")).is_ok() || root.join("links").exists()
    }

    pub(super) fn at(root: &Path) -> Self {
        Self { root: root.into() }
    }
}

fn remove_file(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => warn!(path = %path.display(), %error, "cannot remove a pin"),
    }
}
