//! Every map, and the counters.

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, SkStorage, SockHash},
    helpers::generated::bpf_sk_storage_get,
    macros::btf_map,
};
use weir_abi::*;

/// Captured pods by the cookie of their network namespace.
#[btf_map]
pub static PODS: HashMap<u64, PodEntry, { PODS_MAX as usize }> = HashMap::new();

/// Captured pods' addresses.
#[btf_map]
pub static LOCAL: HashMap<Addr, LocalEntry, { LOCAL_ADDRESSES_MAX as usize }> = HashMap::new();

/// The mesh's addresses. Not allocated in advance: most meshes are small. The value says of what
/// kind it is, for people who dump the map.
#[btf_map]
pub static DESTINATIONS: HashMap<
    Addr,
    u32,
    { DESTINATIONS_MAX as usize },
    { aya_ebpf::bindings::BPF_F_NO_PREALLOC as usize },
> = HashMap::new();

/// The agent's listeners.
#[btf_map]
pub static LISTENERS: SockHash<ListenerKey, { LISTENERS_MAX as usize }> = SockHash::new();

/// From a dial (sockops, TCP_CONNECT_CB) to the socket that is accepted for it.
#[btf_map]
pub static HANDOFFS: LruHashMap<FlowKey, SockState, { HANDOFFS_MAX as usize }> = LruHashMap::new();

#[btf_map]
pub static SKIP_PORTS: HashMap<
    PortKey,
    u32,
    { SKIP_PORTS_MAX as usize },
    { aya_ebpf::bindings::BPF_F_NO_PREALLOC as usize },
> = HashMap::new();

#[btf_map]
pub static SKIP_CIDRS: LpmTrie<CidrKey, u32, { SKIP_CIDRS_MAX as usize }> = LpmTrie::new();

#[btf_map]
pub static SOCKS: SkStorage<SockState> = SkStorage::new();

/// Counters by [`Verdict`].
#[btf_map]
pub static VERDICTS: PerCpuArray<u64, { Verdict::COUNT as usize }> = PerCpuArray::new();

/// Read by user space alone; here so that it is created and pinned with the rest.
#[btf_map]
pub static META: Array<Meta, 1> = Array::new();

#[inline(always)]
pub fn count(verdict: Verdict) {
    if let Some(counter) = VERDICTS.get_ptr_mut(verdict as u32) {
        // SAFETY: the slot is this CPU's own, and BPF programs of these types are not re-entered.
        unsafe { *counter += 1 };
    }
}

/// aya-ebpf's own accessors take a `SockAddrContext` only; sockops has sockets as well.
#[inline(always)]
fn socks() -> *mut core::ffi::c_void {
    (&raw const SOCKS).cast_mut().cast()
}

/// What is remembered with a socket of a context.
///
/// # Safety
/// `sk` comes from the context and is not null.
#[inline(always)]
pub unsafe fn sock_state(sk: *mut bpf_sock) -> Option<SockState> {
    // SAFETY: the helper checks the socket; the value lives as long as the socket.
    unsafe {
        let state: *mut SockState =
            bpf_sk_storage_get(socks(), sk.cast(), core::ptr::null_mut(), 0).cast();
        state.as_ref().copied()
    }
}

/// Remembers `state` with a socket of a context.
///
/// # Safety
/// `sk` comes from the context and is not null.
#[inline(always)]
pub unsafe fn set_sock_state(sk: *mut bpf_sock, mut state: SockState) -> bool {
    // SAFETY: as above; `state` outlives the call.
    unsafe {
        !bpf_sk_storage_get(
            socks(),
            sk.cast(),
            core::ptr::from_mut(&mut state).cast(),
            BPF_SK_STORAGE_GET_F_CREATE.into(),
        )
        .is_null()
    }
}
