//! What nobody will ever look at again is cleared, and steps that nobody can notice are taken at once, so that states which differ in nothing else are one.
//!
//! Each says why no later step, of anybody, and no check can tell the difference; [`Setup::difference`] looks whether that is true. Most holds only because names
//! are never used twice, so that worlds in which everything may be stored again ([`Setup::again`]) are left alone.

use super::forget::{Forget, Step as ForgetStep};
use super::prune::Step as PruneStep;
use super::setup::{Setup, Shortcut};
use super::state::{
    INITIAL_PACKS, PACKS, Packs, Prune, SELF, SNAPSHOTS, State, WRITERS, bit, bits, blobs, in_packs, places,
};
use super::writer::Step as WriterStep;

impl State {
    /// This state, or one from which the same can happen.
    #[must_use]
    pub(crate) fn normal(&self, setup: &Setup) -> Self {
        let mut state = *self;
        if setup.again {
            return state;
        }
        // What is cleared may be the last that something else was kept for.
        loop {
            let before = state;
            state.clear_sessions(setup);
            state.clear_forgotten(setup);
            state.clear_packs(setup);
            for number in 0..state.writers.len() {
                state.clear_writer(setup, number);
            }
            for number in 0..setup.prunes {
                state.clear_prune(setup, number);
                state.take_silent_steps(setup, number);
            }
            if state == before {
                return state;
            }
        }
    }

    /// Snapshots that forgotten records of the prunes name are hidden wherever anybody lists.
    fn clear_forgotten(&mut self, setup: &Setup) {
        self.recorded &= !self.forgotten;
        // In a world where reading takes time, who listed a snapshot before it was hidden looks for it once more.
        for snapshot in bits(self.forgotten).filter(|_| !setup.reading) {
            let Some(writer) = self.writers.get_mut(snapshot) else {
                self.snapshots &= !bit(snapshot);
                continue;
            };
            if writer.step <= WriterStep::Await {
                continue;
            }
            self.snapshots &= !bit(snapshot);
            writer.sent = false;
            let looked_for = writer.step <= WriterStep::MarkSelf;
            let listed = |prune: &Prune| prune.step <= PruneStep::Survey && prune.before & bit(snapshot) != 0;
            if !looked_for && !self.prunes.iter().any(listed) {
                self.suspect[snapshot] = 0;
                self.prunes.iter_mut().for_each(|prune| prune.whole &= !bit(snapshot));
            }
        }
        // What is listed, and cannot be removed, cannot land once more.
        let removable = self.removable(setup);
        for (number, writer) in self.writers.iter_mut().enumerate() {
            if writer.step >= WriterStep::Await && self.snapshots & !removable & bit(number) != 0 {
                writer.sent = false;
            }
        }
        // What is not listed, and cannot land, need not be removed.
        let lands =
            self.writers.iter().enumerate().filter(|(_, writer)| writer.sent || writer.step <= WriterStep::Await);
        let there = lands.fold(self.snapshots, |there, (number, _)| there | bit(number));
        for forget in self.forgets.iter_mut().filter(|forget| forget.step == ForgetStep::Remove) {
            if forget.snapshot & there == 0 {
                *forget = Forget { step: ForgetStep::Done, snapshot: 0 };
            }
        }
    }

    /// Snapshots that a forget may yet remove.
    fn removable(&self, setup: &Setup) -> u8 {
        self.forgets.iter().take(setup.forgets).fold(0, |set, forget| match forget.step {
            ForgetStep::Record => set | !self.removed,
            ForgetStep::Remove => set | forget.snapshot,
            ForgetStep::Done => set,
        })
    }

    /// A session that ended by its snapshot has ended for ever: what removes the snapshot has recorded that before.
    fn clear_sessions(&mut self, setup: &Setup) {
        let listed = if setup.takes(Shortcut::ForgetWithoutRecord) { 0 } else { self.snapshots };
        self.sessions &= !(listed | self.recorded | self.forgotten);
        // Nobody registers twice, so that only sessions that are there now can ever be waited for.
        let sessions = self.sessions;
        self.waits.iter_mut().flatten().for_each(|waits| *waits &= sessions);
        for prune in &mut self.prunes {
            prune.wait &= sessions;
            prune.adopted_waits.iter_mut().for_each(|waits| *waits &= sessions);
        }
        // Who marked a session does not matter.
        self.suspect.iter_mut().for_each(|marks| *marks = if *marks == 0 { 0 } else { bit(SELF) });
        for (number, writer) in self.writers.iter_mut().enumerate() {
            let is_over = self.sessions & bit(number) == 0;
            if is_over && writer.step == WriterStep::End {
                writer.step = WriterStep::Done;
            }
            // Without a session, and without a snapshot that might land, a marker is about nothing.
            let lands = writer.sent || self.snapshots & bit(number) != 0;
            if is_over && !lands && writer.step > WriterStep::End {
                self.suspect[number] = 0;
            }
        }
    }

