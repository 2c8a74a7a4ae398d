//! Loads the programs, over the pins of an earlier agent or anew.

use std::{
    fs::File,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, Map, MapData},
    programs::{CgroupSockAddr, Program, SkLookup, SockOps},
};
use tracing::{debug, info};
use weir_abi::{ABI_VERSION, Meta};

use super::{
    Datapath, DatapathError, Maps,
    capture::Captures,
    destinations::Destinations,
    pins::Pins,
    sys::{self, AttachType},
};

/// The BPF object, put here by the build script; empty where it was not built.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-ebpf"));

/// The cgroup hooks: program and where it attaches.
const HOOKS: [(&str, AttachType); 7] = [
    ("weir_connect4", AttachType::Connect4),
    ("weir_connect6", AttachType::Connect6),
    ("weir_getpeername4", AttachType::Getpeername4),
    ("weir_getpeername6", AttachType::Getpeername6),
    ("weir_getsockname4", AttachType::Getsockname4),
    ("weir_getsockname6", AttachType::Getsockname6),
    ("weir_sockops", AttachType::SockOps),
];
const SK_LOOKUP: &str = "weir_sk_lookup";

/// What the datapath is told by flags.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This agent's own folder of a bpffs.
    pub bpffs: PathBuf,
    pub cgroup: PathBuf,
    /// Data-plane threads: each gets listeners of its own in each pod.
    pub workers: usize,
    /// 0 (off) to 5 (trace), as aya-log counts.
    pub log_level: u8,
}

impl Datapath {
    /// Loads the programs and attaches the hooks. Pinned maps of a layout that fits keep what is
    /// in them; pinned links get the new programs without a moment of none.
    ///
    /// # Errors
    /// When a kernel feature, a capability or a file system is missing; the message names it.
    pub fn open(settings: &Settings) -> Result<Self, DatapathError> {
        if !is_built() {
            return Err(DatapathError::NotBuilt);
        }
        let pins = Pins::open(&settings.bpffs)?;
        pins.drop_unusable_maps();

        let mut loader = EbpfLoader::new();
        for name in Pins::map_names() {
            loader.map_pin_path(name, pins.map(name));
        }
        loader.override_global("AYA_LOG_LEVEL", &settings.log_level, false);
        let mut ebpf = loader.load(OBJECT)?;

        let cgroup = open_cgroup(&settings.cgroup)?;
        let programs = HOOKS.map(|(name, attach_type)| {
            load_program(&mut ebpf, name).map(|program| (name, attach_type, program))
        });
        let sk_lookup = load_program(&mut ebpf, SK_LOOKUP)?;
        // After the programs, which name the maps by descriptor.
        let mut maps = Maps::take(&mut ebpf)?;
        let generation = next_generation(&mut maps.meta)?;
        for program in programs {
            let (name, attach_type, program) = program?;
            attach(
                &pins.link(name),
                name,
                program.as_fd(),
                cgroup.as_fd(),
                attach_type,
            )?;
        }
        info!(
            bpffs = %settings.bpffs.display(),
            cgroup = %settings.cgroup.display(),
            generation,
            "BPF programs are attached"
        );
        Ok(Self {
            pins,
            maps,
            sk_lookup,
            destinations: Destinations::default(),
            captures: Captures::default(),
            generation,
            workers: settings.workers,
            ebpf,
        })
    }
}

/// Whether this binary has its BPF programs.
pub(super) fn is_built() -> bool {
    !OBJECT.is_empty()
}

/// Puts `program` behind the pinned link at `path`, or makes the link.
pub(super) fn attach(
    path: &Path,
    name: &'static str,
    program: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    attach_type: AttachType,
) -> Result<(), DatapathError> {
    if let Ok(link) = sys::get(path) {
        match sys::link_update(link.as_fd(), program) {
            Ok(()) => return Ok(()),
            // Its cgroup or namespace is gone, or the kernel cannot replace this kind.
            Err(error) => debug!(path = %path.display(), %error, "making a pinned link anew"),
        }
        // The new one is attached before the old one goes with its pin.
        let fresh = create(name, program, target, attach_type)?;
        std::fs::remove_file(path).map_err(|source| pin_error(path, source))?;
        return sys::pin(fresh.as_fd(), path).map_err(|source| pin_error(path, source));
    }
    let link = create(name, program, target, attach_type)?;
    sys::pin(link.as_fd(), path).map_err(|source| pin_error(path, source))
}

fn create(
    name: &'static str,
    program: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    attach_type: AttachType,
) -> Result<OwnedFd, DatapathError> {
    sys::link_create(program, target, attach_type)
        .map_err(|source| DatapathError::Attach { name, source })
}

fn pin_error(path: &Path, source: std::io::Error) -> DatapathError {
    DatapathError::Pin {
        path: path.into(),
        source,
    }
}

fn open_cgroup(path: &Path) -> Result<File, DatapathError> {
    File::open(path).map_err(|source| DatapathError::Open {
        path: path.into(),
        remedy: "name a cgroup2 folder with --cgroup",
        source,
    })
}

/// Takes ownership of the pins: from now on an older agent changes nothing.
fn next_generation(meta: &mut Array<MapData, Meta>) -> Result<u64, DatapathError> {
    let generation = meta
        .get(&0, 0)
        .map_err(DatapathError::map("META"))?
        .generation
        + 1;
    let ours = Meta {
        abi_version: ABI_VERSION,
        reserved: 0,
        generation,
    };
    meta.set(0, ours, 0).map_err(DatapathError::map("META"))?;
    Ok(generation)
}

fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<OwnedFd, DatapathError> {
    let program = ebpf.program_mut(name).ok_or(DatapathError::Missing(name))?;
    let failed = |source| DatapathError::Program { name, source };
    let fd = match program {
        Program::CgroupSockAddr(program) => {
            let program: &mut CgroupSockAddr = program;
            program.load().map_err(failed)?;
            program.fd()
        }
        Program::SockOps(program) => {
            let program: &mut SockOps = program;
            program.load().map_err(failed)?;
            program.fd()
        }
        Program::SkLookup(program) => {
            let program: &mut SkLookup = program;
            program.load().map_err(failed)?;
            program.fd()
        }
        _ => return Err(DatapathError::Missing(name)),
    };
    let fd = fd.map_err(failed)?.as_fd().try_clone_to_owned();
    fd.map_err(|source| DatapathError::Attach { name, source })
}

impl Maps {
    fn take(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        let socks = match take(ebpf, "SOCKS")? {
            Map::SkStorage(data) => data.fd().as_fd().try_clone_to_owned(),
            _ => return Err(DatapathError::Missing("SOCKS")),
        };
        Ok(Self {
            pods: typed(ebpf, "PODS")?,
            local: typed(ebpf, "LOCAL")?,
            destinations: typed(ebpf, "DESTINATIONS")?,
            listeners: typed(ebpf, "LISTENERS")?,
            skip_ports: typed(ebpf, "SKIP_PORTS")?,
            skip_cidrs: typed(ebpf, "SKIP_CIDRS")?,
            meta: typed(ebpf, "META")?,
            socks: Arc::new(socks.map_err(|source| DatapathError::Attach {
                name: "SOCKS",
                source,
            })?),
        })
    }
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, DatapathError> {
    ebpf.take_map(name).ok_or(DatapathError::Missing(name))
}

fn typed<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, DatapathError>
where
    T: TryFrom<Map, Error = aya::maps::MapError>,
{
    take(ebpf, name)?
        .try_into()
        .map_err(DatapathError::map(name))
}
