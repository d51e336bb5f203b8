//! What two generations, or a generation and a directory, differ in.

use std::path::Path;
use std::sync::Arc;

use super::includes::Includes;
use crate::catalog::{Content, Entry, FileNode, Joined, Metadata, Node, StoredObject, merge_join};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::events::Watch;
use crate::path::TreePath;
use crate::volume::rules::RuleOptions;
use crate::volume::{EntryKind, Found, OwnerNames, Rules, Source, WalkItem, WalkOptions, walk};

/// What file systems keep for themselves at the top of a volume.
const LOST_AND_FOUND: &[u8] = b"lost+found";
/// Where a pull keeps what it has not applied yet.
const STAGE: &[u8] = b".volvault-pull";
/// Threads that list the directory.
const THREADS: usize = 4;

/// In what one path differs, seen from the older side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// Only the newer side has it.
    Added,
    /// Only the older side has it.
    Removed,
    /// The content is another one, or another kind of thing stands there.
    Content,
    /// Only owner, mode, time or attributes are others.
    Metadata,
}

/// How many paths differ, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Differences {
    /// Paths that the newer side has in addition.
    pub added: u64,
    /// Paths that the newer side lacks.
    pub removed: u64,
    /// Paths with another content.
    pub content: u64,
    /// Paths with another description.
    pub metadata: u64,
    /// Paths that are the same.
    pub same: u64,
    /// Paths of the directory that could not be looked at.
    pub problems: u64,
}

impl Differences {
    /// Whether nothing differs.
    pub fn is_none(&self) -> bool {
        self.added + self.removed + self.content + self.metadata + self.problems == 0
    }

    fn count(&mut self, difference: Option<Difference>) {
        let counter = match difference {
            None => &mut self.same,
            Some(Difference::Added) => &mut self.added,
            Some(Difference::Removed) => &mut self.removed,
            Some(Difference::Content) => &mut self.content,
            Some(Difference::Metadata) => &mut self.metadata,
        };
        *counter += 1;
    }
}

/// Hears of each path that differs, in catalogue order.
pub type Hear<'a> = dyn FnMut(&TreePath, Difference) + 'a;

/// Compares two lists of entries in catalogue order.
pub fn between(
    older: impl IntoIterator<Item = Result<Entry>>,
    newer: impl IntoIterator<Item = Result<Entry>>,
    filter: &dyn Includes,
    hear: &mut Hear<'_>,
) -> Result<Differences> {
    let mut counts = Differences::default();
    for joined in merge_join(older, newer) {
        let joined = joined?;
        let path = joined.path();
        // Seen from either side: a file may have grown out of the rules.
        if ![joined.left(), joined.right()].iter().flatten().any(|entry| filter.includes_entry(entry)) {
            continue;
        }
        let difference = match &joined {
            Joined::Left(_) => Some(Difference::Removed),
            Joined::Right(_) => Some(Difference::Added),
            Joined::Both(old, new) => compare(old, new),
        };
        counts.count(difference);
        if let Some(difference) = difference {
            hear(path, difference);
        }
    }
    Ok(counts)
}

/// Compares a directory, as the older side, with a generation: what a pull would change. Files go by kind, size and time; none is read.
pub fn with_directory(
    directory: &Path,
    entries: impl Iterator<Item = Result<Entry>>,
    scope: (&dyn Includes, bool),
    watch: &Watch<'_>,
    hear: &mut Hear<'_>,
) -> Result<Differences> {
    let (filter, one_file_system) = scope;
    let said = || format!("find the directory {}", directory.display());
    let path = std::path::absolute(directory).attempt(said)?;
    if !std::fs::metadata(&path).attempt(said)?.is_dir() {
        return Err(Error::new(ErrorKind::NotFound, format!("{} is no directory", directory.display())));
    }
    let rules = Rules::new(RuleOptions { one_file_system, ..RuleOptions::default() })?;
    let options = WalkOptions { rules: Arc::new(rules), threads: THREADS, attributes: false };
    let sources = vec![Source { at: TreePath::root(), path, explicit: true }];
    let mut local = Local { names: OwnerNames::default(), watch, problems: 0 };
    let mut counts = walk(sources, &options, watch.stop, |batches| {
        between(batches.flatten().filter_map(|item| local.entry(item)).map(Ok), entries, filter, hear)
    })?;
    if watch.stop.requested() {
        return Err(Error::new(ErrorKind::Interrupted, "interrupted before everything was compared"));
    }
    counts.problems = local.problems;
    Ok(counts)
}

/// Makes entries of what the walk finds.
struct Local<'a> {
    names: OwnerNames,
    watch: &'a Watch<'a>,
    problems: u64,
}

impl Local<'_> {
    fn entry(&mut self, item: WalkItem) -> Option<Entry> {
        let found = match item {
            WalkItem::Found(found) => found,
            WalkItem::Problem { path, error } => {
                self.problem(&path, &error);
                return None;
            }
            // Never pushed, and never touched by a pull.
            WalkItem::Socket { .. } => return None,
        };
        let own = found.path.components().next().is_some_and(|name| name == LOST_AND_FOUND || name == STAGE);
        if own {
            return None;
        }
        let node = match node(&found) {
            Ok(node) => node?,
            Err(error) => {
                self.problem(&found.path, &error);
                return None;
            }
        };
        let (meta, problem) = found.metadata(&self.names);
        if let Some(error) = problem {
            self.problem(&found.path, &error);
        }
        Some(Entry { path: found.path, meta, node, link: None })
    }

    fn problem(&mut self, path: &TreePath, error: &Error) {
        self.problems += 1;
        self.watch.problem("scan", &path.display(), error);
    }
}