    /// Packs that are gone, or that no index names and none ever will.
    fn clear_packs(&mut self, setup: &Setup) {
        if !keeps_places(setup) {
            return;
        }
        // Who lists the tombstones from now on finds those that there are; who listed them before opens the index without.
        let reads = |step| {
            let other_order = setup.takes(Shortcut::DroppedListedBeforeCondemned);
            step == WriterStep::OpenIndex || other_order && step == WriterStep::ListCondemned
        };
        let unaware = self.writers.iter().filter(|writer| reads(writer.step));
        let gone = unaware.fold(self.dropped, |gone, writer| gone & writer.absent);
        self.segments &= !u16::from(gone);
        let is_nameless = |pack: &usize| self.segments >> pack & 1 == 0 && !self.may_be_named(setup, *pack);
        let nameless = (0..PACKS).filter(is_nameless).fold(0, |set, pack| set | bit(pack));
        self.contents &= !in_packs(gone | nameless);
        if !self.lists_packs(setup) {
            self.packs &= !(gone | nameless);
        }
    }

    /// Whether packs that no index names may yet be noticed: only the first listing of a prune shows them.
    fn lists_packs(&self, setup: &Setup) -> bool {
        self.prunes.iter().take(setup.prunes).any(|prune| prune.step == PruneStep::ListBefore)
    }

    /// Whether somebody may yet store the index segment of a pack.
    fn may_be_named(&self, setup: &Setup, pack: usize) -> bool {
        let Some(number) = pack.checked_sub(INITIAL_PACKS) else { return false };
        if let Some(writer) = self.writers.get(number) {
            let is_there = number < setup.writers.len();
            return is_there && (writer.step <= WriterStep::StoreSegment || writer.step == WriterStep::LandSegment);
        }
        let number = number - WRITERS;
        let late = setup.takes(Shortcut::OldDroppedBeforeNewStored);
        let prune = &self.prunes[number];
        number < setup.prunes && (prune.step <= PruneStep::StoreSegment || late && prune.step != PruneStep::Done)
    }

    fn clear_writer(&mut self, setup: &Setup, number: usize) {
        let is_noticed = self.lists_packs(setup) || !keeps_places(setup);
        let writer = &mut self.writers[number];
        match writer.step {
            // What is sent is noticed when it lands.
            WriterStep::Publish => (writer.step, writer.sent) = (WriterStep::Await, true),
            WriterStep::LandPacks if !is_noticed => writer.step = WriterStep::Done,
            _ => {}
        }
        let step = writer.step;
        // What is missing is stored in packs; the segment tells what the packs hold.
        if !matches!(step, WriterStep::ListSnapshots | WriterStep::StorePacks | WriterStep::LandPacks) {
            writer.missing = 0;
        }
        if step > WriterStep::OpenIndex {
            writer.absent = 0;
        }
        if step > WriterStep::ListSnapshots || !setup.parent {
            writer.wary = false;
        }
        if step > WriterStep::DeleteSuperseded {
            writer.known = 0;
        }
        // Nothing was promised of what the user removed.
        writer.reported &= self.removed & bit(number) == 0;
    }

    fn clear_prune(&mut self, setup: &Setup, number: usize) {
        // These take the steps in another order.
        if setup.takes(Shortcut::OldDroppedBeforeNewStored) || setup.takes(Shortcut::SegmentsRewritten) {
            return;
        }
        let mut prune = self.prunes[number];
        prune.forgotten &= !self.forgotten;
        if prune.step > PruneStep::Survey && prune.step <= PruneStep::Decide {
            clear_plan(setup, &mut prune, number);
        } else if prune.step > PruneStep::Decide {
            (prune.victims, prune.copies) = (0, 0);
            // Only what was forgotten and not listed any more gets into a dropped record.
            prune.forgotten &= !prune.since;
            prune.since = 0;
        }
        // Packs that are gone, or as good as gone, need not be deleted; a record that says nothing new need not land; where no marker is left, none is removed.
        if prune.step == PruneStep::DeletePacks && prune.doomed & self.packs == 0 {
            (prune.step, prune.doomed) = (PruneStep::Uncondemn, 0);
        }
        if prune.step == PruneStep::Uncondemn {
            prune.forgotten = 0;
        }
        let has_landed = self.dropped | prune.doomed == self.dropped && prune.forgotten == 0;
        let has_cleared = prune.step == PruneStep::ClearSuspect && prune.whole == 0;
        if prune.step == PruneStep::LandDrop && has_landed || has_cleared {
            prune = Prune { step: PruneStep::Done, ..Prune::default() };
        }
        self.prunes[number] = prune;
    }

