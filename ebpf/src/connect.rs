//! `connect()` of an application: remember what it dials, and dial the agent instead.

use core::ptr;

use aya_ebpf::{
    EbpfContext as _, btf_maps::lpm_trie::Key, helpers::bpf_get_netns_cookie,
    programs::SockAddrContext,
};
use aya_log_ebpf::{debug, error};
use weir_abi::{Addr, CidrKey, Direction, PodEntry, PortKey, SockState, Verdict};

use crate::{
    PROCEED,
    decide::{self, Outbound},
    maps::{self, DESTINATIONS, PODS, SKIP_CIDRS, SKIP_PORTS, count},
};

/// sock_addr programs: fail the call with EPERM.
const REFUSE: i32 = 0;
const IPPROTO_TCP: u32 = 6;

#[inline(always)]
pub fn v4(ctx: &SockAddrContext) -> i32 {
    let Some(pod) = captured_pod(ctx) else {
        return PROCEED;
    };
    // SAFETY: the verifier checks each access to the context.
    let dst = Addr::from_v4_word(unsafe { (*ctx.sock_addr).user_ip4 });
    match decide(ctx, pod, dst) {
        Dial::Agent { addr, port } => {
            // SAFETY: as above.
            unsafe {
                (*ctx.sock_addr).user_ip4 = addr.0[3];
                (*ctx.sock_addr).user_port = u32::from(port.to_be());
            }
            PROCEED
        }
        Dial::AsIs => PROCEED,
        Dial::Refuse => REFUSE,
    }
}

#[inline(always)]
pub fn v6(ctx: &SockAddrContext) -> i32 {
    let Some(pod) = captured_pod(ctx) else {
        return PROCEED;
    };
    match decide(ctx, pod, user_ip6(ctx)) {
        Dial::Agent { addr, port } => {
            set_user_ip6(ctx, addr);
            // SAFETY: the verifier checks each access to the context.
            unsafe { (*ctx.sock_addr).user_port = u32::from(port.to_be()) };
            PROCEED
        }
        Dial::AsIs => PROCEED,
        Dial::Refuse => REFUSE,
    }
}

/// The address in the context. Dual-stack sockets (Java, Go) dial IPv4 as `::ffff:a.b.c.d`, which
/// is how [`Addr`] holds IPv4 anyway.
#[inline(always)]
pub fn user_ip6(ctx: &SockAddrContext) -> Addr {
    let mut words = [0; 4];
    // SAFETY: the verifier checks each access to the context; volatile keeps them word by word.
    unsafe {
        let from = &raw const (*ctx.sock_addr).user_ip6;
        words[0] = ptr::read_volatile(&raw const (*from)[0]);
        words[1] = ptr::read_volatile(&raw const (*from)[1]);
        words[2] = ptr::read_volatile(&raw const (*from)[2]);
        words[3] = ptr::read_volatile(&raw const (*from)[3]);
    }
    Addr(words)
}

#[inline(always)]
pub fn set_user_ip6(ctx: &SockAddrContext, addr: Addr) {
    // SAFETY: as above.
    unsafe {
        let to = &raw mut (*ctx.sock_addr).user_ip6;
        ptr::write_volatile(&raw mut (*to)[0], addr.0[0]);
        ptr::write_volatile(&raw mut (*to)[1], addr.0[1]);
        ptr::write_volatile(&raw mut (*to)[2], addr.0[2]);
        ptr::write_volatile(&raw mut (*to)[3], addr.0[3]);
    }
}

enum Dial {
    AsIs,
    Agent { addr: Addr, port: u16 },
    Refuse,
}

/// The pod that dials, if it is captured: the one look-up that all other processes cost.
#[inline(always)]
fn captured_pod(ctx: &SockAddrContext) -> Option<*mut PodEntry> {
    // SAFETY: the helper takes this context.
    let cookie = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    PODS.get_ptr_mut(cookie)
}

#[inline(always)]
fn decide(ctx: &SockAddrContext, entry: *mut PodEntry, dst: Addr) -> Dial {
    // SAFETY: the verifier checks each access to the context.
    let (protocol, port, sk) = unsafe {
        (
            (*ctx.sock_addr).protocol,
            u16::from_be((*ctx.sock_addr).user_port as u16),
            (*ctx.sock_addr).__bindgen_anon_1.sk,
        )
    };
    if protocol != IPPROTO_TCP {
        count(Verdict::NotTcp);
        return Dial::AsIs;
    }
    // SAFETY: the context's socket, never null in sock_addr programs.
    if unsafe { maps::sock_state(sk) }.is_some_and(|state| state.kind == SockState::AGENT) {
        count(Verdict::Agent);
        return Dial::AsIs;
    }
    // SAFETY: a live entry of the map. Two CPUs may read the same count, which matters only to two
    // dials from one bound source port at one moment.
    let pod = unsafe { entry.read() };
    match decide::outbound(&Maps, &pod, dst, port) {
        Outbound::Pass(verdict) => {
            count(verdict);
            Dial::AsIs
        }
        Outbound::Redirect {
            addr,
            port: agent_port,
            own,
        } => {
            let state = SockState::new(SockState::DIALLED, dst, port, own);
            // SAFETY: as above.
            if !unsafe { maps::set_sock_state(sk, state) } {
                count(Verdict::HandoffFailed);
                error!(
                    ctx,
                    "no memory to remember a captured dial to port {}: refused", port
                );
                return Dial::Refuse;
            }
            // SAFETY: as above; the kernel is this field's only writer.
            unsafe { (*entry).dials = pod.dials.wrapping_add(1) };
            count(Verdict::Redirected);
            debug!(
                ctx,
                "slot {} dials port {}: to the agent at port {}", pod.slot, port, agent_port
            );
            Dial::Agent {
                addr,
                port: agent_port,
            }
        }
    }
}

struct Maps;

impl decide::World for Maps {
    #[inline(always)]
    fn is_destination(&self, addr: Addr) -> bool {
        DESTINATIONS.get_ptr(addr).is_some()
    }

    #[inline(always)]
    fn skips_port(&self, slot: u32, port: u16) -> bool {
        SKIP_PORTS
            .get_ptr(PortKey {
                slot,
                port,
                direction: Direction::Outbound as u16,
            })
            .is_some()
    }

    #[inline(always)]
    fn skips_addr(&self, slot: u32, addr: Addr) -> bool {
        SKIP_CIDRS
            .get(&Key::new(CidrKey::BITS, CidrKey { slot, addr }))
            .is_some()
    }
}
