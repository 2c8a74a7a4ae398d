//! What to do with a connection: pure, so that it is tested on the host.

use weir_abi::{
    Addr, CAPTURE_NET_V4, CAPTURE_PORT_FIRST, CAPTURE_PORTS, HBONE_PORT, PodEntry, Verdict,
};

/// What the decision asks of the maps.
pub trait World {
    fn is_destination(&self, addr: Addr) -> bool;
    fn skips_port(&self, slot: u32, port: u16) -> bool;
    fn skips_addr(&self, slot: u32, addr: Addr) -> bool;
}

/// Where a dial goes.
pub enum Outbound {
    /// Left alone, for this reason.
    Pass(Verdict),
    /// To the agent: dial this address and port instead. `own` is the pod's address.
    Redirect { addr: Addr, port: u16, own: Addr },
}

/// Decides about a TCP dial of an enrolled pod.
#[inline(always)]
pub fn outbound(world: &impl World, pod: &PodEntry, dst: Addr, port: u16) -> Outbound {
    if dst.is_loopback() || dst == pod.v4 || dst == pod.v6 {
        return Outbound::Pass(Verdict::Own);
    }
    if !world.is_destination(dst) {
        return Outbound::Pass(Verdict::NotMesh);
    }
    if world.skips_port(pod.slot, port) || world.skips_addr(pod.slot, dst) {
        return Outbound::Pass(Verdict::OutboundSkipped);
    }
    let own = if dst.is_v4() { pod.v4 } else { pod.v6 };
    if own.is_none() {
        return Outbound::Pass(Verdict::NoFamily);
    }
    Outbound::Redirect {
        addr: capture_addr(pod.slot, own, pod.dials),
        port: capture_port(pod.dials),
        own,
    }
}

/// What the kernel does with a new connection that reaches a captured pod.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inbound {
    /// Ordinary lookup: the application's own business.
    Pass,
    /// To the outbound listener, if this flow was captured.
    CapturedDial,
    /// To the inbound listener, if the address is a captured pod's.
    Arrival,
}

/// Decides by the addresses alone; the maps are asked afterwards.
#[inline(always)]
pub fn inbound(remote: Addr, local: Addr, local_port: u16) -> Inbound {
    if is_capture_addr(local) {
        return if is_capture_port(local_port) {
            Inbound::CapturedDial
        } else {
            Inbound::Pass
        };
    }
    // From the pod itself (loopback sources cannot come from elsewhere). The tunnel's port is the
    // agent's all the same: so the agent proves the inbound path.
    if remote == local || remote.is_loopback() {
        return if local_port == HBONE_PORT {
            Inbound::Arrival
        } else if !local.is_v4() && is_capture_port(local_port) {
            Inbound::CapturedDial
        } else {
            Inbound::Pass
        };
    }
    Inbound::Arrival
}

/// IPv4: `127.64.0.0/10` with the pod's slot and twelve bits of the
/// pod's count of dials. IPv6 has one loopback
/// address: the pod's own, where the ports alone spread.
#[inline(always)]
fn capture_addr(slot: u32, own: Addr, dials: u32) -> Addr {
    if !own.is_v4() {
        return own;
    }
    let host = ((slot & 0x3ff) << 12) | ((dials >> 12) & 0xfff);
    Addr::from_v4_word((u32::from_be_bytes(CAPTURE_NET_V4) | host).to_be())
}

#[inline(always)]
fn capture_port(dials: u32) -> u16 {
    CAPTURE_PORT_FIRST + (dials as u16 & (CAPTURE_PORTS - 1))
}

#[inline(always)]
fn is_capture_addr(addr: Addr) -> bool {
    const MASK: u32 = 0xffc0_0000;
    addr.is_v4() && u32::from_be(addr.0[3]) & MASK == u32::from_be_bytes(CAPTURE_NET_V4)
}

#[inline(always)]
fn is_capture_port(port: u16) -> bool {
    port >= CAPTURE_PORT_FIRST
}
