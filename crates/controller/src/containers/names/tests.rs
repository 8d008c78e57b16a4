//! Names that are made up.

use super::candidates;
use crate::sample::bytes;
use std::collections::BTreeSet;
use vw_model::{ContainerName, SandboxId};

fn of(seed: u8) -> Vec<String> {
    let id = std::array::from_fn(|at| seed.wrapping_mul(31).wrapping_add(at as u8 * 7));
    candidates(SandboxId::from_bytes(id)).collect()
}

#[test]
fn all_are_names_that_a_container_may_have() {
    for seed in 0..=255 {
        for name in of(seed) {
            assert!(name.parse::<ContainerName>().is_ok(), "{name}");
        }
    }
}

#[test]
fn one_id_has_several_and_always_the_same() {
    let id = SandboxId::from_bytes(bytes("an id"));
    let names: Vec<String> = candidates(id).collect();
    assert_eq!(names.len(), 16);
    assert_eq!(names, candidates(id).collect::<Vec<_>>());
    let distinct: BTreeSet<String> = of(3).into_iter().collect();
    assert!(distinct.len() > 8, "{distinct:?}");
}
