//! What Weir's kernel and user side agree upon: map keys and values, flags, capacities.
//!
//! Every layout is asserted here, on whichever side compiles this crate. A change of any of them
//! raises [`ABI_VERSION`]: an agent that finds pins of another version replaces them.
#![no_std]

mod addr;
mod keys;
mod verdict;

pub use addr::Addr;
pub use keys::{CidrKey, Direction, FlowKey, ListenerKey, PortKey};
pub use verdict::Verdict;

/// Version of all layouts below; see [`Meta::abi_version`].
pub const ABI_VERSION: u32 = 1;

/// The port of the tunnel (HBONE), in every captured pod.
pub const HBONE_PORT: u16 = 15008;

/// Captured IPv4 connections are rewritten to `127.64.0.0/10`, ten bits of slot and twelve of
/// spread, at one of [`CAPTURE_PORTS`] ports; IPv6 ones to the pod's own address at such a port.
/// Spread, because one address would give all of a pod's captures one range of source ports, and
/// an application that binds its source port could dial one destination only.
pub const CAPTURE_NET_V4: [u8; 4] = [127, 64, 0, 0];
/// The first of the ports above every ephemeral range in use (Linux' default ends at 60999).
pub const CAPTURE_PORT_FIRST: u16 = 61440;
/// How many ports, a power of two: up to 65535.
pub const CAPTURE_PORTS: u16 = 4096;

/// Pods of one node: ten bits of the rewritten address.
pub const PODS_MAX: u32 = 1024;
/// Pods have an address or two.
pub const LOCAL_ADDRESSES_MAX: u32 = 2 * PODS_MAX;
/// One listener for each address and direction.
pub const LISTENERS_MAX: u32 = 2 * LOCAL_ADDRESSES_MAX;
/// Service addresses and enrolled pods' addresses of the mesh.
pub const DESTINATIONS_MAX: u32 = 262_144;
/// Connections between SYN and accept on this node; the least recent ones give way.
pub const HANDOFFS_MAX: u32 = 16_384;
/// `weir.dev/skip-*-ports` of all pods of the node.
pub const SKIP_PORTS_MAX: u32 = 16_384;
/// `weir.dev/skip-outbound-cidrs` of all pods of the node.
pub const SKIP_CIDRS_MAX: u32 = 16_384;

/// The agent proves capture by dialling these: reserved addresses that nothing routes.
pub const PROBE_V4: [u8; 4] = [240, 87, 69, 73];
/// In the discard-only prefix (RFC 6666).
pub const PROBE_V6: [u8; 16] = [
    0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x57, 0x45, 0x49, 0x52,
];

/// A captured pod, by the cookie of its network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodEntry {
    /// All zero where the pod has no address of the family.
    pub v4: Addr,
    pub v6: Addr,
    /// Below [`PODS_MAX`], one pod's alone.
    pub slot: u32,
    /// Captured dials so far, counted by the kernel: each gets another rewritten address.
    pub dials: u32,
}

/// What the kernel remembers with a socket (BPF_MAP_TYPE_SK_STORAGE). It ends with the socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SockState {
    /// One of the constants of [`SockState`].
    pub kind: u32,
    /// Host byte order.
    pub port: u16,
    pub reserved: u16,
    pub addr: Addr,
    pub own: Addr,
}

impl SockState {
    /// An application's dial that was captured: `addr`, `port` is what it dialled, `own` its pod's
    /// address.
    pub const DIALLED: u32 = 1;
    /// The agent's own dial: never captured. `addr`, `port` is the client to show to whoever
    /// accepts; no address: nothing to show.
    pub const AGENT: u32 = 2;
    /// Accepted by the agent for a captured dial: `addr`, `port` is the original destination,
    /// `own` the dialling pod's address.
    pub const TAKEN: u32 = 3;
    /// Accepted by an application from the agent: `addr`, `port` is the real client.
    pub const SHOWN: u32 = 4;

    pub const fn new(kind: u32, addr: Addr, port: u16, own: Addr) -> Self {
        Self {
            kind,
            port,
            reserved: 0,
            addr,
            own,
        }
    }
}

/// A captured pod's address, for the inbound direction.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalEntry {
    pub slot: u32,
}

/// Who owns the pins.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    pub abi_version: u32,
    pub reserved: u32,
    /// Grows with every agent that takes the pins; only the last one may remove anything.
    pub generation: u64,
}

macro_rules! assert_layout {
    ($($type:ty: $size:literal, $($field:ident @ $offset:literal),+;)+) => {
        $(const _: () = {
            assert!(core::mem::size_of::<$type>() == $size);
            $(assert!(core::mem::offset_of!($type, $field) == $offset);)+
        };)+
    };
}

assert_layout! {
    PodEntry: 40, v4 @ 0, v6 @ 16, slot @ 32, dials @ 36;
    SockState: 40, kind @ 0, port @ 4, reserved @ 6, addr @ 8, own @ 24;
    LocalEntry: 4, slot @ 0;
    Meta: 16, abi_version @ 0, reserved @ 4, generation @ 8;
    FlowKey: 36, src @ 0, dst @ 16, src_port @ 32, dst_port @ 34;
    ListenerKey: 20, addr @ 0, direction @ 16;
    PortKey: 8, slot @ 0, port @ 4, direction @ 6;
    CidrKey: 20, slot @ 0, addr @ 4;
}

#[cfg(feature = "user")]
mod pod {
    use aya::Pod;

    use super::*;

    // SAFETY: all are `repr(C)`, `Copy`, without padding (asserted above by their sizes) and
    // without pointers; every bit pattern is a value.
    unsafe impl Pod for PodEntry {}
    // SAFETY: as above.
    unsafe impl Pod for SockState {}
    // SAFETY: as above.
    unsafe impl Pod for LocalEntry {}
    // SAFETY: as above.
    unsafe impl Pod for Meta {}
    // SAFETY: as above.
    unsafe impl Pod for FlowKey {}
    // SAFETY: as above.
    unsafe impl Pod for ListenerKey {}
    // SAFETY: as above.
    unsafe impl Pod for PortKey {}
    // SAFETY: as above.
    unsafe impl Pod for CidrKey {}
    // SAFETY: as above.
    unsafe impl Pod for Addr {}
}
