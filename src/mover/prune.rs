//! `prune`: removes what no snapshot needs any more.
//!
//! The volume is saved by then. What only another prune may do, or a person, is no failure of the job, because a job that fails is started again and again, for
//! ever: it is said, and the next prune, when VolSync finds it due, looks again. Where the store does not answer, the job fails, and is tried again.

use super::failure::Failure;
use super::run::Run;
use crate::error::{Error, ErrorKind, Result};
use crate::events::Stop;
use crate::maintenance::{self, PruneOptions, PrunePlan, PruneReport};
use crate::repo::Repository;
use crate::size::ByteSize;

/// Plans that are made before what is missing counts as lost, and before the job gives way to others.
const ATTEMPTS: usize = 4;

impl Run<'_> {
    pub(super) fn prune(&self) -> Result<(), Failure> {
        self.log.say("=== Starting prune ===");
        let repository = self.open()?;
        let report = match self.prune_beside_others(repository) {
            Err(error) if is_for_another_time(&error) && !self.job.strict => {
                self.log.say(&format!("ERROR: nothing was pruned: {}", error.chain()));
                self.note(|numbers| numbers.prune_refused = Some(true));
                return Ok(());
            }
            report => report.map_err(|error| Failure::of("the prune", error))?,
        };
        self.note(|numbers| numbers.prune_refused = Some(false));
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

    fn prune_beside_others(&self, repository: &Repository) -> Result<PruneReport> {
        let options = PruneOptions::default();
        let once =
            || self.watched(|watch| maintenance::prune(repository, &options, watch, &mut |plan| self.tell_plan(plan)));
        let again = |error: &Error| {
            self.log.say(&format!("others were at work, so this prune looks again: {}", error.chain()));
        };
        persist(once, again, self.stop)
    }

    fn tell_plan(&self, plan: &PrunePlan) {
        let (freed, used) = (ByteSize(plan.freed()), ByteSize(plan.used.bytes));
        self.log.say(&format!("of {} snapshots; {used} are in use, {freed} will be freed", plan.snapshots));
    }
}

/// Where a repository is shared, another pod's prune may remove what this one is about to rewrite, and a store may show less than it holds for a moment: then
/// there is a new plan to make.
fn persist<R>(mut once: impl FnMut() -> Result<R>, again: impl Fn(&Error), stop: &Stop) -> Result<R> {
    for _ in 1..ATTEMPTS {
        match once() {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Changed) && !stop.requested() => {
                again(&error);
            }
            outcome => return outcome,
        }
    }
    once()
}

/// Others are at work all the time, or a person has to look.
fn is_for_another_time(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Changed | ErrorKind::Refused)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// What comes of errors of this kind, the first `errors` times, and how many attempts were made.
    fn tried(kind: ErrorKind, errors: usize, stop: &Stop) -> (Result<()>, usize) {
        let (tries, said) = (Cell::new(0), Cell::new(0));
        let once = || {
            tries.set(tries.get() + 1);
            if tries.get() <= errors { Err(Error::new(kind, "prune")) } else { Ok(()) }
        };
        let outcome = persist(once, |_| said.set(said.get() + 1), stop);
        assert_eq!(said.get() + 1, tries.get(), "each further attempt is said");
        (outcome, tries.get())
    }

    #[test]
    fn a_prune_that_others_have_overtaken_looks_again_and_gives_way_in_the_end() {
        let stop = Stop::new();
        for kind in [ErrorKind::NotFound, ErrorKind::Changed] {
            for errors in 0..ATTEMPTS {
                let (outcome, tries) = tried(kind, errors, &stop);
                assert!(outcome.is_ok() && tries == errors + 1, "{kind:?} {errors}");
            }
            let (outcome, tries) = tried(kind, usize::MAX, &stop);
            assert!(tries == ATTEMPTS, "{kind:?}");
            assert_eq!(is_for_another_time(&outcome.unwrap_err()), kind == ErrorKind::Changed, "{kind:?}");
        }
        for kind in [ErrorKind::Unavailable, ErrorKind::Refused, ErrorKind::Corrupt, ErrorKind::Interrupted] {
            let (outcome, tries) = tried(kind, usize::MAX, &stop);
            assert!(tries == 1, "{kind:?}");
            assert_eq!(is_for_another_time(&outcome.unwrap_err()), kind == ErrorKind::Refused, "{kind:?}");
        }
        stop.request();
        assert_eq!(tried(ErrorKind::Changed, 1, &stop).1, 1, "whoever is told to stop stops");
    }
}
