//! The push to one destination: look, plan, send, publish, delete, remember.

use crate::error::{Error, ErrorKind, Result};
use crate::events::{Event, Progress};
use crate::storage::Location;

use super::super::claim;
use super::super::destination::Destination;
use super::super::merge::Merge;
use super::super::segment::{SegmentReader, SegmentWriter};
use super::super::tally::Tally;
use super::budget::Budget;
use super::hold::{Anew, Hold};
use super::last::{Base, Last, Look, Memory};
use super::packs::{PackRule, Packer};
use super::pipeline::{self, Delta, Out};
use super::plan::{Plan, entries, plan, racy_from};
use super::publish::{Published, Publishing};
use super::report::{DestinationReport, Pushed};
use super::send::Sender;
use super::shared::Shared;
use super::standing::Standing;
use super::survey::survey;
use super::sweep::{self, Named};
use super::together::Wants;

/// Times that a push begins anew because somebody else published, or left something unfinished.
const ROUNDS: u32 = 4;
/// Requests around the files: claim taken and given back, root looked at again, delta, history, root.
const FIXED_REQUESTS: u64 = 6;

/// Pushes to one destination. Never fails as a whole: the report says how it ended.
pub(super) fn push_to(shared: &Shared<'_>, destination: &Destination) -> DestinationReport {
    let places = &destination.places;
    let counts = || (places.data.requests(), places.control.requests());
    let (data, control) = counts();
    let budget = Budget::of(shared.destinations.len(), shared.watch.stop);
    let mut one = One { shared, destination, budget, before: None, has_planned: false, tally: Tally::default() };
    let result = one.run();
    one.has_planned();
    let (data_now, control_now) = counts();
    let requests = data_now.since(&data).plus(&control_now.since(&control));
    let (name, held) = (destination.name.clone(), one.budget.peak());
    DestinationReport { name, before: one.before, result, tally: one.tally, requests, held }
}

struct One<'a> {
    shared: &'a Shared<'a>,
    destination: &'a Destination,
    budget: Budget<'a>,
    before: Option<u64>,
    /// The others know what this one needs.
    has_planned: bool,
    tally: Tally,
}

impl<'a> One<'a> {
    fn run(&mut self) -> Result<Pushed> {
        let options = self.shared.options;
        let tell = |error: &Error| self.note("nothing is remembered of this mirror", error);
        let memory = Memory::open(self.destination, self.shared.source, &options.means, tell)?;
        let hold = Hold::new(self.destination, options, memory, self.shared.watch.stop);
        let outcome = self.rounds(&hold);
        hold.end(outcome.is_ok());
        outcome
    }

    fn rounds(&mut self, hold: &Hold<'a>) -> Result<Pushed> {
        let options = self.shared.options;
        let (mut mend, mut is_seized, mut next) = (options.relist, false, None);
        for _ in 0..ROUNDS {
            let look = hold.memory(|memory| memory.look(self.destination, options.relist))?;
            self.tell_of_others(next.replace(look.base.next()), &look.base);
            mend |= look.is_in_doubt;
            if mend && !is_seized && !options.dry_run {
                // What is listed must not change under us; and what was seen before the claim was ours is looked at again.
                hold.goes_by(&look.base);
                hold.seize()?;
                is_seized = true;
                continue;
            }
            match self.round(hold, &look, mend) {
                Ok(Some(pushed)) => return Ok(pushed),
                Ok(None) => mend = true,
                // What is remembered may be damaged; everything can be fetched. What this run has written meanwhile must be found, too.
                Err(error) if error.kind() == ErrorKind::Corrupt && hold.memory(Memory::forget)? => {
                    mend |= hold.has_begun();
                }
                Err(error) => match hold.anew() {
                    Some(anew) => {
                        mend |= anew == Anew::Mend;
                        is_seized &= anew != Anew::Mend;
                    }
                    None => return Err(error),
                },
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "other pushes publish this mirror all the time")
            .with_hint("only one source should push to a mirror"))
    }

