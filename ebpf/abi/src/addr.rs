//! One form of address for both families.

/// An IPv6 address, or an IPv4 one mapped into IPv6 (RFC 4291 §2.5.5.2): four words as they lie in
/// a packet, which is how BPF contexts hand them out.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Addr(pub [u32; 4]);

const MAPPED_PREFIX: u32 = 0xffff_u32.to_be();

impl Addr {
    /// No address: `::`.
    pub const NONE: Self = Self([0; 4]);

    /// From a word of an IPv4 header.
    #[inline(always)]
    pub const fn from_v4_word(word: u32) -> Self {
        Self([0, 0, MAPPED_PREFIX, word])
    }

    #[inline(always)]
    pub const fn from_v4(octets: [u8; 4]) -> Self {
        Self::from_v4_word(u32::from_ne_bytes(octets))
    }

    #[inline(always)]
    pub const fn from_v6(octets: [u8; 16]) -> Self {
        let mut words = [0; 4];
        let mut i = 0;
        while i < 4 {
            words[i] = u32::from_ne_bytes([
                octets[4 * i],
                octets[4 * i + 1],
                octets[4 * i + 2],
                octets[4 * i + 3],
            ]);
            i += 1;
        }
        Self(words)
    }

    #[inline(always)]
    pub const fn octets(self) -> [u8; 16] {
        let mut octets = [0; 16];
        let mut i = 0;
        while i < 16 {
            octets[i] = self.0[i / 4].to_ne_bytes()[i % 4];
            i += 1;
        }
        octets
    }

    /// The IPv4 address as a word of a header, where it is one.
    #[inline(always)]
    pub const fn v4_word(self) -> Option<u32> {
        if self.is_v4() { Some(self.0[3]) } else { None }
    }

    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == MAPPED_PREFIX
    }

    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == 0 && self.0[3] == 0
    }

    /// `127.0.0.0/8` or `::1`; also the unspecified address, which Linux dials as loopback.
    #[inline(always)]
    pub const fn is_loopback(self) -> bool {
        let [a, b, c, d] = self.0;
        if self.is_v4() {
            return d == 0 || d.to_ne_bytes()[0] == 127;
        }
        a == 0 && b == 0 && c == 0 && (d == 0 || d == 1_u32.to_be())
    }
}

#[cfg(feature = "user")]
mod std_addr {
    extern crate std;

    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::Addr;

    impl From<IpAddr> for Addr {
        fn from(ip: IpAddr) -> Self {
            match ip {
                IpAddr::V4(v4) => Self::from_v4(v4.octets()),
                IpAddr::V6(v6) => Self::from_v6(v6.octets()),
            }
        }
    }

    impl From<Addr> for IpAddr {
        fn from(addr: Addr) -> Self {
            match addr.v4_word() {
                Some(word) => Ipv4Addr::from(word.to_ne_bytes()).into(),
                None => Ipv6Addr::from(addr.octets()).into(),
            }
        }
    }
}
