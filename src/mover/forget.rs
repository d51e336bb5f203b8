//! Forgetting after a backup: in the session of the backup, and only among snapshots of the same source.

use super::failure::Failure;
use super::job::FORGET_OPTIONS;
use super::run::Run;
use crate::error::Result;
use crate::maintenance::{self, ForgetReport};
use crate::repo::{Fact, Session, Snapshot};
use crate::retention::Policy;

impl Run<'_> {
    /// Forgets by the job's policy. `newest` is the snapshot that was just stored, which the session did not see when it began; what others stored
    /// meanwhile stays. A policy that keeps nothing is refused here and not before: as in the script, the volume is saved first.
    pub(super) fn forget(&self, session: &Session<'_>, newest: Option<&Snapshot>) -> Result<(), Failure> {
        let Some(policy) = &self.job.saving.policy else { return Ok(()) };
        self.log.say("=== Starting forget ===");
        if policy.is_empty() {
            return Err(Failure::new(
                1,
                format!("{FORGET_OPTIONS} keeps nothing; the volume is saved, nothing was forgotten"),
            )
            .with_hint("keep at least one snapshot: set spec.restic.retain, or leave it out"));
        }
        self.log.say(&format!("Applying Policy: {policy}"));
        let (kept, report) = self.apply(session, newest, policy).map_err(|error| Failure::of("forgetting", error))?;
        self.note(|numbers| numbers.snapshots = u64::try_from(kept).ok());
        for (id, error) in &report.not_removed {
            self.log.say(&format!("unable to remove snapshot {}: {}", id.short(), error.chain()));
        }
        if !report.not_removed.is_empty() {
            return Err(Failure::new(3, format!("{} snapshots could not be removed", report.not_removed.len())));
        }
        match report.removed {
            0 => self.log.say(&format!("no snapshots to remove, {kept} kept")),
            removed => self.log.say(&format!("successfully removed {removed} snapshots, {kept} kept")),
        }
        Ok(())
    }

    fn apply(
        &self,
        session: &Session<'_>,
        newest: Option<&Snapshot>,
        policy: &Policy,
    ) -> Result<(usize, ForgetReport)> {
        let source = session.repo().keys().source_id(self.job.host.as_bytes(), &self.paths());
        let (mut facts, unreadable) = session.facts(&source, !policy.tags.is_empty())?;
        for (name, error) in &unreadable {
            self.log.say(&format!("ignoring snapshot {}: {}", name.id.short(), error.chain()));
        }
        let new = newest.map(|snapshot| snapshot.id);
        facts.extend(newest.map(Fact::of));
        facts.sort_by_key(|fact| std::cmp::Reverse(fact.time));
        let mut going = maintenance::removed_of_source(session, &facts, policy)?;
        // Where the clock went back, a policy may keep older snapshots in place of the one just made: it stays all the same.
        going.retain(|id| Some(*id) != new);
        let report = maintenance::forget(session, &going, &policy.to_string())?;
        Ok((facts.len() - going.len(), report))
    }
}
