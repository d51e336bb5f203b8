//! Secrets that wipe themselves and never print.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::{Error, Result};

/// Thirty-two secret bytes.
#[derive(Clone, Zeroize, ZeroizeOnDrop, PartialEq, Eq)]
pub struct Key32([u8; 32]);

impl Key32 {
    /// The key with these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes. Only `crypto` has a use for them.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads a key from the text of a key file or a Secret: 32 raw bytes, 64 hex digits, or `key32:` followed
    /// by 64 hex digits or base64; white space around the text is ignored.
    ///
    /// # Errors
    /// `Invalid` for anything else, without quoting it.
    pub fn parse(text: &[u8]) -> Result<Self> {
        if let Ok(bytes) = <[u8; 32]>::try_from(text) {
            return Ok(Self(bytes));
        }
        let refuse = || Error::invalid("the key is neither 32 raw bytes, 64 hex digits nor key32:BASE64");
        let text = std::str::from_utf8(text).map_err(|_| refuse())?.trim();
        let digits = text.strip_prefix("key32:").unwrap_or(text);
        let mut bytes = [0u8; 32];
        if hex::decode_to_slice(digits, &mut bytes).is_ok() {
            return Ok(Self(bytes));
        }
        decode_base64(digits).map(Self).ok_or_else(refuse)
    }
}

impl fmt::Debug for Key32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key32(..)")
    }
}

/// A password as it was given, without the line end of a password file.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Password(Vec<u8>);

impl Password {
    /// The password with these bytes.
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes. Only `crypto` has a use for them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// What opens a repository.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A password that people can type: opens through Argon2id.
    Password(Password),
    /// 32 random bytes from a file or a Secret: opens without a password hash.
    Key(Key32),
}

impl Credential {
    /// The first line of `bytes`, without white space around it, as restic reads it; `key32:` begins a key.
    ///
    /// # Errors
    /// `Invalid` for an empty line and for a key that is none, without quoting it.
    pub fn from_line(bytes: &[u8]) -> Result<Self> {
        // Editors on other systems put a byte-order mark first.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
        if line.is_empty() {
            return Err(Error::invalid("the password is empty"));
        }
        if line.starts_with(b"key32:") {
            return Key32::parse(line).map(Self::Key);
        }
        Ok(Self::Password(Password::new(line.to_vec())))
    }
}

/// Standard base64 of exactly so many bytes, padded or not.
pub fn decode_base64<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.trim_end_matches('=');
    if digits.len() != (N * 8).div_ceil(6) {
        return None;
    }
    let mut bits = 0u32;
    let mut count = 0u32;
    let mut bytes = Vec::with_capacity(N + 1);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).ok()?);
        }
    }
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_from_raw_bytes_hex_and_base64_and_from_nothing_else() {
        let key = Key32::new(std::array::from_fn(|i| u8::try_from(i * 7 % 256).unwrap()));
        let hex = hex::encode(key.expose());
        for text in [
            key.expose().to_vec(),
            hex.clone().into_bytes(),
            format!(" {hex}\n").into_bytes(),
            format!("key32:{hex}").into_bytes(),
            b"key32:AAcOFRwjKjE4P0ZNVFtiaXB3foWMk5qhqK+2vcTL0tk=\n".to_vec(),
        ] {
            assert_eq!(Key32::parse(&text).unwrap(), key);
        }
        for text in ["", "secret", &hex[1..], "key32:AAcO", "key32:!!!"] {
            assert!(Key32::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let text = format!("{:?} {:?}", Key32::new([0x41; 32]), Password::new(b"AAAA".to_vec()));
        assert!(!text.contains("AAAA") && !text.contains("65"), "{text}");
    }
}
