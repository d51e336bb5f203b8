//! The key of a path: rclone's own encoding for S3 (`Slash,InvalidUtf8,Dot`), so that rclone and we mean the same object.
//! Spec: `docs/mirror.md` section 2.

use crate::error::{Error, Result};
use crate::path::{TreePath, escape};

/// What rclone puts before a character that is to be taken as it is.
pub(super) const QUOTE: char = '\u{201b}';
/// Stands for NUL, which no path has.
const NUL: char = '\u{2400}';
/// Stands for a slash inside a name, which no path has.
const SLASH: char = '\u{ff0f}';
/// Stands for the dot of the names `.` and `..`, which no path has.
const DOT: char = '\u{ff0e}';

/// The key of the object that holds the file at `path`. Different paths have different keys.
pub fn key_of(path: &TreePath) -> String {
    let mut key = String::with_capacity(path.as_bytes().len());
    for name in path.components() {
        if !key.is_empty() {
            key.push('/');
        }
        push_name(&mut key, name);
    }
    key
}

fn push_name(key: &mut String, name: &[u8]) {
    if name == "\u{ff0e}".as_bytes() || name == "\u{ff0e}\u{ff0e}".as_bytes() {
        for _ in 0..name.len() / DOT.len_utf8() {
            key.extend([QUOTE, DOT]);
        }
        return;
    }
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if matches!(c, NUL | QUOTE | SLASH) {
                key.push(QUOTE);
            }
            key.push(c);
        }
        for byte in chunk.invalid() {
            key.push(QUOTE);
            key.push_str(&hex::encode_upper([*byte]));
        }
    }
}

/// The path whose key this is.
///
/// # Errors
/// `Invalid` for a key that [`key_of`] gives to no path, such as that of a directory marker (`a/`) or one with an empty name.
pub fn path_of_key(key: &str) -> Result<TreePath> {
    let refuse = || Error::invalid(format!("the key {} is that of no file", escape(key.as_bytes())));
    let mut bytes = Vec::with_capacity(key.len());
    for (number, name) in key.split('/').enumerate() {
        if number > 0 {
            bytes.push(b'/');
        }
        take_name(&mut bytes, name);
    }
    let path = TreePath::parse(bytes).map_err(|error| refuse().with_source(error))?;
    if path.is_root() || key_of(&path) != key {
        return Err(refuse());
    }
    Ok(path)
}

fn take_name(out: &mut Vec<u8>, name: &str) {
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
        if c != QUOTE {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let mut byte = [0];
        match rest.chars().next() {
            Some(next @ (NUL | QUOTE | SLASH | DOT)) => {
                out.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
                rest = rest.get(next.len_utf8()..).unwrap_or_default();
            }
            _ if rest.get(..2).is_some_and(|digits| hex::decode_to_slice(digits, &mut byte).is_ok()) => {
                out.extend_from_slice(&byte);
                rest = rest.get(2..).unwrap_or_default();
            }
            // No key of ours: `path_of_key` sees that it is not what the path would have.
            _ => out.extend_from_slice(QUOTE.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// From rclone's `lib/encoder` with the mask of its S3 backend, name by name.
    #[test]
    fn keys_are_those_that_rclone_makes() {
        for (path, key) in [
            (&b"a/b c/d.txt"[..], "a/b c/d.txt"),
            ("größe/日本".as_bytes(), "größe/日本"),
            (b"a\xffb", "a‛FFb"),
            (b"\xc3\x28", "‛C3("),
            (b"\xe4\xbd", "‛E4‛BD"),
            ("a／b".as_bytes(), "a‛／b"),
            ("␀".as_bytes(), "‛␀"),
            ("‛FF".as_bytes(), "‛‛FF"),
            ("．/．．/．．．".as_bytes(), "‛．/‛．‛．/．．．"),
            ("\u{fffd}".as_bytes(), "\u{fffd}"),
            (b"a\nb\x01*?:\\", "a\nb\x01*?:\\"),
            (b" a /.b./~", " a /.b./~"),
        ] {
            let path = TreePath::parse(path).expect("a path");
            assert_eq!(key_of(&path), key);
            assert_eq!(path_of_key(key).expect("a key"), path);
        }
    }

    #[test]
    fn keys_that_no_path_has_are_refused() {
        for key in ["", "a/", "/a", "a//b", ".", "a/../b", "‛", "a‛zz", "‛ff", "‛41", "．‛．", "／", "␀", "a\0", "‛．a"]
        {
            assert!(path_of_key(key).is_err(), "{key:?}");
        }
    }

    proptest! {
        #[test]
        fn paths_come_back_from_their_keys(
            names in prop::collection::vec(
                prop::collection::vec(
                    prop_oneof![
                        Just("\u{201b}".as_bytes().to_vec()),
                        Just("\u{ff0e}".as_bytes().to_vec()),
                        Just("\u{ff0f}".as_bytes().to_vec()),
                        Just(b"F".to_vec()),
                        prop::collection::vec(any::<u8>(), 1..3),
                    ],
                    1..6,
                ),
                1..4,
            ),
        ) {
            let path = names.into_iter().map(|parts| parts.concat()).collect::<Vec<_>>().join(&b'/');
            if let Ok(path) = TreePath::parse(path) {
                prop_assume!(!path.is_root());
                prop_assert_eq!(path_of_key(&key_of(&path)).expect("its own key"), path);
            }
        }
    }
}
