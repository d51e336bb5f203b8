//! Writes the plan into the stage while the survey goes on. Nothing is made before there is something to write, so that a target
//! that is as it should be is not touched.

use crate::catalog::Entry;
use crate::error::{Error, Result};
use crate::path::TreePath;

use super::super::segment::SegmentWriter;
use super::stage::{FETCH, HEADS, Plan, SET, Stage};

/// A plan that is being written.
pub(super) struct PlanWriter<'a> {
    /// None in a dry run: nothing is written.
    stage: Option<Stage<'a>>,
    writers: Option<Writers>,
    /// Directories above the place where the survey is, and whether they are in the plan.
    open: Vec<(Entry, bool)>,
    changes: u64,
}

struct Writers {
    fetch: SegmentWriter,
    set: SegmentWriter,
    heads: SegmentWriter,
}

impl<'a> PlanWriter<'a> {
    pub(super) fn new(stage: Option<Stage<'a>>) -> Self {
        Self { stage, writers: None, open: Vec::new(), changes: 0 }
    }

    /// Leaves the directories that `path` does not lie in. To be called for every path that the survey comes to.
    pub(super) fn go_to(&mut self, path: &TreePath) {
        while self.open.pop_if(|(directory, _)| !path.starts_with(&directory.path)).is_some() {}
    }

    /// Enters a directory of the mirror; `planned` puts it into the plan, otherwise it comes there with the first change in it:
    /// it must exist then, and whatever is done in a directory changes its times.
    pub(super) fn enter(&mut self, directory: Entry, planned: bool) -> Result<()> {
        if planned {
            self.set(&directory)?;
        }
        self.open.push((directory, planned));
        Ok(())
    }

    /// The content of this file is to be fetched.
    pub(super) fn fetch(&mut self, entry: &Entry) -> Result<()> {
        self.plan_parents()?;
        self.write(|writers| writers.fetch.put(entry))
    }

    /// This entry is to be made, or to be described, without content.
    pub(super) fn set(&mut self, entry: &Entry) -> Result<()> {
        self.plan_parents()?;
        self.write(|writers| writers.set.put(entry))
    }

    /// This path is to be removed.
    pub(super) fn remove(&mut self, path: &TreePath) -> Result<()> {
        self.plan_parents()?;
        self.write(|writers| writers.set.remove(path))
    }

    /// This entry stays, and others are to be other names of it.
    pub(super) fn head(&mut self, entry: &Entry) -> Result<()> {
        self.write(|writers| writers.heads.put(entry))
    }

    fn plan_parents(&mut self) -> Result<()> {
        // From the first that is not in the plan on: those above it are.
        let from = self.open.iter().position(|(_, planned)| !planned).unwrap_or(self.open.len());
        for at in from..self.open.len() {
            let Some((directory, planned)) = self.open.get_mut(at) else { break };
            if !std::mem::replace(planned, true) {
                let directory = directory.clone();
                self.write(|writers| writers.set.put(&directory))?;
            }
        }
        Ok(())
    }

    fn write(&mut self, write: impl FnOnce(&mut Writers) -> Result<()>) -> Result<()> {
        self.changes += 1;
        let Some(stage) = self.stage else { return Ok(()) };
        if self.writers.is_none() {
            stage.create()?;
            let handle = stage.handle()?;
            let create = |name| SegmentWriter::create(&handle.path(name));
            self.writers = Some(Writers { fetch: create(FETCH)?, set: create(SET)?, heads: create(HEADS)? });
        }
        write(self.writers.as_mut().ok_or_else(|| Error::bug("the plan has no writers"))?)
    }

    /// The plan, complete but not on the disk; `None` when there is nothing to do.
    pub(super) fn finish(self, generation: u64) -> Result<Option<Plan>> {
        let Some(writers) = self.writers else { return Ok(None) };
        let (fetch, set, heads) = (writers.fetch.finish()?, writers.set.finish()?, writers.heads.finish()?);
        Ok(Some(Plan::new(generation, fetch.at(generation), set.at(generation), heads.at(generation))))
    }

    /// Whether anything is to be done.
    pub(super) fn has_changes(&self) -> bool {
        self.changes > 0
    }
}
