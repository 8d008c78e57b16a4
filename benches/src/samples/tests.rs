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
