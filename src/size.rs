//! Amounts of bytes: written by people, shown to people.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// `n` KiB.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// `n` MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = Error;

    /// A whole number with an optional suffix `k`, `M`, `G`, `T` (powers of 1024, any case, `KiB` and `KB` too), as restic reads it.
    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let shift = match text.get(digits.len()..).unwrap_or("").to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(Error::invalid(format!("{text:?} is not a size (examples: 512k, 10M, 2G)"))),
        };
        let count: u64 = digits.parse().map_err(|cause| {
            Error::invalid(format!("{text:?} is not a size (examples: 512k, 10M, 2G)")).with_source(cause)
        })?;
        count
            .checked_shl(shift)
            .filter(|size| size >> shift == count)
            .map(Self)
            .ok_or_else(|| Error::invalid(format!("size {text} is too large")))
    }
}

impl fmt::Display for ByteSize {
    /// As restic shows it: `512 B`, `1.500 KiB`, `3.042 GiB`.
    #[expect(clippy::cast_precision_loss, reason = "three decimals are shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0;
        for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if size >= 1 << shift {
                return write!(f, "{:.3} {unit}", size as f64 / (1u64 << shift) as f64);
            }
        }
        write!(f, "{size} B")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown_as_restic_does() {
        for (text, size) in
            [("0", 0), ("512k", 512 << 10), ("10M", 10 << 20), ("2GiB", 2 << 30), ("7b", 7), ("1T", 1 << 40)]
        {
            assert_eq!(text.parse::<ByteSize>().unwrap(), ByteSize(size), "{text}");
        }
        for text in ["", "k", "-1", "1.5G", "10X", "99999999999T"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert_eq!(ByteSize(1536).to_string(), "1.500 KiB");
        assert_eq!(ByteSize(999).to_string(), "999 B");
    }
}
