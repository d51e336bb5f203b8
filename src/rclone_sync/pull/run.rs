//! The course of a pull: what an earlier one left is finished, then survey, fetch and apply, again as often as the mirror moves on
//! in between.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Pin, RequestCounts};

use super::super::segment::Written;
use super::apply::{apply, describe};
use super::context::Pull;
use super::fetch::{Fetched, fetch};
use super::install::keep_set_aside;
use super::plan::PlanWriter;
use super::report::{PullReport, Pulled};
use super::seen::{Seen, SeenWriter, Terms};
use super::sight::{Sights, is_as_seen, note_touched, say_again};
use super::source::{Copied, Generation, Memory, newest, numbered, reread};
use super::stage::{Plan, Stage};
use super::survey::{Sight, Survey, Surveyed};
use crate::catalog::Entry;

/// Times that the target is surveyed because somebody changed it while it was being changed.
const ROUNDS: u32 = 3;
/// Time before the root is looked at again while a push is under way; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// So many generations that were replaced while they were fetched are worth a note.
const NOTED: u64 = 10;

/// One pull, step by step.
pub(super) struct Run<'r, 'a> {
    pull: &'r Pull<'a>,
    memory: Memory,
    generation: Option<Generation>,
    /// Generations that were replaced while they were fetched.
    replaced: u64,
    waited: Duration,
    pause: Duration,
}

/// What an earlier pull had left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Earlier {
    Nothing,
    /// A plan, which was carried out.
    Finished,
    /// A plan that was begun, perhaps, and is not carried out: the target may be of two generations.
    GivenUp,
}

/// What one round came to.
enum Round {
    /// Nothing was to be done.
    Nothing,
    /// A dry run found something to do.
    Foreseen,
    /// The target is the generation.
    Done,
    /// Somebody changed the target meanwhile.
    Drifted,
}

impl<'r, 'a> Run<'r, 'a> {
    pub(super) fn new(pull: &'r Pull<'a>, memory: Memory) -> Self {
        Self { pull, memory, generation: None, replaced: 0, waited: Duration::ZERO, pause: FIRST_PAUSE }
    }

