//! Snapshots are judged among their like.

use std::str::FromStr;

use crate::error::Error;

/// How snapshots are put into groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grouping {
    /// By host.
    pub host: bool,
    /// By the set of paths.
    pub paths: bool,
    /// By the set of tags.
    pub tags: bool,
}

impl Grouping {
    /// By host and paths: one group for each source.
    pub const BY_SOURCE: Self = Self { host: true, paths: true, tags: false };

    /// The group of a snapshot with this host, these paths and tags.
    pub fn key(self, host: &str, paths: &[Vec<u8>], tags: &[String]) -> GroupKey {
        GroupKey {
            host: self.host.then(|| host.to_owned()),
            paths: self.paths.then(|| sorted(paths)),
            tags: self.tags.then(|| sorted(tags)),
        }
    }
}

fn sorted<T: Ord + Clone>(names: &[T]) -> Vec<T> {
    let mut names = names.to_vec();
    names.sort();
    names
}

impl FromStr for Grouping {
    type Err = Error;

    /// `host,paths,tags`, also in the singular or plural; nothing stands for one group.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut grouping = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "host" | "hosts" => grouping.host = true,
                "path" | "paths" => grouping.paths = true,
                "tag" | "tags" => grouping.tags = true,
                _ => return Err(Error::invalid(format!("--group-by {word:?} is none of host, paths, tags"))),
            }
        }
        Ok(grouping)
    }
}

/// What the snapshots of a group have in common; none for what is not grouped by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GroupKey {
    /// Their host.
    pub host: Option<String>,
    /// Their paths, sorted. Bytes: two paths that only look alike are two.
    pub paths: Option<Vec<Vec<u8>>>,
    /// Their tags, sorted.
    pub tags: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_named_in_the_singular_or_plural() {
        assert_eq!("host, path".parse::<Grouping>().unwrap(), Grouping::BY_SOURCE);
        assert_eq!("tags".parse::<Grouping>().unwrap(), Grouping { tags: true, ..Grouping::default() });
        assert_eq!("".parse::<Grouping>().unwrap(), Grouping::default());
        assert!("host,user".parse::<Grouping>().is_err());
    }

    #[test]
    fn the_order_of_paths_and_tags_makes_no_other_group() {
        let all = Grouping { host: true, paths: true, tags: true };
        let paths = |names: [&str; 2]| names.map(|name| name.as_bytes().to_vec());
        let tags = |names: [&str; 2]| names.map(str::to_owned);
        assert_eq!(
            all.key("h", &paths(["/b", "/a"]), &tags(["x", "y"])),
            all.key("h", &paths(["/a", "/b"]), &tags(["y", "x"]))
        );
        assert_ne!(
            all.key("h", &paths(["/b", "/a"]), &tags(["x", "y"])),
            all.key("g", &paths(["/a", "/b"]), &tags(["y", "x"]))
        );
        assert_ne!(all.key("h", &[b"/\xfe".to_vec()], &[]), all.key("h", &[b"/\xff".to_vec()], &[]));
        assert_eq!(
            Grouping::default().key("h", &[], &[]),
            Grouping::default().key("g", &paths(["/", "/a"]), &tags(["", ""]))
        );
    }
}
