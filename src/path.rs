//! Paths inside a snapshot or a mirror: raw bytes, relative, validated component by component.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use crate::error::{Error, Result};

/// Longest name of one component, as Linux has it (`NAME_MAX`).
pub const NAME_MAX: usize = 255;

/// Longest path we read from outside. Linux allows deeper trees through relative handles; 64 KiB is
/// sixteen times `PATH_MAX` and still small beside a catalogue page.
pub const PATH_MAX: usize = 64 << 10;

/// A relative path of raw bytes: components joined by `/`, none of them empty, `.` or `..`, none with
/// NUL or over 255 bytes. The empty path is the root. Ordered component-wise, so that a directory stands
/// before its children and the children before the directory's next sibling (*catalogue order*).
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct TreePath(Vec<u8>);

impl TreePath {
    /// The root: the empty path.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Reads a relative path.
    ///
    /// # Errors
    /// `Invalid` for an absolute path, an empty, `.` or `..` component, NUL, or a component or path that is too long.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self> {
        let bytes = bytes.into();
        if bytes.len() > PATH_MAX {
            return Err(Error::invalid(format!("path of {} bytes is longer than {PATH_MAX}", bytes.len())));
        }
        if !bytes.is_empty() {
            for name in bytes.split(|byte| *byte == b'/') {
                check_name(name).map_err(|error| error.within(format!("path {}", escape(&bytes))))?;
            }
        }
        Ok(Self(bytes))
    }

    /// The path of `name` in this directory.
    ///
    /// # Errors
    /// `Invalid` when `name` is not a plain component, as in [`TreePath::parse`].
    pub fn join(&self, name: &[u8]) -> Result<Self> {
        check_name(name)?;
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        if bytes.len() > PATH_MAX {
            return Err(Error::invalid(format!("path of {} bytes is longer than {PATH_MAX}", bytes.len())));
        }
        Ok(Self(bytes))
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as the operating system writes it.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components, from the root down; none for the root.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
    }

    /// The last component; `None` for the root.
    pub fn name(&self) -> Option<&[u8]> {
        self.components().next_back()
    }

    /// The directory that holds this path; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let cut = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0.get(..cut).unwrap_or_default().to_vec()))
    }

    /// Whether `self` is `ancestor` or lies below it.
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        ancestor.is_root()
            || self
                .0
                .strip_prefix(ancestor.as_bytes())
                .is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/'))
    }

    /// `self` relative to `ancestor`, or `None` when it does not lie there.
    pub fn strip_prefix(&self, ancestor: &Self) -> Option<Self> {
        if ancestor.is_root() {
            return Some(self.clone());
        }
        match self.0.strip_prefix(ancestor.as_bytes())? {
            [] => Some(Self::root()),
            [b'/', rest @ ..] => Some(Self(rest.to_vec())),
            _ => None,
        }
    }

    /// The path for people: starts with `/`, control and non-UTF-8 bytes escaped.
    pub fn display(&self) -> String {
        format!("/{}", escape(&self.0))
    }
}

/// Catalogue order on raw path bytes: as if `/` sorted before every other byte.
pub fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let common = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    let rank = |byte: Option<&u8>| byte.map(|byte| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 });
    // `None` (the path ends) sorts before `/`.
    rank(left.get(common)).cmp(&rank(right.get(common)))
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display())
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreePath({:?})", self.display())
    }
}

fn check_name(name: &[u8]) -> Result<()> {
    match name {
        [] | b"." | b".." => Err(Error::invalid(format!("{:?} is not a file name", escape(name)))),
        _ if name.len() > NAME_MAX => Err(Error::invalid(format!("file name of {} bytes", name.len()))),
        _ if name.contains(&0) || name.contains(&b'/') => {
            Err(Error::invalid(format!("file name {:?} holds NUL or a slash", escape(name))))
        }
        _ => Ok(()),
    }
}

/// Bytes of a name made safe for a terminal or a log line: control characters, the C1 range, text-direction
/// marks, backslashes and whatever is not UTF-8 become `\xNN` or `\u{N}`.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    text.extend(c.escape_unicode());
                }
                c if c.is_control() => text.extend(c.escape_default()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.extend(["\\x", &hex::encode([*byte])]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text).expect("valid path")
    }

    #[test]
    fn order_puts_a_directory_before_its_children_and_those_before_its_next_sibling() {
        let order = ["", "a", "a/b", "a/b/c", "a/b.c", "a b", "a.b", "ab"];
        for pair in order.windows(2) {
            let [left, right] = pair else { unreachable!("windows of two") };
            assert!(path(left) < path(right), "{left} < {right}");
        }
    }

    #[test]
    fn names_that_would_leave_the_tree_are_refused() {
        for wrong in ["/a", "a//b", "a/", ".", "..", "a/../b", "a/.", "a\0b"] {
            assert!(TreePath::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(TreePath::parse("x".repeat(256)).is_err());
        assert!(TreePath::root().join(b"a/b").is_err());
    }

    #[test]
    fn names_cannot_steer_a_terminal() {
        assert_eq!(escape(b"a\x1b[31m\n\xff\\"), "a\\u{1b}[31m\\n\\xff\\\\");
        assert_eq!(escape("\u{202e}gpj".as_bytes()), "\\u{202e}gpj");
        assert_eq!(escape("größe 日本".as_bytes()), "größe 日本");
    }

    #[test]
    fn prefixes_end_at_component_boundaries() {
        assert!(path("a/b").starts_with(&path("a")));
        assert!(!path("ab").starts_with(&path("a")));
        assert_eq!(path("a/b/c").strip_prefix(&path("a/b")), Some(path("c")));
        assert_eq!(path("a").strip_prefix(&path("a")), Some(TreePath::root()));
        assert_eq!(path("a/b").parent(), Some(path("a")));
        assert_eq!(path("a").parent(), Some(TreePath::root()));
        assert_eq!(TreePath::root().parent(), None);
    }

    proptest! {
        #[test]
        fn order_is_that_of_the_component_lists(a in "[a-c./]{0,8}", b in "[a-c./]{0,8}") {
            if let (Ok(a), Ok(b)) = (TreePath::parse(a), TreePath::parse(b)) {
                let components = |path: &TreePath| path.components().map(<[u8]>::to_vec).collect::<Vec<_>>();
                prop_assert_eq!(a.cmp(&b), components(&a).cmp(&components(&b)));
            }
        }
    }
}
