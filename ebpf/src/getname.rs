//! What `getpeername()`, `getsockname()` and `accept()` answer: as if no agent were between.
//!
//! `accept()` takes the peer's address through the getpeername hook as well. The agent reads a
//! captured connection's original destination through the same hook, as its own address.

use aya_ebpf::programs::SockAddrContext;
use weir_abi::{Addr, SockState};

use crate::{
    connect::{set_user_ip6, user_ip6},
    maps,
};

#[inline(always)]
pub fn peer_v4(ctx: &SockAddrContext) {
    // SAFETY: the verifier checks each access to the context.
    let dialled_from = Addr::from_v4_word(unsafe { (*ctx.sock_addr).user_ip4 });
    if let Some((addr, port)) = peer(ctx, dialled_from) {
        set_v4(ctx, addr, port);
    }
}

#[inline(always)]
pub fn peer_v6(ctx: &SockAddrContext) {
    if let Some((addr, port)) = peer(ctx, user_ip6(ctx)) {
        set_v6(ctx, addr, port);
    }
}

#[inline(always)]
pub fn own_v4(ctx: &SockAddrContext) {
    // SAFETY: as above.
    let own = Addr::from_v4_word(unsafe { (*ctx.sock_addr).user_ip4 });
    if let Some((addr, port)) = own_name(ctx, own) {
        set_v4(ctx, addr, port);
    }
}

#[inline(always)]
pub fn own_v6(ctx: &SockAddrContext) {
    if let Some((addr, port)) = own_name(ctx, user_ip6(ctx)) {
        set_v6(ctx, addr, port);
    }
}

/// A new address and, where it changes too, a new port.
type Name = (Addr, Option<u16>);

#[inline(always)]
fn peer(ctx: &SockAddrContext, actual: Addr) -> Option<Name> {
    let state = state(ctx)?;
    match state.kind {
        SockState::DIALLED | SockState::SHOWN => Some((state.addr, Some(state.port))),
        // The application's end on loopback: its pod's address, and the port it really has.
        SockState::TAKEN if actual.is_loopback() => Some((state.own, None)),
        _ => None,
    }
}

#[inline(always)]
fn own_name(ctx: &SockAddrContext, actual: Addr) -> Option<Name> {
    let state = state(ctx)?;
    match state.kind {
        SockState::DIALLED if actual.is_loopback() && !actual.is_none() => Some((state.own, None)),
        SockState::TAKEN => Some((state.addr, Some(state.port))),
        _ => None,
    }
}

#[inline(always)]
fn state(ctx: &SockAddrContext) -> Option<SockState> {
    // SAFETY: the context's socket, never null in sock_addr programs.
    unsafe { maps::sock_state((*ctx.sock_addr).__bindgen_anon_1.sk) }
}

#[inline(always)]
fn set_v4(ctx: &SockAddrContext, addr: Addr, port: Option<u16>) {
    if let Some(word) = addr.v4_word() {
        // SAFETY: the verifier checks each access to the context.
        unsafe { (*ctx.sock_addr).user_ip4 = word };
        set_port(ctx, port);
    }
}

#[inline(always)]
fn set_v6(ctx: &SockAddrContext, addr: Addr, port: Option<u16>) {
    set_user_ip6(ctx, addr);
    set_port(ctx, port);
}

#[inline(always)]
fn set_port(ctx: &SockAddrContext, port: Option<u16>) {
    if let Some(port) = port {
        // SAFETY: as above.
        unsafe { (*ctx.sock_addr).user_port = u32::from(port.to_be()) };
    }
}