    pub(super) fn run(mut self) -> Result<PullReport> {
        let before = self.memory.before();
        let earlier = self.finish_earlier()?;
        let (finished_first, trusts) = (earlier == Earlier::Finished, self.pull.options.trust_target);
        let known = if earlier != Earlier::Nothing || trusts { None } else { self.known() };
        let (fresh, as_seen) = match known {
            None => (self.find_generation()?, trusts && earlier == Earlier::Nothing),
            Some(seen) => self.find_generation_and_look(seen)?,
        };
        self.tell_of_a_way_back(before)?;
        if !fresh && as_seen {
            return self.report(before, Pulled::Unchanged, false);
        }
        let mut outcome = Some(Pulled::Unchanged);
        for _ in 0..ROUNDS {
            match self.round()? {
                Round::Nothing => {
                    outcome = outcome.or(Some(Pulled::Applied));
                    break;
                }
                Round::Foreseen => {
                    outcome = Some(Pulled::Planned);
                    break;
                }
                Round::Done => {
                    outcome = Some(Pulled::Applied);
                    break;
                }
                Round::Drifted => outcome = None,
            }
        }
        let outcome = outcome.ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, "somebody keeps changing files of the target while it is being changed")
                .with_hint("stop what writes there, and pull again")
        })?;
        self.report(before, outcome, finished_first)
    }

    /// Nobody publishes a generation twice: the root was put back, or the mirror was made anew.
    fn tell_of_a_way_back(&self, before: Option<u64>) -> Result<()> {
        if self.went_back(before)?
            && let Some(before) = before
        {
            let now = self.generation()?.number();
            self.pull.note(&format!("generation {before} -> {now}: the mirror went back, and the target follows"));
        }
        Ok(())
    }

    fn went_back(&self, before: Option<u64>) -> Result<bool> {
        let now = self.generation()?.number();
        Ok(before.is_some_and(|before| before > now) && self.pull.options.generation.is_none())
    }

    /// Completes what an earlier pull had ready, without the store, if it was told the same: what it removes, this one might have to keep.
    fn finish_earlier(&self) -> Result<Earlier> {
        if !self.pull.target_exists() {
            return Ok(Earlier::Nothing);
        }
        let stage = Stage::of(self.pull.target()?);
        let Some(plan) = stage.sealed()? else {
            if !stage.is_torn()? {
                return Ok(Earlier::Nothing);
            }
            keep_set_aside(self.pull, stage)?;
            return Ok(Earlier::GivenUp);
        };
        let is_ours = plan.rules.is_some() && plan.rules == self.pull.rules();
        let what = if is_ours {
            "finish that first"
        } else {
            "find out anew what is to be done, for it was told other things"
        };
        if self.pull.options.dry_run {
            let text = "an earlier pull was interrupted while it changed the target: the next one will";
            self.pull.note(&format!("{text} {what}"));
        } else if is_ours {
            self.apply(stage, &plan, None)?;
            return Ok(Earlier::Finished);
        } else {
            let text = "an earlier pull was interrupted while it changed the target: this one will";
            self.pull.note(&format!("{text} {what}"));
            stage.give_up()?;
            keep_set_aside(self.pull, stage)?;
        }
        Ok(Earlier::GivenUp)
    }

    /// Which generation is to be pulled; whether its root had to be read.
    fn find_generation(&mut self) -> Result<bool> {
        if let Some(number) = self.pull.options.generation {
            self.generation = Some(numbered(self.pull.places, number)?);
            return Ok(true);
        }
        let seen = self.memory.seen();
        let found = newest(self.pull.places, seen.as_ref().map(Generation::pin))?;
        let fresh = found.is_some();
        self.generation = found.or(seen);
        Ok(fresh)
    }

    /// What was seen of the target when it was as the last generation has it, if nothing else has to be known for a target that still
    /// looks so.
    fn known(&self) -> Option<Seen> {
        let (pull, options) = (self.pull, self.pull.options);
        let is_enough = options.generation.is_none() && !options.checksum && pull.target_exists();
        if !is_enough || pull.watch.observer.wants_items() {
            return None;
        }
        let generation = self.memory.seen()?.digest();
        self.memory.sight(&pull.circumstances()).filter(|seen| seen.terms.generation == generation)
    }

    /// As [`Run::find_generation`]; while the store is asked, the target is looked at: whether it is as it was `seen`.
    fn find_generation_and_look(&mut self, seen: Seen) -> Result<(bool, bool)> {
        let (pull, over, terms) = (self.pull, AtomicBool::new(false), seen.terms);
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| is_as_seen(pull, seen, &over));
            let fresh = self.find_generation();
            // What is seen now is of use only for the same generation.
            over.store(!matches!(fresh, Ok(false)), Ordering::Relaxed);
            let as_seen = looking.join().map_err(|_| Error::bug("the look at the target was abandoned"))?;
            let (fresh, as_seen) = (fresh?, as_seen?);
            if as_seen && !fresh {
                say_again(pull, &terms);
            }
            Ok((fresh, as_seen))
        })
    }

    fn generation(&self) -> Result<&Generation> {
        self.generation.as_ref().ok_or_else(|| Error::bug("no generation was found"))
    }

    /// Survey, fetch, apply. A fetch that finds other objects than those of the generation begins anew with the next one.
    fn round(&mut self) -> Result<Round> {
        let pull = self.pull;
        loop {
            let (surveyed, copy, notes) = match self.survey() {
                Err(error) if error.kind() == ErrorKind::Changed => {
                    self.wait(error)?;
                    continue;
                }
                // Perhaps it is only what is remembered here that is damaged.
                Err(error) if error.kind() == ErrorKind::Corrupt && self.memory.before().is_some() => {
                    self.memory.forget()?;
                    continue;
                }
                outcome => outcome?,
            };
            let Some(plan) = &surveyed.plan else {
                if self.pull.options.dry_run {
                    return Ok(if surveyed.has_changes { Round::Foreseen } else { Round::Nothing });
                }
                self.clean_up(surveyed.root.as_ref())?;
                self.remember(copy.as_ref())?;
                self.keep_sight(&surveyed, notes, None);
                return Ok(Round::Nothing);
            };
            let stage = Stage::of(self.pull.target()?);
            match fetch(pull, stage, plan, &surveyed.leaving)? {
                Fetched::All => {}
                Fetched::Failed(error) => {
                    let text =
                        format!("{} files could not be fetched: the target stays as it was", pull.counts.problems());
                    return Err(error.within(text));
                }
                Fetched::Changed(error) => {
                    self.wait(error)?;
                    continue;
                }
            }
            stage.seal(plan)?;
            let mut touched = self.memory.notes("touched")?;
            let drifted = self.apply(stage, plan, touched.as_mut())?;
            if drifted > 0 && self.pull.counts.problems() == 0 {
                return Ok(Round::Drifted);
            }
            self.remember(copy.as_ref())?;
            // What cannot be set is counted exactly only by a survey of what stands.
            if drifted == 0 && pull.counts.not_set().sum() == 0 {
                pull.pass_a_tick();
                self.keep_sight(&surveyed, notes, touched);
            }
            return Ok(Round::Done);
        }
    }

    fn survey(&mut self) -> Result<(Surveyed, Option<Written>, Option<SeenWriter>)> {
        let (pull, generation) = (self.pull, self.generation()?.clone());
        let dry = pull.options.dry_run;
        let stage = if dry { None } else { Some(Stage::of(pull.target()?)) };
        let mut copy = if dry || self.memory.has(&generation) { None } else { self.memory.copy()? };
        let entries = self.memory.entries(pull.places, &generation);
        let mut survey = Survey::new(pull, PlanWriter::new(stage));
        let now = if dry { None } else { self.memory.notes("notes")? };
        let sight = Sight { before: self.memory.sight(&pull.circumstances()), now };
        survey.run(Box::new(Copied { entries, copy: copy.as_mut() }), sight)?;
        let copy = copy.map(super::super::segment::SegmentWriter::finish).transpose()?;
        if survey.wants_heads() {
            let entries = match &copy {
                Some(written) => reread(written, generation.number())?,
                None => self.memory.entries(pull.places, &generation),
            };
            survey.find_heads(entries)?;
        }
        let notes = survey.notes();
        Ok((survey.finish(generation.number())?, copy, notes))
    }

    /// Carries out a plan and removes its stage, but for what says that the target may be of two generations if not all of it could be done; the number of entries that somebody changed meanwhile. What the entries of the plan look
    /// like afterwards goes to `touched`.
    fn apply(&self, stage: Stage<'_>, plan: &Plan, touched: Option<&mut SeenWriter>) -> Result<u64> {
        let applied = apply(self.pull, stage, plan)?;
        self.pull.check()?;
        if let Some(touched) = touched.filter(|_| applied.drifted == 0 && self.pull.counts.problems() == 0) {
            note_touched(self.pull, stage, plan, touched)?;
        }
        if applied.drifted > 0 || self.pull.counts.problems() > 0 {
            stage.leave_torn()?;
        } else {
            stage.remove()?;
        }
        self.settle_root(applied.root.as_ref())?;
        Ok(applied.drifted)
    }

    /// Keeps what the target looks like, for the next pull. Without that it looks into every entry.
    fn keep_sight(&mut self, surveyed: &Surveyed, notes: Option<SeenWriter>, touched: Option<SeenWriter>) {
        let Some(notes) = notes.filter(|_| self.pull.counts.problems() == 0) else { return };
        let kept = self.generation().map(Generation::digest).and_then(|generation| {
            let terms = Terms { generation, circumstances: self.pull.circumstances(), ..Terms::default() };
            let not_set = *self.pull.counts.not_set();
            let sights = Sights { notes, touched, extras: surveyed.extras, terms: Terms { not_set, ..terms } };
            sights.join(self.pull, surveyed.root.as_ref(), &mut self.memory)
        });
        if let Err(error) = kept {
            self.pull.note(&format!("the next pull will look into every entry: {}", error.chain()));
        }
    }

    /// Removes what an earlier run left, if nothing is to be done and all could be looked at.
    fn clean_up(&self, root: Option<&Entry>) -> Result<()> {
        let stage = Stage::of(self.pull.target()?);
        if self.pull.counts.problems() == 0 || !stage.is_torn()? {
            stage.remove()?;
        }
        self.settle_root(root)
    }

    /// Gives the root its metadata, which the stage has changed.
    fn settle_root(&self, root: Option<&Entry>) -> Result<()> {
        self.pull.check()?;
        root.map_or(Ok(()), |root| describe(self.pull, root))
    }

    /// The generation is remembered if the target is all of it: what failed is tried again by the next pull.
    fn remember(&mut self, copy: Option<&Written>) -> Result<()> {
        let generation = self.generation()?.clone();
        if self.pull.counts.problems() > 0 {
            return Ok(());
        }
        match copy {
            None if self.memory.seen().is_some_and(|seen| seen.pin() == generation.pin()) => Ok(()),
            copy => self.memory.save(&generation, copy),
        }
    }

    /// Objects are not those of the generation: a push is under way, and ends with a newer root. Waits for that.
    fn wait(&mut self, error: Error) -> Result<()> {
        let options = self.pull.options;
        if let Some(number) = options.generation {
            // Nothing brings back what was replaced or deleted: `Changed` would say that a later run finds it.
            return Err(Error::corrupt(format!("generation {number} is not all there any more"))
                .with_source(error.chain())
                .with_hint("files of earlier generations are kept only by a bucket with versioning"));
        }
        let seen = self.generation()?.pin().clone();
        loop {
            self.pull.check()?;
            if let Some(newer) = newest(self.pull.places, Some(&seen as &Pin))? {
                self.replaced += 1;
                if self.replaced.is_multiple_of(NOTED) {
                    let text = "generations follow each other faster than they can be fetched; this one is the";
                    self.pull.note(&format!("{text} {}th that was begun", self.replaced + 1));
                }
                self.generation = Some(newer);
                self.pause = FIRST_PAUSE;
                return Ok(());
            }
            if self.waited >= options.wait {
                let text =
                    "a new generation is being published, or files of the mirror were changed by another program";
                return Err(Error::new(ErrorKind::Unavailable, text).with_source(error).with_hint(
                    "try again later; if no push is under way, `volvault mirror push --relist` mends the mirror",
                ));
            }
            let pause = self.pause.min(options.wait.saturating_sub(self.waited));
            self.rest(pause)?;
            self.waited += pause;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Nothing happens for a while, unless the user asks to stop.
    fn rest(&self, pause: Duration) -> Result<()> {
        self.pull.places.block(async { self.pull.unless_stopped(Box::pin(tokio::time::sleep(pause))).await })
    }

    fn report(&self, before: Option<u64>, outcome: Pulled, finished_first: bool) -> Result<PullReport> {
        Ok(PullReport {
            generation: self.generation()?.number(),
            before,
            went_back: self.went_back(before)?,
            outcome,
            finished_first,
            not_set: *self.pull.counts.not_set(),
            problems: self.pull.counts.problems(),
            tally: *self.pull.counts.tally(),
            requests: RequestCounts::default(),
            planned: if outcome == Pulled::Planned { self.pull.counts.planned() } else { 0 },
        })
    }
}
