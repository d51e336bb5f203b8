//! The small change of the binary formats: variable-length integers, and a reader that never looks past its bytes.

use crate::error::{Error, Result};

/// Appends `value` as unsigned LEB128.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Appends `value` as a varint in which small magnitudes are short.
pub(crate) fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends a length as a varint.
pub(crate) fn put_len(out: &mut Vec<u8>, len: usize) {
    put_varint(out, len as u64);
}

/// Appends `bytes` with their length before them.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Reads from the front of a byte string. Every error is `Corrupt`; nothing is allocated.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Number of bytes not read yet.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Whether all is read.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.bytes.split_at_checked(len).ok_or_else(ends_early)?;
        self.bytes = tail;
        Ok(head)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, tail) = self.bytes.split_first_chunk::<N>().ok_or_else(ends_early)?;
        self.bytes = tail;
        Ok(*head)
    }

    /// One byte.
    pub(crate) fn u8(&mut self) -> Result<u8> {
        let (byte, tail) = self.bytes.split_first().ok_or_else(ends_early)?;
        self.bytes = tail;
        Ok(*byte)
    }

    /// Unsigned LEB128 of at most 10 bytes and 64 bits.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64> {
        match self.bytes.split_first() {
            Some((byte, tail)) if *byte < 0x80 => {
                self.bytes = tail;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::corrupt("a number has more than 64 bits"))
    }

    /// A varint that fits `u32`; `what` names it.
    #[inline]
    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32> {
        u32::try_from(self.varint()?).map_err(|_| too_large(what))
    }

    /// A varint that fits `usize`; `what` names it. Bound it before allocating.
    #[inline]
    pub(crate) fn usize(&mut self, what: &'static str) -> Result<usize> {
        usize::try_from(self.varint()?).map_err(|_| too_large(what))
    }

    /// The inverse of [`put_zigzag`].
    #[inline]
    pub(crate) fn zigzag(&mut self) -> Result<i64> {
        let coded = self.varint()?;
        Ok((coded >> 1).cast_signed() ^ -((coded & 1).cast_signed()))
    }

    /// A number of items that follow, each at least `item_min` bytes: never more than the bytes left can hold,
    /// so that a caller may allocate for that many.
    pub(crate) fn count(&mut self, item_min: usize, what: &'static str) -> Result<usize> {
        let count = self.usize(what)?;
        if count.checked_mul(item_min).is_none_or(|bytes| bytes > self.remaining()) {
            return Err(Error::corrupt(format!("{count} {what} do not fit into {} bytes", self.remaining())));
        }
        Ok(count)
    }

    /// Bytes with their length before them.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.usize("length")?;
        self.take(len)
    }

    /// Insists that all is read.
    pub(crate) fn finish(self, what: &'static str) -> Result<()> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Error::corrupt(format!("{} bytes after the end of {what}", self.remaining())))
        }
    }
}

#[cold]
fn ends_early() -> Error {
    Error::corrupt("the bytes end early")
}

#[cold]
fn too_large(what: &'static str) -> Error {
    Error::corrupt(format!("{what} is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_written_as_in_the_specification() {
        for (value, bytes) in [
            (0u64, &[0u8][..]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes);
        }
        for (value, byte) in [(0i64, 0u8), (-1, 1), (1, 2), (-64, 127)] {
            let mut out = Vec::new();
            put_zigzag(&mut out, value);
            assert_eq!(out, [byte]);
        }
    }

    #[test]
    fn numbers_beyond_64_bits_and_endless_ones_are_refused() {
        for wrong in [
            &[0xff; 10][..],
            &[0x80; 11],
            &[0x80, 0x80],
            &[],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        ] {
            assert!(Reader::new(wrong).varint().is_err(), "{wrong:x?}");
        }
    }

    #[test]
    fn a_count_cannot_promise_more_than_the_bytes_hold() {
        assert_eq!(Reader::new(&[2, 0, 0]).count(1, "items").expect("two items"), 2);
        assert!(Reader::new(&[3, 0, 0]).count(1, "items").is_err());
        assert!(Reader::new(&[2, 0, 0]).count(2, "items").is_err());
    }

    proptest! {
        #[test]
        fn numbers_come_back(value in any::<u64>(), signed in any::<i64>()) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            put_zigzag(&mut out, signed);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint().expect("varint"), value);
            prop_assert_eq!(reader.zigzag().expect("zigzag"), signed);
            prop_assert!(reader.is_empty());
        }
    }
}
