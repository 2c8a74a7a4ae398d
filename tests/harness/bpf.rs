//! BPF objects, asked of the kernel itself: which links it holds (what an agent leaves behind shows
//! here even when its pins are gone), and what is in a pinned map.

use std::{
    ffi::CString,
    io,
    mem::size_of,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

// linux/bpf.h
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_GET_FD_BY_ID: libc::c_long = 30;
const BPF_LINK_GET_NEXT_ID: libc::c_long = 31;
const BPF_LINK_TYPE_CGROUP: u32 = 3;
const BPF_LINK_TYPE_NETNS: u32 = 5;

/// What a link is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkTarget {
    /// The cgroup's id, which is the inode of its folder.
    Cgroup(u64),
    /// The namespace's inode.
    Netns(u64),
    Other(u32),
}

/// The targets of all links on the machine.
pub fn links() -> Vec<LinkTarget> {
    let mut targets = Vec::new();
    let mut id = 0;
    while let Some(next) = next_id(id) {
        id = next;
        // A link may end between the two questions.
        targets.extend(target(id));
    }
    targets
}

/// Changes the first value of a pinned array.
pub fn edit_pinned_array(path: &Path, change: impl FnOnce(&mut [u8])) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut object = Object {
        path: name.as_ptr().expose_provenance() as u64,
        fd: 0,
        flags: 0,
    };
    let fd = bpf(BPF_OBJ_GET, &mut object)?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };

    let mut info = MapInfo::default();
    let mut by_fd = InfoByFd {
        fd: fd.as_raw_fd().cast_unsigned(),
        length: size_of::<MapInfo>() as u32,
        info: (&raw mut info).expose_provenance() as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut by_fd)?;
    let key = 0_u32;
    let mut value = vec![0_u8; info.value_size as usize];
    let mut element = Element {
        map: fd.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: (&raw const key).expose_provenance() as u64,
        value: value.as_mut_ptr().expose_provenance() as u64,
        flags: 0,
    };
    bpf(BPF_MAP_LOOKUP_ELEM, &mut element)?;
    change(&mut value);
    bpf(BPF_MAP_UPDATE_ELEM, &mut element).map(|_| ())
}

#[repr(C)]
struct Object {
    path: u64,
    fd: u32,
    flags: u32,
}

/// The front of `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct MapInfo {
    kind: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
}

#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
struct InfoByFd {
    fd: u32,
    length: u32,
    info: u64,
}

/// The front of `struct bpf_link_info`; the union is read as words.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    words: [u32; 8],
}

fn next_id(id: u32) -> Option<u32> {
    let mut by_id = ById {
        id,
        next_id: 0,
        open_flags: 0,
    };
    bpf(BPF_LINK_GET_NEXT_ID, &mut by_id)
        .ok()
        .map(|_| by_id.next_id)
}

fn target(id: u32) -> Option<LinkTarget> {
    let mut by_id = ById {
        id,
        next_id: 0,
        open_flags: 0,
    };
    let fd = bpf(BPF_LINK_GET_FD_BY_ID, &mut by_id).ok()?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut info = LinkInfo::default();
    let mut by_fd = InfoByFd {
        fd: fd.as_raw_fd().cast_unsigned(),
        length: size_of::<LinkInfo>() as u32,
        info: (&raw mut info).expose_provenance() as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut by_fd).ok()?;
    let [low, high, ..] = info.words;
    Some(match info.kind {
        BPF_LINK_TYPE_CGROUP => LinkTarget::Cgroup(u64::from(high) << 32 | u64::from(low)),
        BPF_LINK_TYPE_NETNS => LinkTarget::Netns(low.into()),
        other => LinkTarget::Other(other),
    })
}

fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<RawFd> {
    // SAFETY: `attributes` is a prefix of `union bpf_attr` of the size that is passed; what it
    // points to lives in the callers' frames during the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(io::Error::other)
}
