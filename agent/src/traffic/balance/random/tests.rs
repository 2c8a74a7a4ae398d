use super::pick;
use crate::traffic::{
    balance::{testing::shares, weights::Weights},
    hash::nth,
};

#[test]
fn by_weight() {
    let weights = Weights::measured(4, |index| [3.0, 0.0, 6.0, 1.0][index]);
    let got = shares(4, 50_000, |n| pick(&weights, nth(2, n)));
    for (share, wanted) in got.iter().zip([0.3, 0.0, 0.6, 0.1]) {
        assert!((share - wanted).abs() < 0.01, "{got:?}");
    }
    assert_eq!(pick(&Weights::measured(0, |_| 1.0), 7), None);
}
