//! Entries in any order, sorted: as many as fit are sorted in memory and written as a local segment; the segments are merged.

use std::path::PathBuf;

use super::super::merge::Merge;
use super::super::segment::{Change, SegmentReader, SegmentWriter, Written};
use crate::catalog::{Entry, Node};
use crate::error::Result;

/// Entries sorted at once: about 400 bytes each. A million objects make twenty runs.
const RUN: usize = 50_000;

/// See the module.
pub(super) struct Runs {
    dir: PathBuf,
    held: Vec<Entry>,
    written: Vec<Written>,
    added: u64,
}

/// Entries in catalogue order, each path once.
pub(super) struct Sorted(Merge);

impl Runs {
    /// Runs whose files are named after `path`.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { dir: path, held: Vec::new(), written: Vec::new(), added: 0 }
    }

    pub(super) fn add(&mut self, entry: Entry) -> Result<()> {
        self.added += 1;
        self.held.push(entry);
        if self.held.len() >= RUN { self.end_run() } else { Ok(()) }
    }

    /// Entries that were added, those for one path each for itself.
    pub(super) fn added(&self) -> u64 {
        self.added
    }

    fn end_run(&mut self) -> Result<()> {
        let mut name = self.dir.clone().into_os_string();
        name.push(format!("-{}", self.written.len()));
        let mut writer = SegmentWriter::create(&PathBuf::from(name))?;
        // A directory's marker may stand beside a file of the same name: the file is the one that has content.
        self.held.sort_by(|left, right| left.path.cmp(&right.path).then(is_directory(left).cmp(&is_directory(right))));
        self.held.dedup_by(|later, first| later.path == first.path);
        for entry in self.held.drain(..) {
            writer.put(&entry)?;
        }
        self.written.push(writer.finish()?);
        Ok(())
    }

    pub(super) fn sorted(mut self) -> Result<Sorted> {
        self.end_run()?;
        let readers = self.written.iter().map(|run| SegmentReader::of_file(&run.path, &run.at(1)));
        Ok(Sorted(Merge::of(readers.collect::<Result<_>>()?)))
    }
}

impl IntoIterator for Sorted {
    type Item = Result<Entry>;
    type IntoIter = std::iter::FilterMap<Merge, fn(Result<Change>) -> Option<Result<Entry>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.filter_map(|change| change.map(Change::into_entry).transpose())
    }
}

fn is_directory(entry: &Entry) -> bool {
    matches!(entry.node, Node::Directory)
}
