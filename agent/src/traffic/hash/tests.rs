use super::{FNV_OFFSET, fnv, fnv_address, nth};

/// From the reference code of draft-eastlake-fnv.
#[test]
fn fnv_is_fnv_1a() {
    for (text, hash) in [
        ("", 0xcbf2_9ce4_8422_2325),
        ("a", 0xaf63_dc4c_8601_ec8c),
        ("foobar", 0x8594_4171_f739_67e8),
    ] {
        assert_eq!(fnv(FNV_OFFSET, text.as_bytes()), hash, "{text}");
    }
}

/// From the reference code of SplitMix64, of the seeds 0 and 1234567.
#[test]
fn nth_is_split_mix() {
    let first = |seed| [0, 1, 2].map(|n| nth(seed, n));
    assert_eq!(
        first(0),
        [
            0xe220_a839_7b1d_cdaf,
            0x6e78_9e6a_a1b9_65f4,
            0x06c4_5d18_8009_454f
        ]
    );
    assert_eq!(
        first(1_234_567),
        [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423
        ]
    );
}

#[test]
fn a_mapped_address_is_the_same() {
    let of = |text: &str| fnv_address(FNV_OFFSET, text.parse().unwrap());
    assert_eq!(of("10.0.0.1"), of("::ffff:10.0.0.1"));
    assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    assert_ne!(of("fd00::1"), of("fd00::2"));
}
