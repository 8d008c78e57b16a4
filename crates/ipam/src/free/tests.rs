//! The cost is asserted in words read and words held, which no machine can blur.

use super::FirstFree;
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap};

impl FirstFree {
    /// Numbers `0..n`, made a word at a time.
    fn filled(n: u128) -> Self {
        let mut set = Self::default();
        let mut full = n;
        while full > 0 {
            let level = (0..full / 64).map(|i| (i, u64::MAX));
            let rest = (!full.is_multiple_of(64)).then(|| (full / 64, (1 << (full % 64)) - 1));
            set.levels.push(level.chain(rest).collect());
            full /= 64;
        }
        set
    }

    fn words(&self) -> usize {
        self.levels.iter().map(HashMap::len).sum()
    }

    fn steps(&self) -> usize {
        let mut steps = 0;
        self.walk(|| steps += 1);
        steps
    }
}

/// 1 + log64(n), rounded down.
fn bound(n: u128) -> usize {
    1 + n.max(1).ilog2() as usize / 6
}

#[test]
fn steps_and_words_follow_the_number_held_up_to_a_full_slash_8() {
    for held in [1, 63, 64, 65, 4_095, 4_096, 65_534, 1 << 20, (1 << 24) - 2] {
        let mut set = FirstFree::filled(held);
        assert_eq!(set.first(), held);
        assert!(set.steps() <= bound(held), "{held}: {} steps", set.steps());
        let words = usize::try_from(held / 63 + 2).expect("small");
        assert!(set.words() <= words, "{held}: {} words", set.words());
        // One hole anywhere is found at the same cost, and closing it leaves nothing behind.
        for hole in [0, held / 2, held - 1] {
            let before = set.words();
            set.remove(hole);
            assert_eq!(set.first(), hole);
            assert!(set.steps() <= bound(held));
            set.insert(hole);
            assert_eq!((set.first(), set.words()), (held, before));
        }
    }
}

#[test]
fn scattered_numbers_cost_a_word_each_in_any_range() {
    for host_bits in [8, 16, 24, 64, 128] {
        let mut set = FirstFree::default();
        let last = crate::span::low_mask(host_bits);
        let held: Vec<u128> = (0..100).map(|i| last / 100 * (i + 1)).collect();
        for number in &held {
            set.insert(*number);
        }
        assert!(set.words() <= 101, "/{host_bits}: {} words", set.words());
        assert!(set.steps() <= 2, "/{host_bits}: {} steps", set.steps());
        for number in &held {
            set.remove(*number);
        }
        assert_eq!((set.words(), set.steps()), (0, 0));
    }
}

#[test]
fn filling_one_by_one_makes_what_filling_by_words_does() {
    let mut set = FirstFree::default();
    for n in 0..20_000 {
        assert_eq!(set.first(), n);
        set.insert(n);
    }
    assert_eq!(set.levels, FirstFree::filled(20_000).levels);
    for n in (0..20_000).rev() {
        set.remove(n);
        assert_eq!(set.first(), n);
    }
    assert!(set.levels.is_empty());
}

#[test]
fn memory_follows_the_number_held_down_too() {
    let mut set = FirstFree::default();
    let spread = (0..50_000).map(|n| n * 64);
    spread.clone().for_each(|n| set.insert(n));
    let full = set.levels[0].capacity();
    spread.skip(100).for_each(|n| set.remove(n));
    let rest = set.levels[0].capacity();
    assert!(full >= 50_000 && rest < 1_000, "{full} -> {rest}");
    assert_eq!(set.words(), 100);
}

proptest! {
    #[test]
    fn agrees_with_a_plain_set(ops in proptest::collection::vec((0..300u128, 0..3u8), 1..2_000)) {
        let (mut set, mut model) = (FirstFree::default(), BTreeSet::new());
        for (number, op) in ops {
            let lowest = (0..).find(|n| !model.contains(n)).expect("finite");
            prop_assert_eq!(set.first(), lowest);
            match op {
                0 => { set.remove(number); model.remove(&number); }
                1 => { set.insert(number); model.insert(number); }
                _ => { set.insert(lowest); model.insert(lowest); }
            }
        }
    }
}
