//! The lowest free number of a range, in a handful of steps however full or large it is.
//!
//! Owns one set of numbers from 0 upward. It must not know addresses or who holds them.

use std::{collections::HashMap, hash::Hash};

const BITS: u32 = u64::BITS;

/// A set of numbers that tells the lowest one missing.
///
/// Level 0 has one bit a number, in 64-bit words that exist only where a number is held. In
/// level k a bit says that a whole word of level k-1 is **full**; a word exists only where one
/// of its bits is set. Counting what is full, not what is used, is what keeps it small: a word
/// of level k takes 64^k held numbers, so that n numbers scattered over any range make at most
/// n words in level 0, n/64 in level 1 and so on, and there are never more than
/// 1 + log64(n) levels: three for ten thousand, four for a full /8. A lookup reads one word a
/// level. Neither that nor the memory depends on the range's size, so a /8 or an IPv6 /64 costs
/// what a /24 does. (An interval map costs a search among the fragments instead, and a plain
/// hierarchy of bitmaps one node for every level of the range, eleven in a /64.)
#[derive(Debug, Default)]
pub(crate) struct FirstFree {
    /// The last level is never empty and never has a full word.
    levels: Vec<HashMap<u128, u64>>,
}

impl FirstFree {
    /// The lowest number that is not held.
    pub(crate) fn first(&self) -> u128 {
        self.walk(|| ())
    }

    /// [`Self::first`], telling of every word it looks at.
    fn walk(&self, mut probe: impl FnMut()) -> u128 {
        // A word that is not full has a zero bit, and that names a word below that is not full.
        self.levels.iter().rev().fold(0, |index, level| {
            probe();
            let word = level.get(&index).copied().unwrap_or_default();
            index * u128::from(BITS) + u128::from(word.trailing_ones())
        })
    }

    /// Holds a number; idempotent.
    pub(crate) fn insert(&mut self, number: u128) {
        let mut index = number;
        for depth in 0.. {
            if depth == self.levels.len() {
                self.levels.push(HashMap::new());
            }
            let word = self.levels[depth].entry(index / 64).or_default();
            *word |= 1 << (index % 64);
            if *word != u64::MAX {
                return;
            }
            index /= 64;
        }
    }

    /// Frees a number; idempotent.
    pub(crate) fn remove(&mut self, number: u128) {
        let mut index = number;
        for level in &mut self.levels {
            let Some(word) = level.get_mut(&(index / 64)) else {
                break;
            };
            let was_full = *word == u64::MAX;
            *word &= !(1 << (index % 64));
            if *word == 0 {
                level.remove(&(index / 64));
                shrink(level);
            }
            if !was_full {
                break;
            }
            index /= 64;
        }
        while self.levels.last().is_some_and(HashMap::is_empty) {
            self.levels.pop();
        }
    }
}

/// Gives back what a map that once held much more no longer needs. Amortised constant: most
/// entries must have been removed since it last grew or shrank.
pub(crate) fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if map.len() < map.capacity() / 8 {
        map.shrink_to(map.len() * 2);
    }
}

#[cfg(test)]
mod tests;