    /// Steps that are the only one which a prune can take, and that change nothing which others look at.
    fn take_silent_steps(&mut self, setup: &Setup, number: usize) {
        if setup.takes(Shortcut::OldDroppedBeforeNewStored) || setup.takes(Shortcut::SegmentsRewritten) {
            return;
        }
        let mut prune = self.prunes[number];
        if prune.step == PruneStep::StorePacks && !self.lists_packs(setup) {
            let pack = Setup::copies_pack(number);
            self.packs |= bit(pack);
            self.contents |= places(pack, prune.copies);
            prune.step = PruneStep::StoreSegment;
        }
        // Only who takes over what others condemned reads whom they wait for.
        if prune.step == PruneStep::StoreWaits && !setup.adopt {
            prune.step = PruneStep::AwaitSessions;
        }
        // Sessions that have ended do not begin again.
        if prune.step == PruneStep::AwaitSessions && prune.wait == 0 {
            prune.step = PruneStep::LookCondemned;
        }
        if prune.step > PruneStep::AwaitSessions {
            prune.adopted_waits = None;
        }
        // What nobody will list need not be there.
        if !self.condemned_is_read(setup, number) && prune.step > PruneStep::Condemn {
            self.condemned[number] = 0;
            if prune.step == PruneStep::Uncondemn {
                let after = if prune.whole == 0 { PruneStep::Done } else { PruneStep::ClearSuspect };
                prune = Prune { step: after, whole: prune.whole, ..Prune::default() };
            }
        }
        self.prunes[number] = prune;
    }

    /// Whether somebody may yet look what this prune has condemned: who takes such packs over looks again and again.
    fn condemned_is_read(&self, setup: &Setup, number: usize) -> bool {
        let other_order = setup.takes(Shortcut::DroppedListedBeforeCondemned);
        let listed = if other_order { WriterStep::OpenIndex } else { WriterStep::ListDropped };
        let writer_reads = self.writers.iter().take(setup.writers.len()).any(|writer| writer.step < listed);
        let prunes = self.prunes.iter().take(setup.prunes).enumerate();
        let prune_reads =
            prunes.filter(|(other, _)| *other != number).any(|(_, prune)| prune.step <= PruneStep::LookCondemned);
        setup.adopt || setup.merge || writer_reads || prune_reads
    }
}

/// Whether a pack is named by its own segment alone: a merge carries places into others, and a listing that lies hides those that supersede them.
fn keeps_places(setup: &Setup) -> bool {
    !(setup.merge || setup.lies || setup.takes(Shortcut::SegmentsRewritten))
}

/// Between the plan and the decision.
fn clear_plan(setup: &Setup, prune: &mut Prune, number: usize) {
    let has_looked = prune.step > PruneStep::LookIndex;
    // From now on the index tells which blobs are in victims that may be kept for it, and which blobs there are at all. The latter are noted as if they were in
    // the pack of the own copies, which is never a victim.
    let of_interest: Packs = if has_looked { prune.doomed } else { prune.victims };
    let named = prune.index & in_packs(of_interest);
    let known = blobs(prune.index);
    prune.index = named | places(Setup::copies_pack(number), known & !blobs(named));
    if has_looked {
        (prune.victims, prune.copies) = (0, 0);
    } else if prune.step == PruneStep::LookIndex && prune.whole == 0 {
        let own = if prune.copies == 0 { 0 } else { bit(Setup::copies_pack(number)) };
        prune.others &= prune.relied[0] | prune.relied[1] | own;
    }
    // A snapshot that needs nothing but what was in use before, and what the index names, decides nothing, whether it is new or not.
    let used = (0..SNAPSHOTS)
        .filter(|snapshot| prune.before & bit(*snapshot) != 0)
        .fold(0, |used, snapshot| used | setup.needs(snapshot));
    for snapshot in 0..SNAPSHOTS {
        if setup.needs(snapshot) & !(used & known) == 0 {
            prune.before |= bit(snapshot);
        }
    }
}
