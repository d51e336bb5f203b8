//! Removes what no snapshot needs, beside any number of other runs. The protocol is that of `docs/format.md` section 11, and the steps have the
//! names of its model.
//!
//! Order: copies and their index (`store_packs`, `store_segment`); `condemn`; `await_sessions`; the second look (`list_snapshots`, `list_condemned`,
//! `open_index`, `decide`); `drop`; `delete_packs`; the index without what was dropped; `uncondemn`. Stopped anywhere, it has lost nothing, and
//! the next prune goes on from there.
//!
//! Memory: 10 bytes and a bit for each place of a blob (12 while the table is made), the filters of the index where blobs are looked up (2 bytes each), 34 for
//! each catalogue page (and 40 for those of one level that are noted), a few MiB for notes, 300 for each pack and 300 more for one that goes, and
//! up to 90 MiB for packs that are being written.

mod choose;
mod history;
mod mark;
mod noted;
mod notes;
mod options;
mod repack;
mod report;
mod rows;
mod survey;
mod usage;

pub use options::{MaxUnused, PruneOptions};
pub use report::{Amount, PrunePlan, PruneReport};

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::events::{Event, Progress, Watch};
use crate::id::{BlobId, ObjectHash, SessionId};
use crate::repo::{Gone, Listing, Other, Repository, SeenByPrunes, Session, SessionKind, SnapshotName};

use mark::Marker;
use repack::{Relied, repack};
use survey::{Before, Survey, survey};
use usage::Usage;

/// Forgotten snapshots (35 bytes each) that one prune adds to a dropped record beside its packs; more are for the next.
const FORGOTTEN_AT_ONCE: usize = 5000;

/// Time between two looks at who is still at work.
const POLL: Duration = Duration::from_millis(500);

/// Makes the plan, hands it to `planned`, and unless it is a dry run carries it out.
///
/// # Errors
/// Before anything is removed: when the index or a snapshot cannot be read, when a snapshot needs what is not there, when snapshots vanished that nobody forgot,
/// when more than half of the packs would go without a reason, or `Interrupted`. `Changed` when others were at work, or a listing did not show all: another prune may
/// do it. Errors of the store at any time; the next prune goes on.
pub fn prune(
    repo: &Repository,
    options: &PruneOptions,
    watch: &Watch<'_>,
    planned: &mut dyn FnMut(&PrunePlan),
) -> Result<PruneReport> {
    repo.config().check_maintainable()?;
    let before = Before::look(repo)?;
    let session = if options.dry_run { repo.observe()? } else { repo.maintain_session()? };
    let outcome = run(&session, &before, options, watch, planned);
    session.end(if outcome.is_ok() { "done" } else { "failed" });
    outcome
}

/// Only makes the plan, as it will be once the snapshots `without` have been forgotten.
pub fn prune_without(
    repo: &Repository,
    without: &BTreeSet<SessionId>,
    options: &PruneOptions,
    watch: &Watch<'_>,
    planned: &mut dyn FnMut(&PrunePlan),
) -> Result<PruneReport> {
    let before = Before::look(repo)?.without(without);
    // No record says of these snapshots that they were forgotten, and nothing is removed that a guard could keep.
    let options = PruneOptions { dry_run: true, force: true, ..*options };
    run(&repo.observe()?, &before, &options, watch, planned)
}

fn run(
    session: &Session<'_>,
    before: &Before,
    options: &PruneOptions,
    watch: &Watch<'_>,
    planned: &mut dyn FnMut(&PrunePlan),
) -> Result<PruneReport> {
    let mut survey = survey(session, before, options, watch)?;
    planned(&survey.plan);
    let mut report = PruneReport {
        plan: survey.plan.clone(),
        dry_run: options.dry_run,
        incomplete_snapshots: survey.suspect.iter().filter(|(_, whole)| !whole).map(|(id, _)| id.to_hex()).collect(),
        ..PruneReport::default()
    };
    if options.dry_run {
        return Ok(report);
    }
    let mut relied = Relied::default();
    if !survey.repack.is_empty() {
        step(watch, "rewriting packs")?;
        relied = repack(session, &survey, options.max_time, watch)?;
        (report.copied.count, report.copied.bytes) = relied.copied;
        survey.victims.retain(|name, _| !relied.left.contains(name));
    }
    step(watch, "removing packs")?;
    let removal = Removal { session, before, survey, relied, gone_since: HashSet::new(), options, watch };
    removal.run(&mut report)?;
    Ok(report)
}

