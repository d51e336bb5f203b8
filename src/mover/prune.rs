//! `prune`: removes what no snapshot needs any more.

use super::failure::Failure;
use super::run::Run;
use crate::error::{ErrorKind, Result};
use crate::maintenance::{self, PruneOptions, PrunePlan, PruneReport};
use crate::repo::Repository;
use crate::size::ByteSize;

/// Plans that are made before what is missing counts as lost.
const ATTEMPTS: usize = 4;

impl Run<'_> {
    pub(super) fn prune(&self) -> Result<(), Failure> {
        self.log.say("=== Starting prune ===");
        let repository = self.open()?;
        let report = match self.prune_beside_others(repository) {
            // What a person has to look at. The volume is saved all the same, and a job that fails is started again and again.
            Err(error) if error.kind() == ErrorKind::Refused && !self.job.strict => {
                self.log.say(&format!("ERROR: nothing was pruned: {}", error.chain()));
                return Ok(());
            }
            report => report.map_err(|error| Failure::of("the prune", error))?,
        };
        for id in &report.incomplete_snapshots {
            let id = id.get(..8).unwrap_or(id);
            self.log.say(&format!("snapshot {id} is marked as suspect and lacks something; see `volvault check`"));
        }
        let (packs, size) = (report.deleted_packs.count, ByteSize(report.deleted_packs.bytes));
        let waiting = match report.pending_packs {
            0 => String::new(),
            packs => format!(", {packs} packs wait for runs that began before"),
        };
        let copied = ByteSize(report.copied.bytes);
        self.log.say(&format!("successfully pruned: deleted {packs} packs, {size}; copied {copied}{waiting}"));
        Ok(())
    }

    /// Where a repository is shared, another pod's prune may remove what this one is about to rewrite: then there is a new plan to make.
    fn prune_beside_others(&self, repository: &Repository) -> Result<PruneReport> {
        let options = PruneOptions::default();
        let once =
            || self.watched(|watch| maintenance::prune(repository, &options, watch, &mut |plan| self.tell_plan(plan)));
        for _ in 1..ATTEMPTS {
            match once() {
                Err(error) if error.kind() == ErrorKind::NotFound && !self.stop.requested() => {
                    self.log.say(&format!("another prune was at work, so this one looks again: {}", error.chain()));
                }
                report => return report,
            }
        }
        once()
    }

    fn tell_plan(&self, plan: &PrunePlan) {
        let (freed, used) = (ByteSize(plan.freed()), ByteSize(plan.used.bytes));
        self.log.say(&format!("of {} snapshots; {used} are in use, {freed} will be freed", plan.snapshots));
    }
}
