//! The kernel side, held in one place: programs, links, maps, and the listeners in pods' network
//! namespaces. Whatever must be able to outlive the process one day is opened here and nowhere
//! else, so that a holder process can keep it for a successor.

mod capture;
pub mod cgroup;
mod destinations;
mod error;
pub mod kernel_log;
mod loader;
mod netns;
mod pins;
pub mod preflight;
mod probe;
mod sockets;
mod sys;

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use aya::maps::{Array, HashMap, LpmTrie, MapData, PerCpuArray, SockHash};
use weir_abi::*;

pub use destinations::Destinations;
pub use error::DatapathError;
pub use loader::Settings;

use crate::model::{
    limits,
    seams::{Dialled, OriginalDst},
    snapshot::Snapshot,
};

// The kernel side and the rest of the agent speak of the same.
const _: () = assert!(PODS_MAX as usize == limits::LOCAL_PODS_MAX);
const _: () = assert!(HBONE_PORT == limits::HBONE_PORT);

/// What the kernel side consists of. Dropping it leaves the pins and so the capture; see
/// [`Datapath::release_all`].
pub struct Datapath {
    pins: pins::Pins,
    maps: Maps,
    /// The sk_lookup program, attached to each captured pod's namespace.
    sk_lookup: OwnedFd,
    destinations: Destinations,
    captures: capture::Captures,
    generation: u64,
    workers: usize,
    /// Keeps the programs until the links hold them.
    ebpf: aya::Ebpf,
}

/// Typed handles of the pinned maps.
struct Maps {
    pods: HashMap<MapData, u64, PodEntry>,
    local: HashMap<MapData, Addr, LocalEntry>,
    destinations: HashMap<MapData, Addr, u32>,
    listeners: SockHash<MapData, ListenerKey>,
    skip_ports: HashMap<MapData, PortKey, u32>,
    skip_cidrs: LpmTrie<MapData, CidrKey, u32>,
    meta: Array<MapData, Meta>,
    /// Shared with the data plane, which marks its sockets through it.
    socks: Arc<OwnedFd>,
}

impl Datapath {
    /// Makes the kernel side follow `snapshot`'s addresses.
    ///
    /// # Errors
    /// When a map is full or refuses an entry; what could be written is written.
    pub fn follow(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), DatapathError> {
        self.check_owner()?;
        self.destinations
            .follow(&mut self.maps.destinations, snapshot)
    }

    /// Whether no other agent has taken over the pins since.
    pub fn is_owner(&self) -> bool {
        self.maps
            .meta
            .get(&0, 0)
            .is_ok_and(|meta| meta.generation == self.generation)
    }

    fn check_owner(&self) -> Result<(), DatapathError> {
        if self.is_owner() {
            Ok(())
        } else {
            Err(DatapathError::Superseded)
        }
    }

    /// Takes capture away and leaves nothing behind. Does nothing if another agent has the pins.
    pub fn release_all(&mut self) -> Result<(), DatapathError> {
        self.check_owner()?;
        self.pins.remove_all().map_err(|source| DatapathError::Pin {
            path: self.pins.map(""),
            source,
        })
    }

    /// Reads the kernel's counters; callable from any thread.
    pub fn verdict_reader(&self) -> Result<VerdictReader, DatapathError> {
        let data =
            MapData::from_pin(self.pins.map("VERDICTS")).map_err(DatapathError::map("VERDICTS"))?;
        let map = aya::maps::Map::from_map_data(data).map_err(DatapathError::map("VERDICTS"))?;
        Ok(VerdictReader(
            map.try_into().map_err(DatapathError::map("VERDICTS"))?,
        ))
    }

    /// How this pins' generations are counted: the agent's own.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// Counters of what the kernel decided.
pub struct VerdictReader(PerCpuArray<MapData, u64>);

impl VerdictReader {
    /// Sums over CPUs, by the value of the label `verdict`.
    pub fn read(&self) -> Vec<(&'static str, u64)> {
        Verdict::ALL
            .iter()
            .filter_map(|verdict| {
                let values = self.0.get(&(*verdict as u32), 0).ok()?;
                Some((verdict.as_str(), values.iter().sum()))
            })
            .collect()
    }
}

/// Reads the original destination as the accepted socket's own address: the getsockname hook puts
/// it there.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelOriginalDst;

impl OriginalDst for KernelOriginalDst {
    fn original_dst(&self, socket: BorrowedFd<'_>) -> std::io::Result<Dialled> {
        let address = socket2::SockRef::from(&socket).local_addr()?;
        let address = address.as_socket().ok_or(std::io::ErrorKind::InvalidData)?;
        if address.ip().is_loopback() {
            // The hook did not run: nobody dialled this through connect().
            return Err(std::io::ErrorKind::AddrNotAvailable.into());
        }
        let addr = Addr::from(address.ip());
        if addr == Addr::from_v4(PROBE_V4) || addr == Addr::from_v6(PROBE_V6) {
            return Ok(Dialled::Probe);
        }
        Ok(Dialled::Address(address))
    }
}

/// Removes everything that an agent has left at `bpffs`, whoever it was.
///
/// Returns whether there was anything.
pub fn uninstall(bpffs: &Path) -> Result<bool, DatapathError> {
    if !pins::Pins::exist(bpffs) {
        return Ok(false);
    }
    pins::Pins::at(bpffs)
        .remove_all()
        .map(|()| true)
        .map_err(|source| DatapathError::Pin {
            path: bpffs.into(),
            source,
        })
}
