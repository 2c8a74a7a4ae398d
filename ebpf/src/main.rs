//! Weir's kernel side: every hook, and nothing else. What the hooks decide is in `decide.rs`.
#![no_std]
#![no_main]

mod connect;
mod decide;
mod getname;
mod maps;
mod sk_lookup;
mod sockops;

use aya_ebpf::{
    macros::{cgroup_sock_addr, sk_lookup, sock_ops},
    programs::{SkLookupContext, SockAddrContext, SockOpsContext},
};

/// sock_addr programs: let the call go on. (0 would fail it with EPERM.)
const PROCEED: i32 = 1;

#[cgroup_sock_addr(connect4)]
pub fn weir_connect4(ctx: SockAddrContext) -> i32 {
    connect::v4(&ctx)
}

#[cgroup_sock_addr(connect6)]
pub fn weir_connect6(ctx: SockAddrContext) -> i32 {
    connect::v6(&ctx)
}

#[cgroup_sock_addr(getpeername4)]
pub fn weir_getpeername4(ctx: SockAddrContext) -> i32 {
    getname::peer_v4(&ctx);
    PROCEED
}

#[cgroup_sock_addr(getpeername6)]
pub fn weir_getpeername6(ctx: SockAddrContext) -> i32 {
    getname::peer_v6(&ctx);
    PROCEED
}

#[cgroup_sock_addr(getsockname4)]
pub fn weir_getsockname4(ctx: SockAddrContext) -> i32 {
    getname::own_v4(&ctx);
    PROCEED
}

#[cgroup_sock_addr(getsockname6)]
pub fn weir_getsockname6(ctx: SockAddrContext) -> i32 {
    getname::own_v6(&ctx);
    PROCEED
}

#[sock_ops]
pub fn weir_sockops(ctx: SockOpsContext) -> u32 {
    sockops::run(&ctx);
    1
}

#[sk_lookup]
pub fn weir_sk_lookup(ctx: SkLookupContext) -> u32 {
    sk_lookup::run(&ctx)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
