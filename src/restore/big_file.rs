//! A file whose content comes in several pieces, in any order, from several threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::catalog::{Entry, FileNode, Node};
use crate::error::{Error, Result};
use crate::events::Action;
use crate::volume::{Replace, TargetFile};

use super::context::Restore;
use super::layout::Cursor;
use super::write::write_at;

/// A file in the making. It is created when its first piece comes and finished after its last one. When it goes away
/// before that, a file that was created is removed; one that stood there before stays, changed as far as the pieces
/// came, without the recorded time.
pub(super) struct BigFile<'r> {
    restore: &'r Restore<'r>,
    entry: Arc<Entry>,
    action: Action,
    /// Open from the start when it is updated in place.
    file: Mutex<Option<Arc<TargetFile>>>,
    /// Pieces that were queued and not written, and one until all are queued.
    missing: AtomicU64,
    lost: AtomicBool,
    created: AtomicBool,
    finished: AtomicBool,
}

impl<'r> BigFile<'r> {
    /// A file to be made in place of whatever stands there.
    pub(super) fn new(restore: &'r Restore<'r>, entry: Arc<Entry>, action: Action) -> Arc<Self> {
        Arc::new(Self::with(restore, entry, action, None))
    }

    /// A file to be changed in place.
    pub(super) fn existing(restore: &'r Restore<'r>, entry: Arc<Entry>, file: TargetFile) -> Arc<Self> {
        Arc::new(Self::with(restore, entry, Action::Updated, Some(Arc::new(file))))
    }

    fn with(restore: &'r Restore<'r>, entry: Arc<Entry>, action: Action, file: Option<Arc<TargetFile>>) -> Self {
        Self {
            restore,
            entry,
            action,
            file: Mutex::new(file),
            missing: AtomicU64::new(1),
            lost: AtomicBool::new(false),
            created: AtomicBool::new(false),
            finished: AtomicBool::new(false),
        }
    }

    pub(super) fn node(&self) -> Result<&FileNode> {
        match &self.entry.node {
            Node::File(node) => Ok(node),
            _ => Err(Error::bug("content of something that is no file")),
        }
    }

    /// One more piece is queued. To be called before it is.
    pub(super) fn expect(&self) {
        self.missing.fetch_add(1, Ordering::SeqCst);
    }

    /// All pieces are queued.
    pub(super) fn all_queued(&self) -> Result<()> {
        self.came()
    }

    /// Writes a piece of the content, which starts at `at`.
    pub(super) fn write(&self, at: Cursor, piece: &[u8]) -> Result<()> {
        if self.lost.load(Ordering::SeqCst) {
            return self.came();
        }
        match self.try_write(at, piece) {
            Ok(()) => {
                self.restore.wrote(u64::try_from(piece.len()).unwrap_or(u64::MAX));
                self.came()
            }
            Err(error) => self.lose(error),
        }
    }

    fn try_write(&self, at: Cursor, piece: &[u8]) -> Result<()> {
        let (file, node) = (self.file()?, self.node()?);
        let sparse = self.restore.options.sparse;
        at.spread(node, piece, |data, offset| write_at(&file, data, offset, sparse))
    }

    /// Punches a hole that an existing file does not have.
    pub(super) fn make_hole(&self, offset: u64, len: u64) -> Result<()> {
        self.file()?.make_hole(offset, len)
    }

    /// A piece cannot be had, or not be written. Only the first time is reported.
    pub(super) fn lose(&self, error: Error) -> Result<()> {
        let reported = if self.lost.swap(true, Ordering::SeqCst) {
            Ok(())
        } else {
            let created = self.created.load(Ordering::SeqCst);
            let text = match self.action {
                Action::Updated if !created => {
                    "part of the content is missing: the file stays as it is, without the recorded time"
                }
                _ => "part of the content is missing: the file is not restored",
            };
            let error = error.within(text);
            self.restore.fail(&self.entry, error)
        };
        self.came()?;
        reported
    }

    fn file(&self) -> Result<Arc<TargetFile>> {
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = slot.as_ref() {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(self.restore.target()?.create_file(&self.entry.path, Replace::Anything)?);
        self.created.store(true, Ordering::SeqCst);
        *slot = Some(Arc::clone(&file));
        Ok(file)
    }

    fn came(&self) -> Result<()> {
        if self.missing.fetch_sub(1, Ordering::SeqCst) > 1 || self.lost.load(Ordering::SeqCst) {
            return Ok(());
        }
        let finished = self.finish();
        // The descriptor goes now, and not when the last window that names the file does.
        self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        match finished {
            Ok(()) => {
                self.restore.done(&self.entry.path, self.action, self.node()?.content_len().unwrap_or(0));
                Ok(())
            }
            Err(error) => self.restore.fail(&self.entry, error),
        }
    }

    fn finish(&self) -> Result<()> {
        let file = self.file()?;
        // Cuts off an old end, makes a hole at the end.
        file.set_len(self.node()?.size)?;
        self.finished.store(true, Ordering::SeqCst);
        self.restore.note_metadata(file.set_metadata(&self.entry.meta, &self.restore.apply()))
    }
}

impl Drop for BigFile<'_> {
    fn drop(&mut self) {
        if self.created.load(Ordering::SeqCst) && !self.finished.load(Ordering::SeqCst) {
            // If it cannot be removed, it has no recorded time at least.
            let _ = self.restore.target().and_then(|target| target.remove(&self.entry.path));
        }
    }
}
