//! A new connection reaches a captured pod's network namespace: whose listener gets it.

use core::ptr;

use aya_ebpf::{
    bindings::sk_action::{SK_DROP, SK_PASS},
    programs::SkLookupContext,
};
use weir_abi::{Addr, Direction, FlowKey, ListenerKey, PortKey, Verdict};

use crate::{
    decide::{self, Inbound},
    maps::{HANDOFFS, LISTENERS, LOCAL, SKIP_PORTS, count},
};

const AF_INET: u32 = 2;
const IPPROTO_TCP: u32 = 6;

#[inline(always)]
pub fn run(ctx: &SkLookupContext) -> u32 {
    // SAFETY: the verifier checks each access to the context.
    let (protocol, local_port, remote_port) = unsafe {
        (
            (*ctx.lookup).protocol,
            (*ctx.lookup).local_port as u16,
            u16::from_be((*ctx.lookup).remote_port),
        )
    };
    if protocol != IPPROTO_TCP {
        return SK_PASS;
    }
    let (remote, local) = ends(ctx);
    match decide::inbound(remote, local, local_port) {
        Inbound::Pass => {
            count(Verdict::InboundOwn);
            SK_PASS
        }
        Inbound::CapturedDial => captured_dial(
            ctx,
            FlowKey {
                src: remote,
                dst: local,
                src_port: remote_port,
                dst_port: local_port,
            },
        ),
        Inbound::Arrival => arrival(ctx, local, local_port),
    }
}

#[inline(always)]
fn captured_dial(ctx: &SkLookupContext, flow: FlowKey) -> u32 {
    // SAFETY: copied at once.
    let Some(state) = (unsafe { HANDOFFS.get(flow) }).copied() else {
        // Nobody dialled this through the hook: the pod's own loopback business.
        return SK_PASS;
    };
    if assign(ctx, state.own, Direction::Outbound) {
        SK_PASS
    } else {
        count(Verdict::OutboundRefused);
        SK_DROP
    }
}

#[inline(always)]
fn arrival(ctx: &SkLookupContext, local: Addr, port: u16) -> u32 {
    // SAFETY: copied at once.
    let Some(entry) = (unsafe { LOCAL.get(local) }).copied() else {
        return SK_PASS;
    };
    let skip = PortKey {
        slot: entry.slot,
        port,
        direction: Direction::Inbound as u16,
    };
    if SKIP_PORTS.get_ptr(skip).is_some() {
        count(Verdict::InboundSkipped);
        return SK_PASS;
    }
    if assign(ctx, local, Direction::Inbound) {
        count(Verdict::Delivered);
        SK_PASS
    } else {
        // The agent is gone. Letting this pass would let plaintext past a STRICT policy.
        count(Verdict::InboundRefused);
        SK_DROP
    }
}

#[inline(always)]
fn assign(ctx: &SkLookupContext, addr: Addr, direction: Direction) -> bool {
    let key = ListenerKey {
        addr,
        direction: direction as u32,
    };
    LISTENERS
        .redirect_sk_lookup(SkLookupContext::new(ctx.lookup), key, 0)
        .is_ok()
}

/// Remote and local address.
#[inline(always)]
fn ends(ctx: &SkLookupContext) -> (Addr, Addr) {
    // SAFETY: the verifier checks each access to the context; volatile keeps them word by word.
    unsafe {
        if (*ctx.lookup).family == AF_INET {
            return (
                Addr::from_v4_word((*ctx.lookup).remote_ip4),
                Addr::from_v4_word((*ctx.lookup).local_ip4),
            );
        }
        let remote = &raw const (*ctx.lookup).remote_ip6;
        let local = &raw const (*ctx.lookup).local_ip6;
        (
            Addr([
                ptr::read_volatile(&raw const (*remote)[0]),
                ptr::read_volatile(&raw const (*remote)[1]),
                ptr::read_volatile(&raw const (*remote)[2]),
                ptr::read_volatile(&raw const (*remote)[3]),
            ]),
            Addr([
                ptr::read_volatile(&raw const (*local)[0]),
                ptr::read_volatile(&raw const (*local)[1]),
                ptr::read_volatile(&raw const (*local)[2]),
                ptr::read_volatile(&raw const (*local)[3]),
            ]),
        )
    }
}