    /// Two sources of one mirror replace each other's trees in turn: whoever has them should know.
    fn tell_of_others(&self, next: Option<u64>, base: &Base) {
        let (Some(next), Some(last)) = (next, base.last()) else { return };
        if last.root.generation >= next {
            let (name, root) = (&self.destination.name, &last.root);
            let text = format!("{name}: {} has published generation {} meanwhile", root.pusher.host, root.generation);
            self.shared.watch.observer.on(&Event::Note { text: &text });
        }
    }

    /// None: somebody's push was cut off, and its leftovers are to be mended.
    fn round(&mut self, hold: &Hold<'a>, look: &Look, mend: bool) -> Result<Option<Pushed>> {
        let (shared, destination) = (self.shared, self.destination);
        let (last, begin) = (look.base.last(), shared.options.means.clock.now().to_utc());
        self.before = last.map(|last| last.root.generation);
        hold.goes_by(&look.base);
        let mut standing = (mend || last.is_none()).then(|| Standing::list(destination)).transpose()?;
        if mend && !shared.options.dry_run {
            let places = &destination.places;
            // The claim is ours: whoever was writing is dead.
            places.block(places.data.remove_unfinished())?;
            places.block(places.control.remove_unfinished())?;
        }
        let is_directory = matches!(destination.places.data.location(), Location::Local(_));
        let mut plan = plan(shared, last, standing.as_mut(), is_directory)?;
        let wants = shared.together.want(std::mem::take(&mut plan.big));
        self.has_planned();
        plan.judge(shared, &plan.seen)?;
        self.expect(&plan);
        let budget = self.budget.clone();
        let publishing = Publishing { destination, options: shared.options, hold, base: &look.base, begin, budget };
        // The root is to say that there is a file of permissions, even if nothing else is new.
        let is_new_flag = shared.options.facl && last.is_some_and(|last| !last.root.flags.facl);
        if plan.is_empty()
            && !is_new_flag
            && let Some(last) = last
        {
            if !look.is_known && !mend && !shared.options.dry_run && claim::look(&destination.places)?.is_some() {
                return Ok(None);
            }
            return unchanged(&publishing, last, mend).map(Some);
        }
        if shared.options.dry_run {
            let generation = look.base.next();
            let (requests, bytes) = plan.cost();
            return Ok(Some(Pushed::Planned { generation, requests: FIXED_REQUESTS + requests, bytes }));
        }
        if !plan.in_the_way.is_empty() {
            publishing.delete(&plan.in_the_way)?;
        }
        let (delta, plan) = self.send(hold, last, (plan, wants), standing.as_mut())?;
        plan.judge(shared, &delta.seen)?;
        if delta.written.entries + delta.written.removed == 0
            && !is_new_flag
            && let Some(last) = last
        {
            publishing.delete(&plan.orphans)?;
            return unchanged(&publishing, last, mend).map(Some);
        }
        let keeps = hold.memory(|memory| Ok(memory.keeps()))? || shared.options.facl;
        shared.check_pull()?;
        let published = publishing.publish(&delta, keeps)?;
        self.finish(&publishing, &delta, &plan, &published).map(Some)
    }

