//! What is backed up: paths on disk, and where each stands in the snapshot.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::vec::IntoIter;

use super::EntryKind;
use super::found::{Found, SourceRoot};
use super::resolve::os;
use super::stat::{stat_at, stat_fd};
use super::visit::Chunk;
use super::walk::{WalkItem, WalkOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::path::{TreePath, escape};

/// A file or a directory to save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it stands in the snapshot; the root for a directory whose content is to be the snapshot.
    pub at: TreePath,
    /// Where it is on disk: an absolute path.
    pub path: PathBuf,
    /// Named by the user: no exclude rule applies to it (though rules apply to what is in it).
    pub explicit: bool,
}

/// The sources that `args` name, seen from the directory `cwd`, sorted and without duplicates.
///
/// As restic has it, `/home/u` stands at `home/u`, `dir/x` at `dir/x`, `../x` at `x`, and `.` is the root. A source
/// within another one is dropped, because it is saved with that. A path that does not exist stays: the walk
/// reports it.
///
/// # Errors
/// `NotFound` when none of the paths exists. `Invalid` when there are none, or when different files would stand at one place.
pub fn sources_from_args(args: &[PathBuf], cwd: &Path) -> Result<Vec<Source>> {
    if args.is_empty() {
        return Err(Error::invalid("nothing to back up").with_hint("name at least one file or directory"));
    }
    let mut sources = Vec::with_capacity(args.len());
    for arg in args {
        sources.push(source_from_arg(arg, cwd)?);
    }
    if !sources.iter().any(|source| std::fs::symlink_metadata(&source.path).is_ok()) {
        let text = format!("none of the paths exists: {}", escape(sources_text(args).as_bytes()));
        return Err(Error::new(ErrorKind::NotFound, text));
    }
    merge(sources)
}

