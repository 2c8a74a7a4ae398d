//! The kernel side's decisions, on the host: `ebpf/src/decide.rs` is pure.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../../ebpf/src/decide.rs"]
#[allow(
    unreachable_pub,
    reason = "public to the other modules of its own crate"
)]
mod decide;

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
};

use decide::{Inbound, Outbound, World, inbound, outbound};
use weir_abi::{Addr, CAPTURE_PORT_FIRST, HBONE_PORT, PODS_MAX, PodEntry, Verdict};

#[derive(Default)]
struct Maps {
    destinations: HashSet<Addr>,
    skipped_ports: HashSet<(u32, u16)>,
    skipped_addrs: HashSet<(u32, Addr)>,
}

impl World for Maps {
    fn is_destination(&self, addr: Addr) -> bool {
        self.destinations.contains(&addr)
    }

    fn skips_port(&self, slot: u32, port: u16) -> bool {
        self.skipped_ports.contains(&(slot, port))
    }

    fn skips_addr(&self, slot: u32, addr: Addr) -> bool {
        self.skipped_addrs.contains(&(slot, addr))
    }
}

fn addr(text: &str) -> Addr {
    text.parse::<IpAddr>().unwrap().into()
}

fn pod(slot: u32) -> PodEntry {
    PodEntry {
        v4: addr("10.0.0.1"),
        v6: addr("fd00::1"),
        slot,
        dials: 0,
    }
}

fn after(dials: u32, slot: u32) -> PodEntry {
    PodEntry { dials, ..pod(slot) }
}

fn mesh() -> Maps {
    Maps {
        destinations: [addr("10.96.0.10"), addr("fd00:96::10"), addr("10.0.0.1")].into(),
        ..Maps::default()
    }
}

fn redirected(outcome: Outbound) -> (Addr, u16, Addr) {
    match outcome {
        Outbound::Redirect { addr, port, own } => (addr, port, own),
        Outbound::Pass(verdict) => panic!("{}", verdict.as_str()),
    }
}

fn passed(outcome: Outbound) -> Verdict {
    match outcome {
        Outbound::Pass(verdict) => verdict,
        Outbound::Redirect { .. } => panic!("redirected"),
    }
}

#[test]
fn leaves_alone_what_is_not_the_meshs_business() {
    for (to, verdict) in [
        ("127.0.0.1", Verdict::Own),
        ("127.64.0.1", Verdict::Own),
        ("0.0.0.0", Verdict::Own),
        ("::1", Verdict::Own),
        ("::", Verdict::Own),
        ("10.0.0.1", Verdict::Own),
        ("fd00::1", Verdict::Own),
        ("10.96.0.11", Verdict::NotMesh),
        ("fd00:96::11", Verdict::NotMesh),
    ] {
        let outcome = outbound(&mesh(), &pod(3), addr(to), 80);
        assert_eq!(passed(outcome), verdict, "{to}");
    }
}

#[test]
fn honours_skip_annotations_of_this_pod_alone() {
    let mut maps = mesh();
    maps.skipped_ports.insert((3, 5432));
    maps.skipped_addrs.insert((4, addr("10.96.0.10")));
    let to = addr("10.96.0.10");
    assert_eq!(
        passed(outbound(&maps, &pod(3), to, 5432)),
        Verdict::OutboundSkipped
    );
    redirected(outbound(&maps, &pod(3), to, 80));
    redirected(outbound(&maps, &pod(5), to, 5432));
    assert_eq!(
        passed(outbound(&maps, &pod(4), to, 80)),
        Verdict::OutboundSkipped
    );
}

#[test]
fn a_pod_without_the_family_dials_as_ever() {
    let v6_only = PodEntry {
        v4: Addr::NONE,
        ..pod(3)
    };
    let outcome = outbound(&mesh(), &v6_only, addr("10.96.0.10"), 80);
    assert_eq!(passed(outcome), Verdict::NoFamily);
}

#[test]
fn every_rewritten_dial_is_recognised_and_names_its_pod() {
    let mut seen = HashSet::new();
    for slot in [0, 1, 511, PODS_MAX - 1] {
        for dials in (0..2000).chain((1 << 24) - 1000..1 << 24) {
            let dial = outbound(&mesh(), &after(dials, slot), addr("10.96.0.10"), 80);
            let (to, port, own) = redirected(dial);
            let IpAddr::V4(v4) = IpAddr::from(to) else {
                panic!("{to:?}");
            };
            assert!(
                v4.octets()[0] == 127 && v4.octets()[1] >= 64 && v4.octets()[1] < 128,
                "{v4}"
            );
            assert_eq!((u32::from(v4) >> 12) & 0x3ff, slot);
            assert!(port >= CAPTURE_PORT_FIRST);
            assert_eq!(own, addr("10.0.0.1"));
            let source = Addr::from(IpAddr::from(Ipv4Addr::LOCALHOST));
            assert_eq!(inbound(source, to, port), Inbound::CapturedDial);
            seen.insert((to, port));
        }
    }
    // An application that binds its source port needs them apart.
    assert_eq!(seen.len(), 4 * 3000);
}

#[test]
fn ipv6_spreads_over_ports_of_the_pods_own_address() {
    let mut ports = HashSet::new();
    for dials in 4000..4500 {
        let dial = outbound(&mesh(), &after(dials, 1), addr("fd00:96::10"), 80);
        let (to, port, own) = redirected(dial);
        assert_eq!((to, own), (addr("fd00::1"), addr("fd00::1")));
        assert_eq!(inbound(to, to, port), Inbound::CapturedDial);
        ports.insert(port);
    }
    assert_eq!(ports.len(), 500);
}

#[test]
fn what_comes_from_the_pod_itself_is_its_own() {
    for (remote, local) in [
        ("10.0.0.1", "10.0.0.1"),
        ("127.0.0.1", "10.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("fd00::1", "fd00::1"),
        ("::1", "fd00::1"),
    ] {
        assert_eq!(
            inbound(addr(remote), addr(local), 80),
            Inbound::Pass,
            "{remote} {local}"
        );
        // The agent's probe of the inbound path.
        assert_eq!(
            inbound(addr(remote), addr(local), HBONE_PORT),
            Inbound::Arrival
        );
    }
    // An application's own listener on a high loopback port.
    assert_eq!(
        inbound(addr("127.0.0.1"), addr("127.0.0.1"), 62_000),
        Inbound::Pass
    );
}

#[test]
fn what_comes_from_elsewhere_arrives() {
    for (remote, local, port) in [
        ("10.0.0.2", "10.0.0.1", 80),
        ("10.0.0.2", "10.0.0.1", HBONE_PORT),
        ("10.0.0.2", "10.0.0.1", 62_000),
        ("fd00::2", "fd00::1", 62_000),
    ] {
        assert_eq!(inbound(addr(remote), addr(local), port), Inbound::Arrival);
    }
}

#[test]
fn addresses_survive_both_forms() {
    for text in ["10.1.2.3", "fd00::1:2", "::1", "255.255.255.255"] {
        let ip: IpAddr = text.parse().unwrap();
        assert_eq!(IpAddr::from(Addr::from(ip)), ip);
    }
    assert!(addr("::ffff:10.1.2.3").is_v4());
    assert!(!addr("::1").is_v4());
}
