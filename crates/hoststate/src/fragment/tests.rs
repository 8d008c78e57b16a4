//! A set by key, however it is made.

use super::*;
use crate::sample::port;
use proptest::{collection::vec, prelude::*};
use std::collections::BTreeMap;

proptest! {
    #[test]
    fn the_later_object_of_a_key_counts_however_they_are_put_in(
        first in vec((0_u16..4, 80_u16..84), 0..8),
        then in vec((0_u16..4, 80_u16..84), 0..8),
    ) {
        let objects = |asked: &[(u16, u16)]| -> Vec<Object> {
            asked.iter().map(|(host, number)| port(*host, *number)).collect()
        };
        let all = [objects(&first), objects(&then)].concat();
        let wanted: BTreeMap<Key, Object> =
            all.iter().map(|object| (object.key(), object.clone())).collect();
        let mut at_once: Fragment = objects(&first).into_iter().collect();
        at_once.extend(objects(&then));
        let mut singly = Fragment::default();
        all.into_iter().for_each(|object| singly.insert(object));
        prop_assert_eq!(&at_once, &singly);
        prop_assert!(at_once.iter().eq(wanted.iter()));
        for (key, object) in &wanted {
            prop_assert_eq!(at_once.get(key), Some(object));
        }
    }
}
