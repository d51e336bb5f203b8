//! Brings a file in chunks to the snapshot's state in place: only the chunks that differ are fetched and written.

use std::sync::Arc;

use crate::catalog::{Entry, FileNode, Node};
use crate::error::{Error, Result};
use crate::events::Action;
use crate::volume::TargetReader;

use super::big_file::BigFile;
use super::compare::{Piece, compare};
use super::survey::{Existing, content_len, lose_rest, queue, write_anew};

/// What became of a file that was read to be compared.
enum Compared<'r> {
    /// All its content is there; it may be too long or too short.
    Same,
    /// It is being changed.
    Changing(Arc<BigFile<'r>>),
    /// It differs and cannot be changed in place.
    Anew,
    /// A dry run found that it differs.
    Foreseen,
}

impl<'r> Existing<'_, 'r> {
    pub(super) fn update(self, entry: Entry) -> Result<()> {
        let Node::File(node) = &entry.node else { return Err(Error::bug("content of something that is no file")) };
        // One that cannot be read is written anew.
        let Ok(local) = self.target.read_file(&entry.path) else {
            return write_anew(self.restore, self.windows, entry, Action::Updated);
        };
        let same_size = self.stat.size == node.size;
        let entry = Arc::new(entry);
        let mut kept = 0;
        let compared = self.compare(&entry, &local, same_size, &mut kept);
        let own = |entry: Arc<Entry>| Arc::try_unwrap(entry).unwrap_or_else(|entry| Entry::clone(&entry));
        match compared {
            Ok((Compared::Same, None)) => {
                let settled = local.has_metadata(&entry.meta, &self.restore.apply());
                self.settle(own(entry), Ok(settled))
            }
            Ok((Compared::Anew, _)) => write_anew(self.restore, self.windows, own(entry), Action::Updated),
            Ok((Compared::Changing(file), failure)) => {
                self.restore.kept(kept);
                failure.map_or_else(|| file.all_queued(), |error| lose_rest(&file, error))
            }
            Ok((Compared::Foreseen, None)) => {
                self.restore.kept(kept);
                self.restore.wrote(content_len(&entry).saturating_sub(kept));
                self.restore.done(&entry.path, Action::Updated, content_len(&entry));
                Ok(())
            }
            Ok((Compared::Same | Compared::Foreseen, Some(error))) | Err(error) => self.restore.fail(&entry, error),
        }
    }

    /// Compares, and queues what differs. An error beside the outcome ended the comparison early.
    fn compare(
        &self,
        entry: &Arc<Entry>,
        local: &TargetReader,
        same_size: bool,
        kept: &mut u64,
    ) -> Result<(Compared<'r>, Option<Error>)> {
        let node = node_of(entry)?;
        let mut state = if same_size { Compared::Same } else { self.differs(entry) };
        let answer = compare(self.restore, local, node, &mut |piece| {
            let (Piece::Chunk { same, .. } | Piece::Hole { same, .. }) = &piece;
            if !same && matches!(state, Compared::Same) {
                state = self.differs(entry);
            }
            match (&state, piece) {
                (Compared::Anew, _) => return Ok(false),
                (_, Piece::Chunk { same: true, blob, .. }) => *kept += u64::from(blob.raw_len),
                (Compared::Changing(file), Piece::Hole { run, same: false }) => file.make_hole(run.offset, run.len)?,
                (Compared::Changing(file), Piece::Chunk { blob, at, same: false }) => {
                    queue(self.windows, file, blob, at)?;
                }
                (Compared::Same | Compared::Foreseen | Compared::Changing(_), Piece::Hole { .. })
                | (Compared::Same | Compared::Foreseen, Piece::Chunk { .. }) => {}
            }
            Ok(true)
        });
        Ok((state, answer.err()))
    }

    /// The file has to be changed. Programs that run, and what is not ours, cannot be written in place; and a file with
    /// other names must not be: they may lie anywhere.
    fn differs(&self, entry: &Arc<Entry>) -> Compared<'r> {
        if self.restore.options.dry_run {
            return Compared::Foreseen;
        }
        if self.stat.nlink > 1 {
            return Compared::Anew;
        }
        match self.target.open_file(&entry.path) {
            Ok(file) => Compared::Changing(BigFile::existing(self.restore, Arc::clone(entry), file)),
            Err(_) => Compared::Anew,
        }
    }
}

fn node_of(entry: &Entry) -> Result<&FileNode> {
    match &entry.node {
        Node::File(node) => Ok(node),
        _ => Err(Error::bug("content of something that is no file")),
    }
}
