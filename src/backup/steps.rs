//! What a stopped run keeps when it cannot send in time all that it has read: the entries up to the first whose content is not stored.
//!
//! Each time an entry needs a pack that is not stored yet and that no entry before it needed, the catalogue is remembered as it was. Only the few
//! packs that are open or on their way matter for that, so a few states are kept, of some 100 KiB each.

use std::collections::VecDeque;

use crate::catalog::TreeWriter;
use crate::error::{Error, ErrorKind, Result};
use crate::events::Event;
use crate::repo::{Summary, WriterReport};

use super::assemble::{Outcome, store_page};
use super::pipeline::Context;

/// The catalogue as it was once.
struct Step {
    /// The pack that its last entries need, and none of the states before; 0 for none.
    pack: u64,
    tree: TreeWriter,
    summary: Summary,
}

/// The states of a catalogue that may turn out to be the last one that is stored whole.
#[derive(Default)]
pub(super) struct Steps {
    /// Of the first of them everything is stored.
    past: VecDeque<Step>,
    /// The pack that the entries since the last state need beside those of the states.
    pack: u64,
}

impl Steps {
    /// To be called before an entry with content in `pack` is written, with the state as it is without the entry.
    pub(super) fn before(
        &mut self,
        pack: u64,
        is_stored: impl Fn(u64) -> bool,
        state: impl FnOnce() -> (TreeWriter, Summary),
    ) {
        if pack == self.pack || self.past.iter().any(|step| step.pack == pack) || is_stored(pack) {
            return;
        }
        while self.past.get(1).is_some_and(|next| is_stored(next.pack)) {
            self.past.pop_front();
        }
        let (tree, summary) = state();
        self.past.push_back(Step { pack: self.pack, tree, summary });
        self.pack = pack;
    }

    /// To be called when all entries are written.
    pub(super) fn end(&mut self, tree: TreeWriter, summary: Summary) {
        self.past.push_back(Step { pack: self.pack, tree, summary });
    }

    /// Ends a pass whose data was given up in part: the catalogue of the entries of which everything is stored. Order: data packs were stored before,
    /// the catalogue's are now, then the index.
    ///
    /// # Errors
    /// `Interrupted` when no file is stored whole.
    pub(super) fn keep_what_is_stored(self, context: &Context<'_>, problems: u64) -> Result<(Outcome, WriterReport)> {
        let writer = context.writer;
        writer.let_go()?;
        let step = self.past.into_iter().take_while(|step| writer.is_stored(step.pack)).last();
        let Some(step) = step.filter(|step| step.summary.total_files_processed > 0) else {
            // What is stored is indexed all the same, so that the next run need not send it again.
            writer.finish()?;
            return Err(Error::new(
                ErrorKind::Interrupted,
                "stopped before the store had taken the whole of a file; no snapshot was made",
            )
            .with_hint("run it again: what the store has taken is not sent again"));
        };
        let root = step.tree.finish(&mut |page| store_page(context, page))?;
        let report = writer.finish()?;
        let text = "stopped before the store had taken all that was read; the snapshot ends where that is missing";
        context.watch.observer.on(&Event::Note { text });
        Ok((Outcome { root, summary: step.summary, problems, sparse: Vec::new() }, report))
    }
}
