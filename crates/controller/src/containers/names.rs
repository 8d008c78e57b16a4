//! Names for containers that were given none: an adjective and a pioneer of networks.

use vw_model::SandboxId;

const HOW: [&str; 16] = [
    "brave", "bright", "calm", "clever", "eager", "fair", "gentle", "happy", "keen", "lively",
    "noble", "quick", "quiet", "steady", "sunny", "wise",
];

const WHO: [&str; 16] = [
    "baran",
    "bosack",
    "cerf",
    "clark",
    "crocker",
    "davies",
    "estrin",
    "floyd",
    "jacobson",
    "kahn",
    "kleinrock",
    "lerner",
    "metcalfe",
    "mockapetris",
    "perlman",
    "postel",
];

/// Names to try in turn, from the id's bits.
pub(super) fn candidates(id: SandboxId) -> impl Iterator<Item = String> {
    let bytes = *id.0.as_bytes();
    let name = |pair: &[u8]| {
        format!(
            "{}_{}",
            HOW[usize::from(pair[0] % 16)],
            WHO[usize::from(pair[1] % 16)]
        )
    };
    let plain: Vec<String> = bytes[..16].chunks(2).map(name).collect();
    let numbered: Vec<String> = bytes[16..]
        .chunks(2)
        .map(|pair| format!("{}{}", name(pair), pair[0]))
        .collect();
    plain.into_iter().chain(numbered)
}

#[cfg(test)]
mod tests;
