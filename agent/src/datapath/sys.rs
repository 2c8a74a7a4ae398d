//! The few bpf(2) commands for which aya has no call: links that are created, pinned, and updated
//! behind their pins, and map entries keyed by a socket.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use weir_abi::SockState;

const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;

/// `enum bpf_attach_type` of the kernel's uapi, as far as Weir attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum AttachType {
    SockOps = 3,
    Connect4 = 10,
    Connect6 = 11,
    Getpeername4 = 29,
    Getpeername6 = 30,
    Getsockname4 = 31,
    Getsockname6 = 32,
    SkLookup = 36,
}

#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

#[repr(C)]
struct Object {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
struct MapElement {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Attaches a program to a cgroup or a network namespace. The attachment ends with the last
/// descriptor or pin of the link.
pub(super) fn link_create(
    program: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    attach_type: AttachType,
) -> io::Result<OwnedFd> {
    let attr = LinkCreate {
        prog_fd: raw(program),
        target_fd: raw(target),
        attach_type: attach_type as u32,
        flags: 0,
    };
    let fd = bpf(BPF_LINK_CREATE, &attr)?;
    // SAFETY: the kernel has just made this descriptor, and it is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts another program behind a link, without a moment of neither.
pub(super) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let attr = LinkUpdate {
        link_fd: raw(link),
        new_prog_fd: raw(program),
        flags: 0,
        old_prog_fd: 0,
    };
    bpf(BPF_LINK_UPDATE, &attr).map(drop)
}

pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attr = Object {
        pathname: path.as_ptr() as u64,
        bpf_fd: raw(object),
        file_flags: 0,
    };
    bpf(BPF_OBJ_PIN, &attr).map(drop)
}

/// Opens a pin.
pub(super) fn get(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attr = Object {
        pathname: path.as_ptr() as u64,
        bpf_fd: 0,
        file_flags: 0,
    };
    let fd = bpf(BPF_OBJ_GET, &attr)?;
    // SAFETY: the kernel has just made this descriptor, and it is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Remembers `state` with `socket` (BPF_MAP_TYPE_SK_STORAGE). Takes no lock of ours, so that every
/// data-plane thread may call it.
pub(super) fn set_sock_state(
    map: BorrowedFd<'_>,
    socket: BorrowedFd<'_>,
    state: &SockState,
) -> io::Result<()> {
    let key = socket.as_raw_fd();
    let attr = MapElement {
        map_fd: raw(map),
        reserved: 0,
        key: (&raw const key) as u64,
        value: std::ptr::from_ref(state) as u64,
        flags: 0,
    };
    bpf(BPF_MAP_UPDATE_ELEM, &attr).map(drop)
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn bpf<T>(command: libc::c_long, attr: &T) -> io::Result<i32> {
    // SAFETY: each command above gets the structure that the kernel defines for it, of that size;
    // pointers in it outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attr),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}
