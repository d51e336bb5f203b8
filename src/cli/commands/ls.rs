//! `ls`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use chrono::{DateTime, SecondsFormat};

use crate::catalog::{Entry, Node, Timestamp};
use crate::cli::App;
use crate::cli::args::LsArgs;
use crate::cli::exit::Outcome;
use crate::cli::output::json::{Messaged, NodeInfo, SnapshotInfo};
use crate::cli::output::text;
use crate::cli::settings::{Latest, choose, filter};
use crate::error::{Error, ErrorKind, Result};
use crate::path::{TreePath, escape};
use crate::repo::{Session, Snapshot};
use crate::size::ByteSize;

/// Lists the files of a snapshot.
pub(in crate::cli) fn run(app: &App<'_>, args: &LsArgs) -> Result<Outcome> {
    let latest = Latest { include_partial: args.include_partial, ..Latest::default() };
    let chosen = choose(&args.snapshot, latest)?;
    let filter = filter(&args.filter, app.environment)?;
    let view = View {
        root: chosen.subfolder.unwrap_or_default(),
        dirs: args.dirs.iter().map(directory).collect::<Result<_>>()?,
        recursive: args.recursive,
    };
    let repository = app.open()?;
    super::reading(&repository, |session| {
        let snapshot = session.find(&chosen.selector, &filter)?;
        print(app, args, (session, &snapshot), &view)
    })?;
    Ok(Outcome::Complete)
}

/// Which entries are shown.
struct View {
    /// Paths are shown relative to it, and nothing outside of it.
    root: TreePath,
    /// Below the root: only these and what they hold; all of it when there are none.
    dirs: Vec<TreePath>,
    /// Whether what lies deeper in a directory is shown.
    recursive: bool,
}

impl View {
    /// Where an entry is shown; `None` when it is not.
    fn shown(&self, path: &TreePath) -> Option<TreePath> {
        let path = path.strip_prefix(&self.root).filter(|path| !path.is_root())?;
        if self.dirs.is_empty() {
            return Some(path);
        }
        let in_dir = |dir: &TreePath| {
            path.strip_prefix(dir).is_some_and(|below| self.recursive || below.components().nth(1).is_none())
        };
        self.dirs.iter().any(in_dir).then_some(path)
    }

    /// The directory that holds everything shown: what lies elsewhere need not be fetched.
    fn common(&self) -> Result<TreePath> {
        match self.dirs.as_slice() {
            [only] => only.components().try_fold(self.root.clone(), |path, name| path.join(name)),
            [] | [_, ..] => Ok(self.root.clone()),
        }
    }
}

fn directory(text: &OsString) -> Result<TreePath> {
    let bytes = text.as_bytes();
    let Some(rest) = bytes.strip_prefix(b"/") else {
        return Err(
            Error::invalid(format!("directory {} is not absolute", escape(bytes))).with_hint("begin it with a slash")
        );
    };
    let end = rest.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    TreePath::parse(rest.get(..end).unwrap_or_default())
}

fn print(app: &App<'_>, args: &LsArgs, of: (&Session<'_>, &Snapshot), view: &View) -> Result<()> {
    let (session, snapshot) = of;
    let json = app.console.settings().json;
    let common = view.common()?;
    if json {
        let value = SnapshotInfo::new(snapshot, super::snapshots::tree_id(snapshot));
        app.console.json(&Messaged { value, message_type: "snapshot", struct_type: "snapshot" });
    } else {
        let dirs = args.dirs.iter().map(|dir| dir.as_bytes());
        let filtered = if args.dirs.is_empty() { String::new() } else { format!(" filtered by {}", text::list(dirs)) };
        app.console.say(&format!("{}{filtered}:", text::snapshot(snapshot)));
    }
    let mut found = common.is_root();
    for entry in session.reader().tree(&snapshot.root, Some(&common)) {
        let entry = entry?;
        found = true;
        let Some(path) = view.shown(&entry.path) else { continue };
        if json {
            app.console.row(&crate::cli::output::json::line(&node(&entry, &path)));
        } else if args.long {
            app.console.row(&long(&entry, &path, args.human_readable));
        } else {
            app.console.row(&path.display());
        }
        if !app.console.is_heard() {
            break;
        }
    }
    if found {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NotFound, format!("snapshot {} does not hold {}", snapshot.id.short(), common.display())))
}

