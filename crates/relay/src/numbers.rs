//! Session numbers: random, so that nobody can guess another's.

use std::hash::{BuildHasherDefault, Hasher};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Makes numbers: HMAC-SHA-256 of a counter under a secret seed, so that one number tells nothing of the next.
pub struct Numbers {
    seed: [u8; 32],
    made: u64,
}

impl Numbers {
    /// A sequence of its own for each seed, which must be random and secret.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, made: 0 }
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.made += 1;
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.seed).expect("HMAC takes keys of any length");
        mac.update(&self.made.to_be_bytes());
        let digest = mac.finalize().into_bytes();
        digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

impl std::fmt::Debug for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Numbers").field("made", &self.made).finish_non_exhaustive()
    }
}

/// For maps by session number: only numbers made here are put in, and those are random enough as they are.
pub(crate) type AsItIs = BuildHasherDefault<AsItIsHasher>;

#[derive(Default)]
pub(crate) struct AsItIsHasher(u64);

impl Hasher for AsItIsHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_differ_within_a_run_and_between_seeds() {
        let (mut one, mut other) = (Numbers::new([1; 32]), Numbers::new([2; 32]));
        let numbers: BTreeSet<u64> = (0..1000).flat_map(|_| [one.draw(), other.draw()]).collect();
        assert_eq!(numbers.len(), 2000);
        let ones: u32 = numbers.iter().map(|number| number.count_ones()).sum();
        assert!((63_000..65_000).contains(&ones), "{ones} of 128,000 bits are set");
    }

    #[test]
    fn the_seed_is_not_shown() {
        assert_eq!(format!("{:?}", Numbers::new([77; 32])), "Numbers { made: 0, .. }");
    }
}
