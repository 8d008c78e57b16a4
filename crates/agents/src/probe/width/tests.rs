//! Ways of every width.

use super::*;

#[test]
fn every_width_is_found_in_a_dozen_tries() {
    for width in (LEAST..=1450).chain([1451, 9000]) {
        let mut search = Width::new(1450);
        let tries = (1..).find_map(|tries| {
            let found = search.learn(search.tried <= width)?;
            Some((found, tries))
        });
        let (found, tries) = tries.unwrap();
        assert_eq!(found, width.min(1450));
        assert!(
            tries <= 12 && (tries == 1) == (width >= 1450),
            "{width}: {tries}"
        );
    }
}
