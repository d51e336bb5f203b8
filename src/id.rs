//! Names of things: fixed-size byte strings, shown and parsed as lower-case hex.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The id with these bytes.
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes of the id.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The id as lower-case hex.
            pub fn to_hex(&self) -> String {
                hex::encode(self.0)
            }

            /// The first eight hex digits, for people.
            pub fn short(&self) -> String {
                self.to_hex().chars().take(8).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                let mut bytes = [0u8; $len];
                hex::decode_to_slice(text, &mut bytes).map_err(|cause| {
                    Error::invalid(format!("{text:?} is not {} hex digits", 2 * $len)).with_source(cause)
                })?;
                Ok(Self(bytes))
            }
        }
    };
}

id!(
    /// Keyed BLAKE3 hash of a blob's plaintext.
    BlobId, 32
);
id!(
    /// BLAKE3 hash, without a key, of a stored object's bytes: packs and index segments, and all objects of a mirror.
    ObjectHash, 32
);
id!(
    /// One repository; random, in plain text in `config`, bound into everything that is sealed.
    RepoId, 16
);
id!(
    /// One run that writes or reads; a snapshot carries the id of the session that wrote it.
    SessionId, 16
);
id!(
    /// Keyed hash of a snapshot's host and paths: the folder its snapshots lie in.
    SourceId, 16
);
id!(
    /// Keyed BLAKE3 hash of a small file's content, cut to 128 bits: tells "same content" without fetching it.
    ContentHash, 16
);

/// A pack as its readers name it: the name, and what its key is derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PackRef {
    /// BLAKE3 of the stored bytes.
    pub name: ObjectHash,
    /// Key epoch.
    pub epoch: u16,
    /// Salt from its header.
    pub salt: [u8; 32],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_back_and_anything_else_is_refused() {
        let id = SessionId::new([0xab; 16]);
        assert_eq!(id.to_hex().parse::<SessionId>().expect("hex of an id"), id);
        for wrong in ["", "ab", "zz", &"ab".repeat(17), &format!("{}g", "a".repeat(31))] {
            assert!(wrong.parse::<SessionId>().is_err(), "{wrong}");
        }
    }
}
