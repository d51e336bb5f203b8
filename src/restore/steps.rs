//! The walk over a snapshot that all parts of a restore share: which entries are selected, where directories begin and
//! end, and which entries are refused because the snapshot contradicts itself.

use crate::catalog::{Entry, Metadata, Node, TreeReader};
use crate::error::{Error, ErrorKind, Result};
use crate::path::TreePath;
use crate::volume::rules::Selection;

/// A directory of the snapshot.
#[derive(Debug)]
pub(super) struct Dir {
    /// Below the target.
    pub(super) path: TreePath,
    /// `None` for a root that the snapshot does not describe. Other directories have it when they are left.
    pub(super) meta: Option<Metadata>,
    /// It is selected itself.
    pub(super) selected: bool,
    /// It, or something in it, is selected. Known when it is left.
    pub(super) used: bool,
    /// The snapshot says all that is in it. Not so of the target of a single file.
    pub(super) whole: bool,
}

/// What the walk comes upon. Paths are relative to the target.
#[derive(Debug)]
pub(super) enum Step {
    /// A directory begins; the first one is the target itself.
    Enter(Dir),
    /// The directory that was entered last, and not left, ends.
    Leave(Dir),
    /// Anything else that is selected.
    Leaf(Entry),
    /// Something that is not selected; a directory is not entered.
    Other(TreePath),
    /// A selected entry that must not be restored.
    Refused(TreePath, Error),
}

pub(super) struct Steps<'a> {
    entries: TreeReader<'a>,
    /// Path of the snapshot that becomes the target.
    base: TreePath,
    selection: &'a Selection,
    open: Vec<Open>,
    next: Option<Entry>,
    state: State,
}

struct Open {
    dir: Dir,
    /// Nothing in it can be selected.
    barred: bool,
}

#[derive(PartialEq, Eq)]
enum State {
    Start,
    Middle,
    Ended,
}

impl<'a> Steps<'a> {
    pub(super) fn new(entries: TreeReader<'a>, base: TreePath, selection: &'a Selection) -> Self {
        Self { entries, base, selection, open: Vec::new(), next: None, state: State::Start }
    }

    fn read(&mut self) -> Result<()> {
        if self.next.is_none() && self.state != State::Ended {
            self.next = self.entries.next().transpose()?;
            if let Some(entry) = self.next.as_mut().filter(|_| !self.base.is_root()) {
                let path = entry.path.strip_prefix(&self.base);
                entry.path = path.ok_or_else(|| Error::bug(format!("{} is not below {}", entry.path, self.base)))?;
            }
            if self.next.is_none() {
                self.state = State::Ended;
            }
        }
        Ok(())
    }

    fn start(&mut self) -> Result<Step> {
        self.state = State::Middle;
        self.read()?;
        let mut meta = None;
        match self.next.as_mut() {
            None if !self.base.is_root() => {
                return Err(Error::new(ErrorKind::NotFound, format!("{} is not in the snapshot", self.base)));
            }
            Some(entry) if entry.path.is_root() && matches!(entry.node, Node::Directory) => {
                meta = self.next.take().map(|entry| entry.meta);
            }
            Some(entry) if entry.path.is_root() => {
                let name =
                    self.base.name().ok_or_else(|| Error::corrupt("the root of the snapshot is not a directory"))?;
                entry.path = TreePath::root().join(name)?;
                // It is the only entry: nothing can lie in what is not a directory.
                self.state = State::Ended;
            }
            Some(_) | None => {}
        }
        let path = TreePath::root();
        let selected = self.selection.selects(&path);
        Ok(self.enter(path, meta, selected, false))
    }

    fn enter(&mut self, path: TreePath, meta: Option<Metadata>, selected: bool, barred: bool) -> Step {
        let dir = Dir { path, meta, selected, used: selected, whole: self.state != State::Ended };
        let meta = if dir.path.is_root() { dir.meta.clone() } else { None };
        let step = Step::Enter(Dir { path: dir.path.clone(), meta, ..dir });
        self.open.push(Open { dir, barred });
        step
    }

    fn leave(&mut self) -> Option<Step> {
        let Open { dir, barred } = self.open.pop()?;
        if barred {
            return None;
        }
        if let Some(above) = self.open.last_mut() {
            above.dir.used |= dir.used;
        }
        Some(Step::Leave(dir))
    }

    /// The step for an entry that lies somewhere below the directory entered last; `None` when there is none.
    fn take(&mut self, entry: Entry) -> Option<Step> {
        let above = self.open.last_mut()?;
        if above.barred {
            return None;
        }
        let selected = self.selection.is_all() || self.selection.selects(&entry.path);
        if !lies_in(&entry.path, &above.dir.path) {
            let error = Error::corrupt("the snapshot has this entry below something that is not a directory");
            return Some(if selected { Step::Refused(entry.path, error) } else { Step::Other(entry.path) });
        }
        above.dir.used |= selected;
        if !matches!(entry.node, Node::Directory) {
            return Some(if selected { Step::Leaf(entry) } else { Step::Other(entry.path) });
        }
        if !selected && !self.selection.may_descend(&entry.path) {
            let path = entry.path.clone();
            self.enter(entry.path, None, false, true);
            return Some(Step::Other(path));
        }
        Some(self.enter(entry.path, Some(entry.meta), selected, false))
    }

    fn try_next(&mut self) -> Result<Option<Step>> {
        if self.state == State::Start {
            return self.start().map(Some);
        }
        loop {
            self.read()?;
            let inside = match (&self.next, self.open.last()) {
                (_, None) => return Ok(None),
                (Some(entry), Some(open)) => entry.path.starts_with(&open.dir.path),
                (None, Some(_)) => false,
            };
            let step = if !inside {
                self.leave()
            } else if let Some(entry) = self.next.take() {
                self.take(entry)
            } else {
                None
            };
            if step.is_some() {
                return Ok(step);
            }
        }
    }
}

/// Whether `path` lies in `dir` itself. In catalogue order a directory stands before all that is in it, so the directory of
/// an entry is the one entered last. Where it is not, the snapshot has a link or a file there, or nothing.
fn lies_in(path: &TreePath, dir: &TreePath) -> bool {
    match path.as_bytes().iter().rposition(|byte| *byte == b'/') {
        Some(cut) => path.as_bytes().get(..cut) == Some(dir.as_bytes()),
        None => dir.is_root() && !path.is_root(),
    }
}

impl Iterator for Steps<'_> {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.try_next();
        if next.is_err() {
            self.open.clear();
            self.next = None;
            self.state = State::Ended;
        }
        next.transpose()
    }
}
