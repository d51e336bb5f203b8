//! Reads one directory: its names, then what each of them is, with the exclude rules applied on the way.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::ahead::Task;
use super::found::{Found, SourceRoot};
use super::listing::Names;
use super::resolve::{os, read_head};
use super::rules::TagFile;
use super::stat::{EntryKind, stat_at};
use super::walk::{WalkItem, WalkOptions};
use super::xattrs::Reach;
use crate::error::Result;
use crate::path::{TreePath, escape};

/// Entries of a big directory that are stat'ed in one piece.
pub(super) const CHUNK: usize = 1024;

/// Directories up to this size are stat'ed while they are open from listing them.
const SMALL: usize = 2 * CHUNK;

/// A directory to read.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: TreePath,
    pub(super) root: Arc<SourceRoot>,
}

/// What a task is to do.
#[derive(Debug)]
pub(super) enum Work {
    /// List a directory, and stat its entries unless there are many.
    Directory(Directory),
    /// Stat [`CHUNK`] entries of a big directory.
    Part { big: Arc<Big>, from: usize },
}

/// What a task came to.
#[derive(Debug)]
pub(super) enum Outcome {
    Chunk(Chunk),
    Big(Arc<Big>),
}

/// Entries, with the directories among them that are to be entered.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) items: Vec<WalkItem>,
    /// Each with the number of items up to and including its own entry.
    pub(super) children: Vec<(usize, Arc<Task>)>,
}

/// A directory with so many names that only those are kept.
#[derive(Debug)]
pub(super) struct Big {
    directory: Directory,
    names: Names,
}

impl Big {
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}

impl Default for Outcome {
    fn default() -> Self {
        Self::Chunk(Chunk::default())
    }
}

impl Outcome {
    /// What it counts for against the bound on what is read ahead.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Chunk(chunk) => chunk.items.len(),
            Self::Big(big) => big.len(),
        }
    }
}

impl Chunk {
    fn problem(path: &TreePath, error: crate::Error) -> Self {
        Self { items: vec![WalkItem::Problem { path: path.clone(), error }], children: Vec::new() }
    }

    /// Adds an entry, and a task for what is in it when it is to be entered.
    pub(super) fn push(&mut self, found: Found, options: &WalkOptions) {
        let enter = found.stat.kind == EntryKind::Directory
            && !(options.rules.one_file_system() && found.stat.device != found.root.device());
        let inside = enter.then(|| Directory { path: found.path.clone(), root: Arc::clone(&found.root) });
        self.items.push(WalkItem::Found(found));
        if let Some(directory) = inside {
            self.children.push((self.items.len(), Arc::new(Task::new(Work::Directory(directory)))));
        }
    }
}

/// Does a task. Failures become items.
pub(super) fn visit(work: &Work, options: &WalkOptions, buffer: &mut Vec<u8>) -> Outcome {
    let (directory, answer) = match work {
        Work::Directory(directory) => (directory, list(directory, options, buffer)),
        Work::Part { big, from } => (&big.directory, part(big, *from, options)),
    };
    answer.unwrap_or_else(|error| Outcome::Chunk(Chunk::problem(&directory.path, error)))
}

fn list(directory: &Directory, options: &WalkOptions, buffer: &mut Vec<u8>) -> Result<Outcome> {
    let Some(fd) = open(directory)? else { return Ok(Outcome::default()) };
    let mut names = match Names::read(fd.as_fd(), buffer) {
        // Removed while it was open.
        Err(Errno::NOENT) => return Ok(Outcome::default()),
        answer => os(answer, || directory.sentence("list"))?,
    };
    apply_tags(&fd, &mut names, options);
    if names.len() <= SMALL {
        return Ok(Outcome::Chunk(stat_names(directory, &fd, names.range(0, SMALL), options)));
    }
    Ok(Outcome::Big(Arc::new(Big { directory: Directory::clone_of(directory), names })))
}

fn part(big: &Big, from: usize, options: &WalkOptions) -> Result<Outcome> {
    let Some(fd) = open(&big.directory)? else { return Ok(Outcome::default()) };
    Ok(Outcome::Chunk(stat_names(&big.directory, &fd, big.names.range(from, CHUNK), options)))
}

/// `None` when the directory has vanished.
fn open(directory: &Directory) -> Result<Option<OwnedFd>> {
    match directory.root.open_quietly(&directory.path, OFlags::DIRECTORY, None) {
        Err(Errno::NOENT) => Ok(None),
        answer => os(answer, || directory.sentence("open")).map(Some),
    }
}

/// A directory that is tagged (`CACHEDIR.TAG`, `--exclude-if-present`) keeps nothing but its tag.
fn apply_tags(fd: &OwnedFd, names: &mut Names, options: &WalkOptions) {
    let tagged: Vec<&[u8]> = options
        .rules
        .tag_files()
        .iter()
        .filter(|tag| names.contains(tag.name()) && tag_holds(fd, tag))
        .map(TagFile::name)
        .collect();
    if !tagged.is_empty() {
        names.retain(|name| tagged.contains(&name));
    }
}

fn tag_holds(fd: &OwnedFd, tag: &TagFile) -> bool {
    let len = u64::try_from(tag.header_len()).unwrap_or(u64::MAX);
    len == 0 || read_head(fd.as_fd(), tag.name(), len).is_ok_and(|head| tag.accepts(&head))
}

/// The stat'ing of some names of one directory.
struct Stating<'a> {
    directory: &'a Directory,
    fd: &'a OwnedFd,
    options: &'a WalkOptions,
    chunk: Chunk,
}

fn stat_names<'a>(
    directory: &Directory,
    fd: &OwnedFd,
    names: impl Iterator<Item = &'a [u8]>,
    options: &WalkOptions,
) -> Chunk {
    let mut stating = Stating { directory, fd, options, chunk: Chunk::default() };
    let mut on_disk = directory.root.on_disk(&directory.path);
    if on_disk.last() != Some(&b'/') {
        on_disk.push(b'/');
    }
    let prefix = on_disk.len();
    for name in names {
        on_disk.truncate(prefix);
        on_disk.extend_from_slice(name);
        if options.rules.excludes_path(&on_disk) {
            continue;
        }
        if let Err(error) = stating.stat(name, &on_disk) {
            let path = directory.path.join(name).unwrap_or_else(|_| directory.path.clone());
            stating.chunk.items.push(WalkItem::Problem { path, error });
        }
    }
    stating.chunk
}

impl Stating<'_> {
    fn stat(&mut self, name: &[u8], on_disk: &[u8]) -> Result<()> {
        let stat = match stat_at(self.fd.as_fd(), name) {
            // Removed since the directory was listed.
            Err(Errno::NOENT) => return Ok(()),
            answer => os(answer, || format!("stat {}", escape(on_disk)))?,
        };
        let path = self.directory.path.join(name)?;
        if stat.kind == EntryKind::Socket {
            self.chunk.items.push(WalkItem::Socket { path });
        } else if stat.kind != EntryKind::File || !self.options.rules.excludes_size(stat.size) {
            let root = Arc::clone(&self.directory.root);
            let bare = self.options.attributes
                && Reach::named(self.fd.as_fd(), name).list().is_ok_and(|names| names.is_empty());
            self.chunk.push(Found { path, stat, root, bare }, self.options);
        }
        Ok(())
    }
}

impl Directory {
    fn clone_of(other: &Self) -> Self {
        Self { path: other.path.clone(), root: Arc::clone(&other.root) }
    }

    fn sentence(&self, verb: &str) -> String {
        format!("{verb} directory {}", escape(&self.root.on_disk(&self.path)))
    }
}
