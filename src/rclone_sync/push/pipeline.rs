//! The second pass: what differs is read and sent by several threads, and put into order again for the delta.
//!
//! One thread surveys, `transfers` threads do the jobs, the caller's thread writes the delta. A fixed number of jobs is under way: the survey takes
//! a ticket for each, and gets it back when the job's turn in the delta has come. In memory are about 500
//! bytes for each job under way, and of contents what the budget allows.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::catalog::{Entry, LinkGroup, Node};
use crate::error::{Error, ErrorKind, Result};

use super::super::root::Totals;
use super::super::segment::{Change, SegmentWriter, Written};
use super::compare::group_of;
use super::packs::Packer;
use super::shared::lock;
use super::survey::{Difference, Seen};

/// Jobs under way for each thread: while one sends a big file, the others go on.
const JOBS_PER_THREAD: usize = 64;
/// Bytes of files that wait for their turn to be packed; where they are larger, fewer jobs are under way.
const BODIES_MAX: u64 = 16 << 20;

/// One difference on its way.
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) difference: Difference,
}

/// What came of a job.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) number: u64,
    /// What the new generation has at the path; nothing if that stays as it was.
    pub(super) change: Option<Change>,
    /// What the last generation has there.
    pub(super) old: Option<Box<Entry>>,
    /// The key of an object that is not needed once the new generation stands.
    pub(super) gone: Option<String>,
    /// The content, if it is to be put into a pack.
    pub(super) body: Option<Bytes>,
    /// The first name of this file could not be pushed as it is: the others must not be links to it.
    pub(super) lost: Option<LinkGroup>,
}

/// What the pass made.
#[derive(Debug)]
pub(super) struct Delta {
    pub(super) seen: Seen,
    /// The changes, in a local file.
    pub(super) written: Written,
    /// What the new generation holds.
    pub(super) totals: Totals,
    /// Objects to be deleted once it stands: 100 bytes each.
    pub(super) gone: Vec<String>,
}

/// Feeds the jobs, and says what the whole pass has seen.
pub(super) type Feed<'a> = dyn FnMut(&mut dyn FnMut(Difference) -> Result<bool>) -> Result<Seen> + Send + 'a;

/// Does one job. Fails only when the destination does: what is wrong with a file is told, and its old entry stays.
pub(super) type Work<'a> = dyn Fn(Difference) -> Result<Done> + Sync + 'a;

/// Where the delta goes.
pub(super) struct Out<'a> {
    pub(super) writer: SegmentWriter,
    /// What the last generation holds.
    pub(super) totals: Totals,
    /// With the largest file that is packed; none if nothing is.
    pub(super) packer: Option<(Packer<'a>, u64)>,
}

/// See the module.
pub(super) fn run(feed: &mut Feed<'_>, work: &Work<'_>, threads: usize, out: Out<'_>) -> Result<Delta> {
    let bodies = out.packer.as_ref().map_or(u64::MAX, |(_, most)| BODIES_MAX / most.max(&1));
    let under_way = usize::try_from(bodies).unwrap_or(usize::MAX).clamp(1, JOBS_PER_THREAD * threads.max(1));
    let (jobs_in, jobs) = bounded::<Job>(under_way);
    let (results_in, results) = bounded::<Result<Done>>(under_way);
    let (tickets_in, tickets) = bounded::<()>(under_way);
    let surveyed: Mutex<Option<Result<Seen>>> = Mutex::new(None);
    let mut order = Order::new(out);
    let outcome = std::thread::scope(|scope| {
        for _ in 0..under_way {
            let _ = tickets_in.send(());
        }
        for _ in 0..threads.max(1) {
            let (jobs, results_in) = (jobs.clone(), results_in.clone());
            scope.spawn(move || do_jobs(work, &jobs, &results_in));
        }
        drop((jobs, results_in));
        let surveyed = &surveyed;
        scope.spawn(move || {
            let seen = survey(feed, &jobs_in, &tickets);
            *lock(surveyed) = Some(seen);
        });
        let mut outcome = Ok(());
        for done in &results {
            match done.and_then(|done| order.take(done)) {
                Ok(taken) => {
                    for _ in 0..taken {
                        let _ = tickets_in.send(());
                    }
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        // Whoever still waits for us must not wait for ever.
        drop((results, tickets_in));
        outcome
    });
    let seen = surveyed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    outcome?;
    let seen = seen.ok_or_else(|| Error::bug("the survey of the source said nothing"))??;
    if seen.ended {
        return Err(Error::bug("the survey of the source ended early"));
    }
    order.finish(seen)
}

fn survey(feed: &mut Feed<'_>, jobs: &Sender<Job>, tickets: &Receiver<()>) -> Result<Seen> {
    let mut number = 0;
    feed(&mut |difference| {
        let job = Job { number, difference };
        number += 1;
        Ok(tickets.recv().is_ok() && jobs.send(job).is_ok())
    })
}

fn do_jobs(work: &Work<'_>, jobs: &Receiver<Job>, results: &Sender<Result<Done>>) {
    let _unwound = Unwound(results);
    for job in jobs {
        let done = work(job.difference).map(|done| Done { number: job.number, ..done });
        let failed = done.is_err();
        if results.send(done).is_err() || failed {
            return;
        }
    }
}

/// Tells of a thread that panics: the others would wait for its job's turn for ever.
struct Unwound<'a>(&'a Sender<Result<Done>>);

impl Drop for Unwound<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.send(Err(Error::bug("a thread that sends files panicked")));
        }
    }
}

