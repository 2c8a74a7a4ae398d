//! From the socket that dials to the socket that is accepted for it.
//!
//! At TCP_CONNECT_CB the source port is known: what is remembered with the dialling socket is
//! published under the connection's addresses. When the other end stands, it moves into that
//! socket's own storage, and the entry is gone.

use core::ptr;

use aya_ebpf::{
    bindings::{BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_TCP_CONNECT_CB, bpf_sock},
    programs::SockOpsContext,
};
use aya_log_ebpf::error;
use weir_abi::{Addr, FlowKey, SockState, Verdict};

use crate::maps::{self, HANDOFFS, count};

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

#[inline(always)]
pub fn run(ctx: &SockOpsContext) {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => publish(ctx),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => take_over(ctx),
        _ => {}
    }
}

#[inline(always)]
fn publish(ctx: &SockOpsContext) {
    let Some(sk) = socket(ctx) else { return };
    // SAFETY: the context's socket, not null.
    let Some(state) = (unsafe { maps::sock_state(sk) }) else {
        return;
    };
    let kind = match state.kind {
        SockState::DIALLED => SockState::TAKEN,
        SockState::AGENT if !state.addr.is_none() => SockState::SHOWN,
        _ => return,
    };
    let Some((local, remote)) = ends(ctx) else {
        return;
    };
    let flow = FlowKey {
        src: local.0,
        dst: remote.0,
        src_port: local.1,
        dst_port: remote.1,
    };
    let handed = SockState::new(kind, state.addr, state.port, state.own);
    if HANDOFFS.insert(flow, handed, 0).is_err() {
        count(Verdict::HandoffFailed);
        error!(
            ctx,
            "a captured dial to port {} could not be handed over", state.port
        );
    }
}

#[inline(always)]
fn take_over(ctx: &SockOpsContext) {
    let Some((local, remote)) = ends(ctx) else {
        return;
    };
    let flow = FlowKey {
        src: remote.0,
        dst: local.0,
        src_port: remote.1,
        dst_port: local.1,
    };
    // SAFETY: copied at once.
    let Some(state) = (unsafe { HANDOFFS.get(flow) }).copied() else {
        return;
    };
    let Some(sk) = socket(ctx) else { return };
    // SAFETY: the context's socket, not null.
    if !unsafe { maps::set_sock_state(sk, state) } {
        count(Verdict::HandoffFailed);
    }
    let _ = HANDOFFS.remove(flow);
}

#[inline(always)]
fn socket(ctx: &SockOpsContext) -> Option<*mut bpf_sock> {
    // SAFETY: the verifier checks each access to the context.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    (!sk.is_null()).then_some(sk)
}

/// Local and remote address and port.
#[inline(always)]
fn ends(ctx: &SockOpsContext) -> Option<((Addr, u16), (Addr, u16))> {
    let (local, remote) = match ctx.family() {
        AF_INET => (
            Addr::from_v4_word(ctx.local_ip4()),
            Addr::from_v4_word(ctx.remote_ip4()),
        ),
        // Sockets of IPv4-mapped connections are of this family too, and show mapped addresses.
        AF_INET6 => (local_ip6(ctx), remote_ip6(ctx)),
        _ => return None,
    };
    // The context gives the remote port in network order, shifted into the upper half on
    // little-endian machines: as one big-endian word either way.
    let remote_port = u32::from_be(ctx.remote_port()) as u16;
    Some(((local, ctx.local_port() as u16), (remote, remote_port)))
}

/// Word by word: the verifier refuses wider reads of this context.
#[inline(always)]
fn local_ip6(ctx: &SockOpsContext) -> Addr {
    // SAFETY: the verifier checks each access to the context.
    unsafe {
        let from = &raw const (*ctx.ops).local_ip6;
        Addr([
            ptr::read_volatile(&raw const (*from)[0]),
            ptr::read_volatile(&raw const (*from)[1]),
            ptr::read_volatile(&raw const (*from)[2]),
            ptr::read_volatile(&raw const (*from)[3]),
        ])
    }
}

#[inline(always)]
fn remote_ip6(ctx: &SockOpsContext) -> Addr {
    // SAFETY: as above.
    unsafe {
        let from = &raw const (*ctx.ops).remote_ip6;
        Addr([
            ptr::read_volatile(&raw const (*from)[0]),
            ptr::read_volatile(&raw const (*from)[1]),
            ptr::read_volatile(&raw const (*from)[2]),
            ptr::read_volatile(&raw const (*from)[3]),
        ])
    }
}