fn node(found: &Found) -> Result<Option<Node>> {
    let (major, minor) = found.stat.rdev;
    Ok(Some(match found.stat.kind {
        EntryKind::Directory => Node::Directory,
        EntryKind::File => {
            let content = Content::Empty;
            Node::File(FileNode { size: found.stat.size, content, extents: None, incomplete: false })
        }
        EntryKind::Symlink => Node::Symlink { target: found.link_target()? },
        EntryKind::Fifo => Node::Fifo,
        EntryKind::CharDevice => Node::CharDevice { major, minor },
        EntryKind::BlockDevice => Node::BlockDevice { major, minor },
        EntryKind::Socket => return Ok(None),
    }))
}

/// By hash, or as the same object where one has none.
fn is_same(one: &StoredObject, other: &StoredObject) -> bool {
    match (one.hash, other.hash) {
        (Some(one), Some(other)) => one == other,
        _ => one.etag == other.etag && one.version == other.version,
    }
}

fn compare(old: &Entry, new: &Entry) -> Option<Difference> {
    let same_content = match (&old.node, &new.node) {
        (Node::File(left), Node::File(right)) => match (&left.content, &right.content) {
            (Content::Object(one), Content::Object(other)) => left.size == right.size && is_same(one, other),
            // No hash to compare: files on disk, and further names of one file.
            _ => left.size == right.size && old.meta.mtime == new.meta.mtime,
        },
        (left, right) => left == right,
    };
    if !same_content {
        return Some(Difference::Content);
    }
    (!same_metadata(&old.meta, &new.meta)).then_some(Difference::Metadata)
}

/// Names of owners are those of the machine that looks, ctime and inode those of its file system.
fn same_metadata(old: &Metadata, new: &Metadata) -> bool {
    (old.mode, old.uid, old.gid, old.mtime) == (new.mode, new.uid, new.gid, new.mtime) && old.xattrs == new.xattrs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Timestamp;
    use crate::rclone_sync::includes::Everything;

    fn entry(path: &str, size: u64, second: i64, mode: u16) -> Entry {
        let node = if path.ends_with('/') {
            Node::Directory
        } else {
            Node::File(FileNode { size, content: Content::Empty, extents: None, incomplete: false })
        };
        let meta = Metadata {
            mode,
            uid: 0,
            gid: 0,
            user: None,
            group: None,
            mtime: Timestamp { seconds: second, nanos: 5 },
            ctime: Timestamp::default(),
            inode: 0,
            xattrs: Arc::default(),
        };
        Entry { path: TreePath::parse(path.trim_end_matches('/')).expect("a path"), meta, node, link: None }
    }

    #[test]
    fn each_path_differs_in_one_way_at_most() {
        let older =
            [entry("a", 1, 1, 0o644), entry("b", 1, 1, 0o644), entry("c", 1, 1, 0o644), entry("d", 1, 1, 0o644)];
        let newer = [
            entry("a", 1, 1, 0o644),
            entry("b", 1, 1, 0o600),
            entry("c", 1, 2, 0o644),
            entry("e/", 0, 1, 0o755),
            entry("e/f", 9, 1, 0o644),
        ];
        let mut heard = Vec::new();
        let counts = between(older.map(Ok), newer.map(Ok), &Everything, &mut |path, difference| {
            heard.push((path.display(), difference));
        })
        .expect("sorted");
        let expected = [
            ("/b", Difference::Metadata),
            ("/c", Difference::Content),
            ("/d", Difference::Removed),
            ("/e", Difference::Added),
            ("/e/f", Difference::Added),
        ];
        assert_eq!(heard, expected.map(|(path, difference)| (path.to_owned(), difference)));
        let told = (counts.same, counts.added, counts.removed, counts.content, counts.metadata);
        assert_eq!(told, (1, 2, 1, 1, 1));
        assert!(!counts.is_none() && Differences { same: 7, ..Differences::default() }.is_none());
    }

    #[test]
    fn what_the_filter_leaves_out_is_not_compared() {
        #[derive(Debug)]
        struct NotE;
        impl Includes for NotE {
            fn includes(&self, path: &TreePath, _: EntryKind, _: u64, _: Timestamp) -> bool {
                !path.as_bytes().starts_with(b"e")
            }
            fn may_descend(&self, path: &TreePath) -> bool {
                path.as_bytes() != b"e"
            }
            fn reaches(&self, _: &TreePath, _: EntryKind) -> bool {
                true
            }
        }
        let newer = [entry("e/", 0, 1, 0o755), entry("e/f", 9, 1, 0o644), entry("g", 1, 1, 0o644)];
        let counts = between([], newer.map(Ok), &NotE, &mut |_, _| {}).expect("sorted");
        assert_eq!(counts, Differences { added: 1, ..Differences::default() });
    }
}
