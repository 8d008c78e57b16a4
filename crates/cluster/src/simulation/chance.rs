//! All that is random in a simulation, from one seed (xorshift64*).

use std::cell::Cell;

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(1) };
}

pub(crate) fn seed(seed: u64) {
    STATE.set(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..8 {
        next();
    }
}

fn next() -> u64 {
    let mut x = STATE.get();
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    STATE.set(x);
    x.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// A number below `end`.
pub(crate) fn below(end: usize) -> usize {
    (next() >> 16) as usize % end.max(1)
}

/// Whether something happens that happens `n` times in a thousand.
pub(crate) fn per_mille(n: usize) -> bool {
    below(1000) < n
}

pub(crate) fn pick<T>(from: &[T]) -> Option<&T> {
    from.get(below(from.len()))
}

pub(crate) fn bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes
        .chunks_exact_mut(8)
        .for_each(|chunk| chunk.copy_from_slice(&next().to_be_bytes()));
    bytes
}
