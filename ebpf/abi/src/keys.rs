//! Keys of maps.

use crate::Addr;

/// A connection by its four addresses, seen from the one who dials. Ports in host byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    pub src: Addr,
    pub dst: Addr,
    pub src_port: u16,
    pub dst_port: u16,
}

/// A listener of the agent in a pod: the pod's address and what the listener is for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerKey {
    pub addr: Addr,
    pub direction: u32,
}

/// A port that `weir.dev/skip-*-ports` of a pod names.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortKey {
    pub slot: u32,
    pub port: u16,
    pub direction: u16,
}

/// What a longest-prefix match on `weir.dev/skip-outbound-cidrs` looks at.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CidrKey {
    pub slot: u32,
    pub addr: Addr,
}

impl CidrKey {
    /// Bits before the address: the slot must match whole.
    pub const SLOT_BITS: u32 = 32;
    pub const BITS: u32 = Self::SLOT_BITS + 128;
}

/// Which way a connection goes, seen from the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Direction {
    Outbound = 1,
    Inbound = 2,
}
