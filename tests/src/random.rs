//! Random numbers: a generator with a seed, for runs that can be repeated, and one without.

use aws_lc_rs::rand;

/// A small generator (xorshift64). The same seed gives the same numbers, so that a failed run can
/// be repeated.
pub struct SeededRng(u64);

impl SeededRng {
    /// A generator for `seed`; zero is as good as any other.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// An index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        // The lowest bits of an xorshift are its weakest.
        usize::try_from(self.next() >> 16).expect("48 bits") % len
    }

    /// One of `items`.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }
}

/// A number below `limit` that differs from run to run.
#[must_use]
pub fn random_below(limit: u64) -> u64 {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes).expect("the system has randomness");
    u64::from_le_bytes(bytes) % limit
}