/// Puts results into order and writes the delta.
struct Order<'a> {
    packer: Option<Packer<'a>>,
    writer: SegmentWriter,
    /// Results that came before their turn; bounded by the jobs under way.
    early: BTreeMap<u64, Done>,
    next: u64,
    totals: Totals,
    gone: Vec<String>,
    lost: HashSet<LinkGroup>,
}

impl<'a> Order<'a> {
    fn new(Out { writer, totals, packer }: Out<'a>) -> Self {
        let packer = packer.map(|(packer, _)| packer);
        Self { packer, writer, early: BTreeMap::new(), next: 0, totals, gone: Vec::new(), lost: HashSet::new() }
    }

    /// Takes one result; returns how many, this or others, were taken in their turn.
    fn take(&mut self, done: Done) -> Result<usize> {
        self.early.insert(done.number, done);
        let mut taken = 0;
        while let Some(done) = self.early.remove(&self.next) {
            self.next += 1;
            taken += 1;
            self.in_turn(done)?;
        }
        Ok(taken)
    }

    fn in_turn(&mut self, done: Done) -> Result<()> {
        match &mut self.packer {
            Some(packer) => packer.add(done)?.into_iter().try_for_each(|done| self.write(done)),
            None => self.write(done),
        }
    }

    fn write(&mut self, done: Done) -> Result<()> {
        self.lost.extend(done.lost);
        let Some(mut change) = done.change else { return Ok(()) };
        if let Change::Put(entry) = &mut change
            && entry.link.is_some_and(|group| self.lost.contains(&group))
        {
            // It stands for itself until the next push, which finds the first name as it is by then.
            entry.link = None;
        }
        match &change {
            Change::Put(entry) => {
                let (entries, files, bytes) = weight(entry);
                self.totals.entries += entries;
                self.totals.files += files;
                self.totals.bytes += bytes;
                self.writer.put(entry)?;
            }
            Change::Remove(path) => self.writer.remove(path)?,
        }
        if let Some(old) = &done.old {
            let (entries, files, bytes) = weight(old);
            let less = |total: u64, by: u64| {
                total.checked_sub(by).ok_or_else(|| Error::new(ErrorKind::Corrupt, "the totals of the last generation"))
            };
            self.totals.entries = less(self.totals.entries, entries)?;
            self.totals.files = less(self.totals.files, files)?;
            self.totals.bytes = less(self.totals.bytes, bytes)?;
        }
        self.gone.extend(done.gone);
        Ok(())
    }

    fn finish(mut self, seen: Seen) -> Result<Delta> {
        if let Some(mut packer) = self.packer.take() {
            packer.finish()?.into_iter().try_for_each(|done| self.write(done))?;
        }
        if !self.early.is_empty() {
            return Err(Error::bug("a result of the push is missing"));
        }
        Ok(Delta { seen, written: self.writer.finish()?, totals: self.totals, gone: self.gone })
    }
}

/// What an entry adds to the totals; a file of several names counts once.
fn weight(entry: &Entry) -> (u64, u64, u64) {
    match &entry.node {
        Node::File(file) if entry.link.is_none_or(|group| group == group_of(&entry.path)) => (1, 1, file.size),
        Node::File(_) => (1, 1, 0),
        _ => (1, 0, 0),
    }
}