fn sources_text(args: &[PathBuf]) -> String {
    let shown: Vec<_> = args.iter().take(5).map(|arg| arg.to_string_lossy()).collect();
    let more = if args.len() > shown.len() { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

fn source_from_arg(arg: &Path, cwd: &Path) -> Result<Source> {
    let mut names: Vec<&[u8]> = Vec::new();
    let mut path = if arg.is_absolute() { PathBuf::from("/") } else { cwd.to_path_buf() };
    for component in arg.components() {
        match component {
            Component::Normal(name) => {
                names.push(name.as_bytes());
                path.push(name);
            }
            // Cleaned as text, as restic does: `link/..` is where `link` stands, not where it points.
            Component::ParentDir => {
                names.pop();
                path.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Ok(Source { at: TreePath::parse(names.join(&b'/'))?, path, explicit: true })
}

/// Sorts sources by place, and drops duplicates and those that lie within others.
///
/// # Errors
/// `Invalid` when two different files would stand at one place.
pub fn merge(mut sources: Vec<Source>) -> Result<Vec<Source>> {
    sources.sort_by(|left, right| left.at.cmp(&right.at));
    let mut merged: Vec<Source> = Vec::with_capacity(sources.len());
    for source in sources {
        // What starts with the last one kept follows it directly in this order.
        let Some(outer) = merged.last_mut().filter(|outer| source.at.starts_with(&outer.at)) else {
            merged.push(source);
            continue;
        };
        let inside = source.at.strip_prefix(&outer.at).unwrap_or_default();
        let expected = if inside.is_root() { outer.path.clone() } else { outer.path.join(inside.as_os_str()) };
        if expected != source.path {
            let both = format!("{} and {}", show(&outer.path), show(&source.path));
            return Err(Error::invalid(format!("{both} would both stand at {} in the snapshot", source.at))
                .with_hint("name them by absolute paths, or back them up separately"));
        }
        outer.explicit |= inside.is_root() && source.explicit;
    }
    Ok(merged)
}

fn show(path: &Path) -> String {
    escape(path.as_os_str().as_bytes())
}

/// The sources one after the other, each with the directories above it that the one before did not have.
#[derive(Debug)]
pub(super) struct Steps {
    sources: IntoIter<Source>,
    /// Where the last source stands.
    last: Option<TreePath>,
    /// The directory of the last single file: a list of a thousand files in it then opens it once.
    holder: Option<Arc<SourceRoot>>,
    /// Why there is nothing to walk.
    refused: Option<Error>,
}

impl Steps {
    pub(super) fn new(sources: Vec<Source>) -> Self {
        let (sources, refused) = match merge(sources) {
            Ok(sources) => (sources, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        Self { sources: sources.into_iter(), last: None, holder: None, refused }
    }

    /// The entries from the next source's topmost new ancestor down to the source itself.
    pub(super) fn next_chunk(&mut self, options: &WalkOptions) -> Option<Chunk> {
        let mut chunk = Chunk::default();
        if let Some(error) = self.refused.take() {
            chunk.items.push(WalkItem::Problem { path: TreePath::root(), error });
            return Some(chunk);
        }
        let source = self.sources.next()?;
        if !source.explicit && options.rules.excludes_path(source.path.as_os_str().as_bytes()) {
            return Some(chunk);
        }
        match self.entry(&source) {
            Ok(found) => {
                self.push_ancestors(&source, &mut chunk);
                self.last = Some(source.at);
                if found.stat.kind == EntryKind::Socket {
                    chunk.items.push(WalkItem::Socket { path: found.path });
                } else {
                    chunk.push(found, options);
                }
            }
            Err(error) => chunk.items.push(WalkItem::Problem { path: source.at, error }),
        }
        Some(chunk)
    }

    fn entry(&mut self, source: &Source) -> Result<Found> {
        let on_disk = source.path.as_os_str();
        let said = || format!("stat {}", escape(on_disk.as_bytes()));
        let stat = os(stat_at(rustix::fs::CWD, on_disk.as_bytes()), said)?;
        // A link at the root of a snapshot could not be restored, so there it is followed.
        if stat.kind == EntryKind::Directory || source.at.is_root() {
            let root = SourceRoot::open(&source.path, source.at.clone())?;
            let stat = os(stat_fd(root.handle()), said)?;
            return Ok(Found { path: source.at.clone(), stat, root: Arc::new(root), bare: false });
        }
        Ok(Found { path: source.at.clone(), stat, root: self.holder_of(source)?, bare: false })
    }

    fn holder_of(&mut self, source: &Source) -> Result<Arc<SourceRoot>> {
        let holder = source.path.parent().unwrap_or(Path::new("/"));
        let at = source.at.parent().unwrap_or_default();
        if source.at.name() != source.path.file_name().map(OsStr::as_bytes) {
            let name = source.path.file_name().unwrap_or_default().as_bytes().to_vec();
            return Ok(Arc::new(SourceRoot::open(holder, at)?.only(name)));
        }
        if let Some(known) = self.holder.as_ref().filter(|known| known.path() == holder && *known.at() == at) {
            return Ok(Arc::clone(known));
        }
        let opened = Arc::new(SourceRoot::open(holder, at)?);
        self.holder = Some(Arc::clone(&opened));
        Ok(opened)
    }

    fn push_ancestors(&self, source: &Source, chunk: &mut Chunk) {
        let mut ancestors = Vec::new();
        let (mut at, mut path) = (source.at.parent(), source.path.as_path());
        while let Some(place) = at.filter(|at| !at.is_root()) {
            path = path.parent().unwrap_or(Path::new("/"));
            at = place.parent();
            if self.last.as_ref().is_some_and(|last| last.starts_with(&place)) {
                break;
            }
            ancestors.push((place, path));
        }
        for (place, path) in ancestors.into_iter().rev() {
            let found = SourceRoot::open(path, place.clone()).and_then(|root| {
                let stat = os(stat_fd(root.handle().as_fd()), || format!("stat {}", show(path)))?;
                Ok(Found { path: place.clone(), stat, root: Arc::new(root), bare: false })
            });
            chunk.items.push(match found {
                Ok(found) => WalkItem::Found(found),
                Err(error) => WalkItem::Problem { path: place, error },
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sources: &[Source]) -> Vec<String> {
        sources.iter().map(|source| source.at.display()).collect()
    }

    #[test]
    fn arguments_stand_where_restic_puts_them() {
        let source = |arg: &str| source_from_arg(Path::new(arg), Path::new("/w/d")).expect("source");
        for (arg, place, path) in [
            ("/home/u/x", "/home/u/x", "/home/u/x"),
            ("/", "/", "/"),
            (".", "/", "/w/d"),
            ("dir/x/", "/dir/x", "/w/d/dir/x"),
            ("./dir/./x", "/dir/x", "/w/d/dir/x"),
            ("../x", "/x", "/w/x"),
            ("..", "/", "/w"),
            ("a/../b", "/b", "/w/d/b"),
            ("/a/../../b", "/b", "/b"),
        ] {
            let got = source(arg);
            assert_eq!((got.at.display().as_str(), got.path.as_path()), (place, Path::new(path)), "{arg}");
        }
    }

    #[test]
    fn nested_and_repeated_sources_are_saved_once() {
        let args: Vec<PathBuf> = ["/usr/lib", "/usr", "/etc", "/usr", "/usr.d"].iter().map(PathBuf::from).collect();
        let sources = sources_from_args(&args, Path::new("/")).expect("sources");
        assert_eq!(at(&sources), ["/etc", "/usr", "/usr.d"]);
    }

    #[test]
    fn different_files_at_one_place_are_refused() {
        let args = [PathBuf::from("../etc"), PathBuf::from("/etc")];
        let error = sources_from_args(&args, Path::new("/usr/lib")).expect_err("two places");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    #[test]
    fn one_path_that_exists_is_enough() {
        let args = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(sources_from_args(&args(&["/etc", "/no/such"]), Path::new("/")).expect("sources").len(), 2);
        let error = sources_from_args(&args(&["/no/such", "/nor/this"]), Path::new("/")).expect_err("none");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(sources_from_args(&[], Path::new("/")).is_err());
    }
}