    /// The second pass.
    fn send(
        &mut self,
        hold: &Hold<'a>,
        last: Option<&Last>,
        (mut plan, wants): (Plan, Wants<'a>),
        mut standing: Option<&mut Standing>,
    ) -> Result<(Delta, Plan)> {
        let shared = self.shared;
        let path = hold.memory(|memory| Ok(memory.file("delta")))?;
        let totals = last.map(|last| last.root.totals).unwrap_or_default();
        let writer = SegmentWriter::create(&path)?;
        let (moved, mut needed) = (std::mem::take(&mut plan.moved), std::mem::take(&mut plan.needed));
        let sparse = plan.seen.packs.sparse();
        let packing = PackRule { most: shared.options.pack_small, sparse: &sparse };
        let packer = packing.most.map(|most| (Packer::new(&self.destination.places, hold), most));
        let here = (self.destination, self.budget.clone());
        let sender = Sender::new((shared, wants), here, hold, (&moved, packing));
        let (mut old, racy_from) = (Some(entries(last)?), racy_from(last));
        let mut feed = |hear: &mut dyn FnMut(_) -> Result<bool>| {
            let old = old.take().ok_or_else(|| Error::bug("the source is surveyed once"))?;
            survey(shared, old, (standing.as_deref_mut(), &mut needed), (racy_from, packing), hear)
        };
        let delta = pipeline::run(
            &mut feed,
            &|difference| sender.work(difference),
            shared.options.transfers,
            Out { writer, totals, packer },
        );
        sender.tally(&mut self.tally);
        let delta = delta?;
        if let Some(standing) = standing {
            plan.orphans = standing.orphans(shared.options);
        }
        Ok((delta, plan))
    }

    /// What may fail here is only untidy: the generation is published. The claim says that the push is unfinished then, and the next one mends.
    fn finish(
        &mut self,
        publishing: &Publishing<'_>,
        delta: &Delta,
        plan: &Plan,
        published: &Published,
    ) -> Result<Pushed> {
        // What was in the way is gone already, and something else may have its name now.
        publishing.delete_gone(delta.gone.iter().filter(|key| !plan.in_the_way.contains(*key)), self.shared)?;
        publishing.delete(&plan.orphans)?;
        if self.shared.options.facl
            && let Some(manifest) = &published.manifest
        {
            let generation = published.root.generation;
            let manifest = SegmentReader::of_file(&manifest.path, &manifest.at(generation))?;
            publishing.write_permissions(Merge::of(vec![manifest]).entries(), generation)?;
        }
        self.clean_up(publishing, delta, published);
        let seen = &delta.seen.tally;
        self.tally.deleted_files = seen.deleted_files + plan.orphans.len() as u64;
        (self.tally.deleted_dirs, self.tally.deleted_bytes) = (seen.deleted_dirs, seen.deleted_bytes);
        publishing.hold.end(true);
        let saved = publishing.hold.memory(|memory| {
            let Some(manifest) = &published.manifest else { return Ok(()) };
            memory.save(&published.text, &published.pin, manifest)
        });
        if let Err(error) = saved {
            // It does not say that it knows this generation: the first write has seen to that.
            self.note("the next push fetches the manifest", &error);
        }
        Ok(Pushed::Published { generation: published.root.generation })
    }

    /// Now and then, what earlier generations have left. That it cannot be removed costs room and no more.
    fn clean_up(&self, publishing: &Publishing<'_>, delta: &Delta, published: &Published) {
        let (options, root) = (self.shared.options, &published.root);
        let (every, relist) = (options.keep.every.max(1), options.relist);
        let is_turn = |turn: u64| relist || root.generation % every == turn;
        if !is_turn(0) && !is_turn(every / 2) {
            return;
        }
        let cleaned = || -> Result<()> {
            let mut named = Named::new(root, &options.keep);
            for entry in publishing.entries(delta, published)? {
                named.see(&entry?);
            }
            if is_turn(0) {
                sweep::mark(publishing, &named)?;
            }
            if is_turn(every / 2) { sweep::sweep(publishing, &named) } else { Ok(()) }
        };
        if let Err(error) = cleaned() {
            self.note("what earlier generations left stays", &error);
        }
    }

    fn note(&self, what: &str, error: &Error) {
        let text = format!("{}: {what}: {}", self.destination.name, error.chain());
        self.shared.watch.observer.on(&Event::Note { text: &text });
    }

    fn has_planned(&mut self) {
        if !std::mem::replace(&mut self.has_planned, true) {
            self.shared.together.planned();
        }
    }

    fn expect(&mut self, plan: &Plan) {
        let seen = &plan.seen.tally;
        self.tally = Tally {
            listed: seen.listed,
            checks: seen.checks,
            checks_total: seen.checks,
            transfers_total: plan.files,
            bytes_total: plan.bytes,
            ..Tally::default()
        };
        Progress::add(&self.shared.watch.progress.files_total, plan.files);
        Progress::add(&self.shared.watch.progress.bytes_total, plan.bytes);
    }
}

/// The mirror has everything. One that was listed to be mended may lack what old pullers want.
fn unchanged(publishing: &Publishing<'_>, last: &Last, mend: bool) -> Result<Pushed> {
    let (hold, options) = (publishing.hold, publishing.options);
    if mend && options.facl && !options.dry_run {
        publishing.write_permissions(last.entries()?, last.root.generation)?;
    }
    hold.end(true);
    hold.memory(|memory| memory.trust(last))?;
    Ok(Pushed::Unchanged { generation: last.root.generation })
}
