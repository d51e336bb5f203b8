//! States as numbers of 64 bits.

use std::hash::{Hash, Hasher};

use super::state::State;

/// Mixes whole words, each by two multiplications, so that states which differ in anything have nothing in common.
#[derive(Default)]
struct Words {
    hash: u64,
    word: u64,
    bytes: u32,
}

impl Words {
    fn push(&mut self, byte: u8) {
        self.word = self.word << 8 | u64::from(byte);
        self.bytes += 1;
        if self.bytes == 8 {
            self.flush();
        }
    }

    const fn flush(&mut self) {
        // Each of these can be undone, so that two states fall together only if a later word makes good the difference of an earlier one.
        let mut hash = self.hash.rotate_left(23) ^ self.word;
        hash = (hash ^ hash >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        hash = (hash ^ hash >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.hash = hash ^ hash >> 32;
        self.word = 0;
        self.bytes = 0;
    }
}

impl Hasher for Words {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.push(*byte);
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.push(byte);
    }

    fn write_u16(&mut self, two: u16) {
        self.write(&two.to_le_bytes());
    }

    /// Which variant of an enum: there are never more than 256.
    fn write_isize(&mut self, variant: isize) {
        let [byte, ..] = variant.to_le_bytes();
        self.push(byte);
    }

    /// The length of an array, which is always the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        let mut last = Self { hash: self.hash, word: self.word, bytes: self.bytes };
        last.flush();
        last.hash
    }
}

impl State {
    /// A number that no other state has, but for chance.
    pub(crate) fn hashed(&self) -> u64 {
        let mut words = Words::default();
        self.hash(&mut words);
        words.finish()
    }
}
