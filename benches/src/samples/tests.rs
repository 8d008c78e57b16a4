//! Quantiles by nearest rank.

use super::Samples;

#[test]
fn a_quantile_is_one_of_the_values() {
    let hundred: Samples = (1..=100).rev().map(f64::from).collect();
    for (part, value) in [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.0, 1.0)] {
        assert_eq!(hundred.quantile(part), value, "{part}");
    }
}

#[test]
fn nothing_measured_is_nought() {
    assert_eq!(Samples::default().median(), 0.0);
}

#[test]
fn a_round_that_was_slow_for_both_is_no_outlier() {
    let ours: Samples = [1.0, 10.0, 1.0].into_iter().collect();
    let theirs: Samples = [2.0, 20.0, 2.0, 7.0].into_iter().collect();
    let ratios = ours.by_rounds(&theirs);
    assert_eq!(
        (ratios.len(), ratios.quantile(0.0), ratios.quantile(1.0)),
        (3, 0.5, 0.5)
    );
}