/// `-rw-r--r--     0     0   1234 2024-03-01 10:00:00 /path -> target`
pub(super) fn long(entry: &Entry, path: &TreePath, human_readable: bool) -> String {
    let size = match &entry.node {
        Node::File(file) => file.size,
        Node::Directory | Node::Symlink { .. } | Node::Fifo | Node::CharDevice { .. } | Node::BlockDevice { .. } => 0,
    };
    let size = if human_readable { ByteSize(size).to_string() } else { size.to_string() };
    let target = match &entry.node {
        Node::Symlink { target } => format!(" -> {}", escape(target)),
        Node::Directory | Node::File(_) | Node::Fifo | Node::CharDevice { .. } | Node::BlockDevice { .. } => {
            String::new()
        }
    };
    let (permissions, meta) = (text::permissions(entry), &entry.meta);
    let time = text::file_time(meta.mtime);
    format!("{permissions} {:5} {:5} {size:>6} {time} {}{target}", meta.uid, meta.gid, path.display())
}

pub(super) fn node(entry: &Entry, path: &TreePath) -> Messaged<NodeInfo> {
    let meta = &entry.meta;
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let value = NodeInfo {
        name: lossy(path.name().unwrap_or_default()),
        kind: text::kind(&entry.node),
        path: format!("/{}", lossy(path.as_bytes())),
        uid: meta.uid,
        gid: meta.gid,
        size: match &entry.node {
            Node::File(file) => Some(file.size),
            Node::Directory
            | Node::Symlink { .. }
            | Node::Fifo
            | Node::CharDevice { .. }
            | Node::BlockDevice { .. } => None,
        },
        mode: text::go_mode(entry),
        permissions: text::permissions(entry),
        mtime: rfc3339(meta.mtime),
        atime: rfc3339(meta.mtime),
        ctime: rfc3339(meta.ctime),
        inode: meta.inode,
        linktarget: match &entry.node {
            Node::Symlink { target } => Some(lossy(target)),
            Node::Directory | Node::File(_) | Node::Fifo | Node::CharDevice { .. } | Node::BlockDevice { .. } => None,
        },
    };
    Messaged { value, message_type: "node", struct_type: "node" }
}

/// The time in UTC; the beginning of 1970 for one that the calendar does not have.
fn rfc3339(stamp: Timestamp) -> String {
    let time = DateTime::from_timestamp(stamp.seconds, stamp.nanos).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        directory(&OsString::from(text)).unwrap()
    }

    fn view(root: &str, dirs: &[&str], recursive: bool) -> View {
        View { root: path(root), dirs: dirs.iter().map(|dir| path(dir)).collect(), recursive }
    }

    #[test]
    fn a_directory_is_shown_with_its_children_and_with_all_when_asked() {
        let shown = |view: &View, at: &str| view.shown(&path(at)).map(|path| path.display());
        let all = view("/", &[], false);
        assert_eq!(shown(&all, "/a/b/c").as_deref(), Some("/a/b/c"));
        let flat = view("/", &["/a", "/x/y"], false);
        for (at, expected) in
            [("/a", true), ("/a/b", true), ("/a/b/c", false), ("/ab", false), ("/x", false), ("/x/y/z", true)]
        {
            assert_eq!(shown(&flat, at).is_some(), expected, "{at}");
        }
        assert!(shown(&view("/", &["/a"], true), "/a/b/c").is_some());
    }

    #[test]
    fn a_subfolder_becomes_the_root() {
        let below = view("/srv/data", &["/a"], false);
        let shown = |at: &str| below.shown(&path(at)).map(|path| path.display());
        assert_eq!(shown("/srv/data"), None);
        assert_eq!(shown("/srv/data/a/b").as_deref(), Some("/a/b"));
        assert_eq!(shown("/srv/other"), None);
        assert_eq!(below.common().unwrap().display(), "/srv/data/a");
        assert!(directory(&OsString::from("a")).is_err());
    }
}