/// The second half of a prune.
struct Removal<'r> {
    session: &'r Session<'r>,
    before: &'r Before,
    survey: Survey,
    relied: Relied,
    /// Snapshots that the second look listed, and that were gone when they were to be read.
    gone_since: HashSet<SessionId>,
    options: &'r PruneOptions,
    watch: &'r Watch<'r>,
}

/// Whom the prune waits for.
struct Waiting {
    /// The state when the wait began.
    since: Listing,
    /// Runs that are still at work.
    left: BTreeSet<SessionId>,
    /// Runs that were given up.
    marked: BTreeSet<SessionId>,
}

impl Removal<'_> {
    fn run(mut self, report: &mut PruneReport) -> Result<()> {
        if self.survey.finds_nothing_to_do(self.session) {
            // Nothing is removed, so what others do meanwhile cannot matter.
            let nobody =
                Waiting { since: self.session.listing().clone(), left: BTreeSet::new(), marked: BTreeSet::new() };
            return self.tidy(self.session, &nobody, &HashSet::new());
        }
        // condemn
        let mut own = self.condemn()?;
        // await_sessions
        let waiting = self.await_sessions(&mut own)?;
        report.given_up = waiting.marked.len() as u64;
        // list_snapshots, list_condemned, list_dropped, open_index
        let now = self.session.repo().observe()?;
        // decide
        let spared = self.decide(&now)?;
        // The table of places is the largest part of our memory. It has been asked for the last time.
        self.survey.usage = Usage::default();
        let mut dropped = self.ripe(&waiting);
        let pending = self.survey.victims.len() - dropped.len();
        dropped.retain(|name| !spared.contains(name));
        // drop
        self.still_condemned(&now)?;
        if !dropped.is_empty() || self.settled_losses(&waiting).next().is_some() {
            self.drop_packs(&dropped, &now, &waiting)?;
        }
        // delete_packs
        self.delete_packs(&dropped, report)?;
        let gone: HashSet<ObjectHash> = now.gone().packs.iter().chain(&dropped).copied().collect();
        report.index_segments = self.session.rewrite_index(&gone)? as u64;
        // uncondemn
        report.spared_packs = spared.len() as u64;
        report.pending_packs = pending as u64;
        report.waits_for = if report.pending_packs > 0 { waiting.left.len() as u64 } else { 0 };
        if report.pending_packs > 0 {
            own.clear();
        }
        for condemned in self.adopted_records(&now) {
            if condemned.packs.iter().all(|name| gone.contains(name)) {
                own.extend(condemned.keys.iter().cloned());
            }
        }
        self.session.remove_records(own)?;
        self.tidy(&now, &waiting, &dropped)
    }

    /// Returns the keys of the records.
    fn condemn(&self) -> Result<Vec<String>> {
        let mut packs: Vec<ObjectHash> = self.survey.victims.keys().copied().collect();
        packs.sort_unstable();
        self.session.condemn(&packs)
    }

    /// Looks who is at work, and waits for those who may not know what was condemned.
    fn await_sessions(&self, own: &mut Vec<String>) -> Result<Waiting> {
        let since = self.session.repo().listing()?;
        let mut waiting = Waiting { left: self.at_work(&since)?, since, marked: BTreeSet::new() };
        if self.survey.victims.is_empty() {
            return Ok(waiting);
        }
        if !waiting.left.is_empty() {
            own.push(self.session.store_waits(&waiting.left)?);
        }
        let mut polls = self.options.wait.as_millis() / POLL.as_millis();
        let mut listing = waiting.since.clone();
        loop {
            for other in self.session.others(&listing)? {
                // mark_stale
                if waiting.left.contains(&other.id) && is_over(&other, self.options) {
                    self.session.mark_stale(other.id)?;
                    waiting.left.remove(&other.id);
                    waiting.marked.insert(other.id);
                }
            }
            let at_work = self.at_work(&listing)?;
            waiting.left.retain(|id| at_work.contains(id));
            if waiting.left.is_empty() || polls == 0 || self.watch.stop.requested() {
                return Ok(waiting);
            }
            polls -= 1;
            self.session.repo().pause(POLL);
            listing = self.session.repo().listing()?;
        }
    }

    /// The runs that a prune has to wait for. Other prunes are none: what they rely on, they have condemned the rest of.
    fn at_work(&self, listing: &Listing) -> Result<BTreeSet<SessionId>> {
        let others = self.session.others(listing)?;
        let counts = |other: &Other| other.kind != Some(SessionKind::Maintain) && !listing.suspect.contains(&other.id);
        Ok(others.into_iter().filter(counts).map(|other| other.id).collect())
    }

    /// The packs that every run knows to be condemned.
    fn ripe(&self, waiting: &Waiting) -> HashSet<ObjectHash> {
        if waiting.left.is_empty() {
            return self.survey.victims.keys().copied().collect();
        }
        let mut ripe = HashSet::new();
        for condemned in self.adopted_records(self.session) {
            // A run that came after they were condemned has seen that they are.
            let is_ripe = condemned.waits.as_ref().is_some_and(|waits| waits.is_disjoint(&waiting.left));
            if is_ripe {
                ripe.extend(condemned.packs.iter().filter(|name| self.survey.victims.contains_key(*name)));
            }
        }
        ripe
    }

    fn adopted_records<'s>(&'s self, session: &'s Session<'_>) -> impl Iterator<Item = &'s crate::repo::Condemned> {
        let adopted = &self.survey.adopted;
        session.condemned().iter().filter(|(prune, _)| adopted.contains(prune)).map(|(_, condemned)| condemned)
    }

    /// The packs that must stay, because of what others did since the survey.
    fn decide(&mut self, now: &Session<'_>) -> Result<HashSet<ObjectHash>> {
        let mut spared: HashSet<ObjectHash> = HashSet::new();
        let others = now
            .condemned()
            .iter()
            .filter(|(prune, _)| **prune != self.session.id() && !self.survey.adopted.contains(prune));
        let mut unreliable: HashSet<ObjectHash> =
            others.flat_map(|(_, condemned)| condemned.packs.iter().copied()).collect();
        // Another prune may rely on a pack that no index named when this one looked, and a listing that lies may hide for a second time what names it.
        if !unreliable.is_empty() || now.gone().packs != self.session.gone().packs {
            spared.extend(&self.survey.orphans);
        }
        unreliable.extend(&now.gone().packs);
        unreliable.extend(self.lost_since()?);
        let relied = &self.relied;
        spared.extend(relied.on.iter().filter(|(on, _)| unreliable.contains(on)).map(|(_, victim)| *victim));
        if relied.new.iter().any(|name| unreliable.contains(name)) {
            spared.extend(&relied.copied_from);
        }
        let known = &self.survey.read;
        let is_new = now.listing().segments.iter().any(|(name, _)| !known.contains(name));
        if is_new {
            let newer = survey::table(now, self.before, known)?.usage;
            // A listing that lied, or a merge that hid something for a moment: a pack was weighed without what it holds. Merges tell of no new
            // place, and new backups of none in a victim, so this spares nothing when all is well.
            spared.extend(self.survey.usage.not_known_from(&newer));
            spared.extend(
                newer.packs().iter().map(|info| info.pack.name).filter(|name| self.survey.orphans.contains(name)),
            );
            self.survey.usage.set_newer(newer);
        }
        // A marked snapshot may be whole and have been reported: what of it could not be read may have been moved by another prune just then.
        let is_unsure = self.survey.suspect.iter().any(|(_, is_whole)| !is_whole);
        if is_unsure && now.gone().packs != self.session.gone().packs {
            return Err(overtaken());
        }
        self.spare_for_new_snapshots(now, &mut spared)?;
        spared.retain(|name| self.survey.victims.contains_key(name));
        Ok(spared)
    }

    fn spare_for_new_snapshots(&mut self, now: &Session<'_>, spared: &mut HashSet<ObjectHash>) -> Result<()> {
        // One that could not be read when the plan was made, or not as a whole, is new when it is there again.
        let partial = |id: &SessionId| self.survey.suspect.iter().any(|(known, is_whole)| known == id && !is_whole);
        let read = |id: &SessionId| !self.survey.vanished.contains(id) && !partial(id);
        let known: HashSet<SessionId> = self.before.snapshots.iter().map(|name| name.id).filter(read).collect();
        let new: Vec<&SnapshotName> = now.snapshots().iter().filter(|name| !known.contains(&name.id)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let needed: Mutex<HashSet<ObjectHash>> = Mutex::default();
        let (usage, victims) = (&self.survey.usage, &self.survey.victims);
        let fresh = |id: &BlobId| {
            let names =
                usage.places(id).filter_map(|number| usage.packs().get(number as usize)).map(|info| info.pack.name);
            needed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(names.filter(|name| victims.contains_key(name)));
        };
        let marker = Marker::new(now, usage, self.watch, &fresh).knowing(std::mem::take(&mut self.survey.seen));
        let looked = marker.look(&new)?;
        self.gone_since = looked.vanished;
        if let Some((snapshot, error)) = looked.lost.into_iter().next() {
            return Err(error
                .within(format!(
                    "snapshot {}, which is new, needs what is not there; nothing was removed",
                    snapshot.short()
                ))
                .with_hint("run `volvault check`"));
        }
        let is_unsure = looked.suspect.iter().any(|(_, is_whole)| !is_whole);
        if is_unsure && self.session.repo().observe()?.gone().packs != now.gone().packs {
            return Err(overtaken());
        }
        spared.extend(needed.into_inner().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }

    /// Packs that are not there and that nobody needs: their names go, so that nobody builds on them. Not while somebody might, who could still
    /// be helped by a copy.
    fn settled_losses(&self, waiting: &Waiting) -> impl Iterator<Item = &ObjectHash> {
        let is_settled = waiting.left.is_empty() && self.survey.suspect.iter().all(|(_, is_whole)| *is_whole);
        self.survey.lost.iter().filter(move |_| is_settled)
    }

    /// Somebody may have taken our record away, and others build on these packs again.
    fn still_condemned(&self, now: &Session<'_>) -> Result<()> {
        let own = now.condemned().get(&self.session.id());
        if self.survey.victims.keys().all(|name| own.is_some_and(|own| own.packs.contains(name))) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Changed,
            "what this prune has condemned is not condemned any more; nothing was removed",
        )
        .with_hint("somebody removed its record: run it again"))
    }

    /// Packs on which repacking relied, and that are not there any more as they were.
    fn lost_since(&self) -> Result<HashSet<ObjectHash>> {
        let relied: HashSet<ObjectHash> = self.relied.on.iter().map(|(on, _)| *on).collect();
        if relied.is_empty() {
            return Ok(relied);
        }
        let stored = self.session.repo().stored_packs()?.packs;
        let stored: HashMap<ObjectHash, u64> = stored.into_iter().map(|pack| (pack.name, pack.size)).collect();
        let size = |name: &ObjectHash| {
            let known =
                self.survey.usage.number(name).and_then(|number| self.survey.usage.packs().get(number as usize));
            known.map(|info| info.size)
        };
        let is_lost =
            |name: &ObjectHash| stored.get(name).is_none_or(|found| size(name).is_some_and(|size| size != *found));
        Ok(relied.into_iter().filter(is_lost).collect())
    }

    fn drop_packs(&self, dropped: &HashSet<ObjectHash>, now: &Session<'_>, waiting: &Waiting) -> Result<()> {
        let packs = dropped.iter().chain(self.settled_losses(waiting)).copied().collect();
        // Read after the snapshots were listed: a forget stores its record first, so what is not listed any more is recorded by now.
        let forgotten = self.session.repo().forgotten()?.ids;
        // Nothing was spared for one that was listed and then gone: should a late write bring it back, the record must say that it is none.
        if let Some(id) = self.gone_since.iter().find(|id| !forgotten.contains(*id)) {
            return Err(Error::new(
                ErrorKind::Changed,
                format!(
                    "snapshot {} went away without a record while this prune was at work; nothing was removed",
                    id.short()
                ),
            )
            .with_hint("run it again"));
        }
        let is_there = |name: &&SnapshotName| !self.gone_since.contains(&name.id);
        let listed: HashSet<SessionId> = now.snapshots().iter().filter(is_there).map(|name| name.id).collect();
        let known = &self.session.gone().forgotten;
        let forgotten = forgotten.into_iter().filter(|id| !listed.contains(id) && !known.contains(id));
        let forgotten = forgotten.take(FORGOTTEN_AT_ONCE).collect();
        let nothing = Listing::default();
        // Only when nobody is left who began before: see there.
        let seen = if waiting.left.is_empty() { &waiting.since } else { &nothing };
        self.session.drop_packs(&Gone { packs, forgotten }, seen)
    }

    fn delete_packs(&self, dropped: &HashSet<ObjectHash>, report: &mut PruneReport) -> Result<()> {
        let sizes: HashMap<ObjectHash, u64> = self
            .survey
            .victims
            .iter()
            .filter(|(name, _)| dropped.contains(*name))
            .map(|(name, size)| (*name, *size))
            .collect();
        let mut packs: Vec<ObjectHash> = sizes.keys().copied().collect();
        packs.sort_unstable();
        Progress::add(&self.watch.progress.files_total, packs.len() as u64);
        let progress = &self.watch.progress.files_done;
        self.session.delete_packs(&packs, &mut |count| Progress::add(progress, count as u64))?;
        report.deleted_packs = Amount { count: packs.len() as u64, bytes: sizes.values().sum() };
        Ok(())
    }

    /// Removes records that nobody needs any more, and notes what this prune saw.
    fn tidy(&self, now: &Session<'_>, waiting: &Waiting, dropped: &HashSet<ObjectHash>) -> Result<()> {
        let own = self.session.id();
        // Between the survey and the second look nobody else has removed anything: what was whole is.
        // What a prune that is over condemned and nobody dropped yet is not safe: its tombstones may be on their way.
        let is_gone = |name: &ObjectHash| now.gone().packs.contains(name) || dropped.contains(name);
        let is_over = |prune: &SessionId| self.survey.adopted.contains(prune);
        let is_quiet = now.gone().packs == self.session.gone().packs
            && now
                .condemned()
                .iter()
                .all(|(prune, condemned)| *prune == own || is_over(prune) && condemned.packs.iter().all(is_gone));
        for (id, is_whole) in &self.survey.suspect {
            // clear_suspect
            if *is_whole && is_quiet && waiting.left.is_empty() {
                self.session.clear_suspect(*id)?;
            }
        }
        // sweep_sessions
        let ended: HashSet<SessionId> = now.snapshots().iter().map(|name| name.id).collect();
        let over =
            |id: &SessionId| ended.contains(id) || waiting.marked.contains(id) || now.gone().forgotten.contains(id);
        let keys = waiting.since.sessions.iter().filter(|(id, _)| **id != own && over(id));
        self.session.remove_records(keys.flat_map(|(_, session)| session.keys.iter().cloned()).collect())?;
        // What dropped records name needs no forgotten record, once the notes are gone of prunes that may have seen it.
        let settled = &now.gone().forgotten;
        let unsettled = self.survey.forgotten.iter().filter(|id| !settled.contains(*id)).count() as u64;
        let seen = SeenByPrunes { snapshots: ended.into_iter().collect(), forgotten: unsettled };
        self.session.note_seen(&seen, &now.listing().pruned)?;
        // sweep_forgotten
        self.session.repo().sweep_forgotten(settled)
    }
}

fn overtaken() -> Error {
    Error::new(
        ErrorKind::Changed,
        "another prune removed packs while this one looked at a snapshot that is marked as suspect",
    )
    .with_hint("nothing was removed; run it again")
}

/// Whether a run is not waited for any more.
fn is_over(other: &Other, options: &PruneOptions) -> bool {
    other.has_died || other.silent.to_std().is_ok_and(|silent| silent >= options.stale_after)
}

/// Begins a step that a display can name.
///
/// # Errors
/// `Interrupted` when the run was asked to stop.
fn step(watch: &Watch<'_>, name: &str) -> Result<()> {
    *watch.progress.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.to_owned());
    watch.observer.on(&Event::Note { text: name });
    if watch.stop.requested() {
        return Err(Error::new(ErrorKind::Interrupted, "the prune was interrupted; nothing was removed"));
    }
    Ok(())
}
