//! The threads of a backup and the queues between them. Picture and bounds: `docs/architecture.md`.
//!
//! One thread walks and matches, some read, some seal; the caller's thread puts the results in order. A fixed number of jobs is under way: the
//! matcher takes a ticket for each, and the assembler gives it back when the job's turn has come.

use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::error::{Error, Result};
use crate::events::{Event, Progress, Watch};
use crate::repo::{BlobWriter, Session};
use crate::volume::{OwnerNames, ReadRate, WalkItem, WalkOptions, walk};

use super::assemble::{Assembler, Pass};
use super::matching::{Item, LiveCheck, Matcher};
use super::options::BackupOptions;
use super::parent::{KnownPages, Parent};
use super::read::{Done, Job, Reading};
use super::seal::{self, Sealer};

/// Items of a job at most, and bytes of small files.
const JOB_ITEMS: usize = 256;
const JOB_BYTES: u64 = 1 << 20;
/// Jobs under way for each reader: enough that a large file holds up no other reader.
const JOBS_PER_READER: usize = 3;

/// What all threads of a backup share.
pub(super) struct Context<'a> {
    pub(super) session: &'a Session<'a>,
    pub(super) writer: &'a BlobWriter<'a>,
    pub(super) options: &'a BackupOptions,
    pub(super) watch: &'a Watch<'a>,
    pub(super) known: &'a KnownPages,
}

/// The first failure of any thread; the others stop when there is one.
#[derive(Default)]
struct Failure(Mutex<Option<Error>>);

impl Failure {
    fn set(&self, error: Error) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn is_set(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn into_result<T>(self, value: Result<T>) -> Result<T> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(value, Err)
    }
}

/// Saves the sources: everything but the snapshot itself.
pub(super) fn run(context: &Context<'_>, parent: &Parent) -> Pass {
    let limits = context.session.repo().limits();
    let (readers, sealers) = (limits.readers.max(1), limits.workers.max(1));
    let names = OwnerNames::load();
    let pace = ReadRate::new(context.session.repo().clock().clone(), context.watch.stop, context.options.read_rate);
    let failure = Failure::default();
    let under_way = JOBS_PER_READER * readers + 2;
    let (jobs_in, jobs) = bounded::<Job>(under_way);
    let (results_in, results) = bounded::<Result<Done>>(under_way);
    let (tickets_in, tickets) = bounded::<()>(under_way);
    let (sealer, tasks) = Sealer::queue(sealers);
    let cursor = parent.cursor(context.session, context.known);
    let live = context.session.is_prune_about().then(|| LiveCheck::new(context.writer, context.session.reader()));
    let matcher = Matcher::new(context.options, cursor, parent.sparse(), live);
    let mut pass = std::thread::scope(|scope| {
        for _ in 0..under_way {
            let _ = tickets_in.send(());
        }
        for _ in 0..sealers {
            let tasks = tasks.clone();
            scope.spawn(move || seal::work(context.writer, &tasks));
        }
        drop(tasks);
        for _ in 0..readers {
            let (jobs, results_in) = (jobs.clone(), results_in.clone());
            let reading = reading(context, (&names, &pace), sealer.clone());
            scope.spawn(move || read(&reading, &jobs, &results_in));
        }
        drop((jobs, results_in));
        let out = Outlet { jobs: jobs_in, tickets, number: 0, items: Vec::new(), weight: 0 };
        let failure_of_walk = &failure;
        scope.spawn(move || match_walk(context, matcher, out, failure_of_walk));
        let mut assembler = Assembler::new(context, sealer);
        for done in &results {
            match done.and_then(|done| assembler.take(done)) {
                Ok(taken) => {
                    for _ in 0..taken {
                        let _ = tickets_in.send(());
                    }
                }
                Err(error) => {
                    failure.set(error);
                    break;
                }
            }
        }
        // Whoever still waits for us must not wait for ever.
        drop((results, tickets_in));
        assembler.finish(failure.is_set())
    });
    pass.outcome = failure.into_result(pass.outcome);
    pass
}

/// What one reading thread does. A failure goes the way of a result: whoever waits for this job's turn must hear of it.
fn read(reading: &Reading<'_>, jobs: &Receiver<Job>, results: &Sender<Result<Done>>) {
    let _unwound = Unwound(results);
    for job in jobs {
        let done = reading.job(job);
        let failed = done.is_err();
        if results.send(done).is_err() || failed {
            return;
        }
    }
}

/// Tells the assembler when a reading thread panics: it would wait for the job's turn for ever.
struct Unwound<'a>(&'a Sender<Result<Done>>);

impl Drop for Unwound<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.send(Err(Error::bug("a reading thread panicked")));
        }
    }
}

fn reading<'a>(
    context: &'a Context<'a>,
    (names, pace): (&'a OwnerNames, &'a ReadRate<'a>),
    sealer: Sealer,
) -> Reading<'a> {
    let repo = context.session.repo();
    Reading {
        names,
        keys: repo.keys(),
        chunker: repo.chunker(),
        writer: context.writer,
        sealer,
        stop: context.watch.stop,
        progress: context.watch.progress,
        pace,
        buffer: std::cell::RefCell::default(),
    }
}

/// Where the matcher puts its jobs.
struct Outlet {
    jobs: Sender<Job>,
    tickets: Receiver<()>,
    number: u64,
    items: Vec<Item>,
    weight: u64,
}

impl Outlet {
    /// `false` when nobody takes jobs any more.
    fn push(&mut self, item: Item) -> bool {
        self.weight += item.weight();
        let alone = matches!(item, Item::Large { .. });
        self.items.push(item);
        if self.items.len() >= JOB_ITEMS || self.weight >= JOB_BYTES || alone { self.flush() } else { true }
    }

    fn flush(&mut self) -> bool {
        if self.items.is_empty() {
            return true;
        }
        self.weight = 0;
        let job = Job { number: self.number, items: std::mem::take(&mut self.items) };
        self.number += 1;
        self.tickets.recv().is_ok() && self.jobs.send(job).is_ok()
    }
}

fn match_walk(context: &Context<'_>, mut matcher: Matcher<'_>, mut out: Outlet, failure: &Failure) {
    let (options, watch) = (context.options, context.watch);
    let walk_options = WalkOptions {
        rules: std::sync::Arc::clone(&options.rules),
        threads: context.session.repo().limits().readers,
        attributes: false,
    };
    walk(options.sources.clone(), &walk_options, watch.stop, |batches| {
        for batch in batches {
            if failure.is_set() {
                return;
            }
            for item in batch {
                count_found(watch, &item);
                match matcher.item(item) {
                    Ok(item) => {
                        if !out.push(item) {
                            return;
                        }
                    }
                    Err(error) => return failure.set(error),
                }
            }
            if let Some(error) = matcher.take_failure() {
                let text = format!(
                    "the parent snapshot cannot be read to its end, so unchanged files are read again: {}",
                    error.chain()
                );
                watch.observer.on(&Event::Note { text: &text });
            }
        }
        out.flush();
    });
    watch.progress.scan_finished.store(true, std::sync::atomic::Ordering::Relaxed);
}

fn count_found(watch: &Watch<'_>, item: &WalkItem) {
    if let WalkItem::Found(found) = item {
        use crate::volume::EntryKind;
        if found.stat.kind != EntryKind::Directory {
            Progress::add(&watch.progress.files_total, 1);
        }
        if found.stat.kind == EntryKind::File {
            Progress::add(&watch.progress.bytes_total, found.stat.size);
        }
    }
}
