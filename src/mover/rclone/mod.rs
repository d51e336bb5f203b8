//! The rclone mover: publishes a volume as the next generation of a mirror, or brings a volume to the newest one.
//!
//! `VolSync`'s own movers, which know no generations, may be on the other side. A source writes `permissions.facl` for them; a destination that finds a
//! prefix without a manifest, or one that such a mover has pushed to since, pulls what is listed there.

mod followed;
mod job;

use std::cell::Cell;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::runtime::Handle;

pub(super) use job::OURS;

use super::content;
use super::failure::{Codes, Failure};
use super::log::Log;
use super::{Demands, Numbers, World};
use crate::clock::SharedClock;
use crate::environment::Environment;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::events::{Stop, Watch};
use crate::path::escape;
use crate::rclone_sync::pull::{PullOptions, PullReport, Pulled, pull};
use crate::rclone_sync::push::{DestinationReport, PushOptions, Pushed, push};
use crate::rclone_sync::words::{self, ErrorNote};
use crate::rclone_sync::{Author, Destination, Places, Tally, claim, pull_plain};
use crate::storage::{Location, RequestCounts};

use job::{ALLOW_EMPTY, Direction, Job, STATE};

/// Pushes or pulls, as `DIRECTION` says, and returns the exit code: rclone's, 1 for a wrong environment, 130 when it was stopped.
pub fn rclone(demands: Demands, world: World<'_>) -> u8 {
    let World { environment, clock, runtime, stop, out, volume, numbers, remembered: _ } = world;
    let log = Log::new(out);
    let start = clock.elapsed();
    log.say(&format!("VolSync rclone container version: volvault {}", env!("CARGO_PKG_VERSION")));
    let outcome = prepare(demands, (environment, volume), &log, (&clock, &runtime)).and_then(|job| {
        let run = Run {
            job: &job,
            log: &log,
            clock: &clock,
            runtime: &runtime,
            stop,
            start,
            looked: Cell::default(),
            did: Cell::new(Numbers::default()),
        };
        let outcome = run.go();
        if let Some(numbers) = numbers {
            *numbers.lock().unwrap_or_else(PoisonError::into_inner) = run.did.get();
        }
        outcome
    });
    match outcome {
        Ok(()) => {
            log.say(&format!("Rclone completed in {}s", clock.elapsed().saturating_sub(start).as_secs()));
            0
        }
        Err(failure) => {
            failure.tell(&log);
            failure.code()
        }
    }
}

/// Reaches the mirror that the environment describes, and changes nothing; a sentence on it.
///
/// # Errors
/// When the environment makes no sense, or the store does not answer.
pub fn reach_mirror(
    environment: &Environment,
    volume: &Path,
    (clock, runtime): (SharedClock, Handle),
) -> Result<String> {
    let refuse = |_| Error::invalid("DIRECTION is neither source nor destination");
    let direction = Direction::of(environment).map_err(refuse)?;
    let job = Job::new(direction, (environment, Some(volume)), (&clock, &runtime))?;
    let connected = Places::connect(&job.location, &job.store, clock.clone());
    let places = runtime.block_on(connected).attempt(|| format!("reach the mirror at {}", job.location))?;
    Author::of(&places).attempt(|| format!("look at the mirror at {}", job.location))?;
    Ok(format!("mirror {}", job.name))
}

/// Everything that can be wrong with the request is found before anything is done.
fn prepare(
    demands: Demands,
    (environment, volume): (&Environment, Option<&Path>),
    log: &Log,
    world: (&SharedClock, &Handle),
) -> Result<Job, Failure> {
    job::demand(demands, environment)?;
    let direction = Direction::of(environment)?;
    let job = Job::new(direction, (environment, volume), world)?;
    if environment.raw(super::job::CUSTOM_CA).is_some() {
        log.say("Using custom CA.");
    }
    for said in &job.ignored {
        log.say(&format!("note: {said}"));
    }
    Ok(job)
}

/// A job that is being done.
struct Run<'a> {
    job: &'a Job,
    log: &'a Log,
    clock: &'a SharedClock,
    runtime: &'a Handle,
    stop: &'a Stop,
    start: Duration,
    /// Requests to see who pushed last, which no report counts.
    looked: Cell<RequestCounts>,
    /// What is told to whoever keeps count.
    did: Cell<Numbers>,
}

impl Run<'_> {
    fn go(&self) -> Result<(), Failure> {
        let what = match self.job.direction {
            Direction::Source => "push",
            Direction::Destination => "pull",
        };
        let volume = escape(self.job.data.as_os_str().as_encoded_bytes());
        let waits = format!("the {what} still waits for {volume} or {}", self.job.location);
        self.log.until_overdue(self.stop, &waits, || match self.job.direction {
            Direction::Source => self.push(),
            Direction::Destination => self.pull(),
        })
    }

    fn mirror(&self) -> Result<Destination> {
        let job = self.job;
        let connected = Places::connect(&job.location, &job.store, self.clock.clone());
        let places = self.runtime.block_on(connected).attempt(|| format!("reach the mirror at {}", job.location))?;
        Ok(Destination { name: job.name.clone(), places, state: job.state.clone() })
    }

    fn push(&self) -> Result<(), Failure> {
        let job = self.job;
        let failed = |error| Failure::by(Codes::Rclone, "the push", error);
        let data = escape(job.data.as_os_str().as_encoded_bytes());
        self.log.say(&format!("pushing {data} to {}", job.name));
        self.warn_of_whole_buckets();
        if content::is_empty(&job.data).map_err(failed)? {
            if job.strict {
                return Err(Failure::new(1, format!("the directory is empty, and {} is set", super::job::STRICT)));
            }
            if !job.allow_empty {
                self.log.say("== Directory is empty skipping sync ===");
                self.tell(
                    &Tally::default(),
                    &format!("the directory is empty, the mirror stays as it is ({ALLOW_EMPTY})"),
                );
                return Ok(());
            }
        }
        let mirror = self.mirror().map_err(failed)?;
        let author = self.author(&mirror.places).map_err(failed)?;
        if author == Author::Another {
            self.log
                .say("another program has pushed there, or none of ours ever has: all objects are listed and compared");
        }
        let options = PushOptions { relist: self.relists(author), ..self.push_options() };
        let report = self.watched(|watch| push(&job.data, std::slice::from_ref(&mirror), &options, watch));
        let report = report.map_err(failed)?;
        let problems = report.problems;
        let Some(DestinationReport { before, result, tally, requests, .. }) = report.destinations.into_iter().next()
        else {
            return Err(Failure::new(1, "there is no destination"));
        };
        let requests = requests.plus(&self.looked.get());
        self.note(&tally, requests);
        let pushed = match result {
            Err(error) => {
                self.log.say(words::stats(&tally, self.elapsed(), ErrorNote::of(error.kind())).trim_end());
                return Err(failed(self.in_the_words_of_a_pod(error)));
            }
            Ok(pushed) => pushed,
        };
        let what = match pushed {
            Pushed::Unchanged { generation } => format!("unchanged, generation {generation}"),
            Pushed::Published { generation } => went(before, generation),
            Pushed::Planned { generation, .. } => format!("generation {generation}, nothing was written"),
        };
        let tally = Tally { errors: tally.errors.max(problems), ..tally };
        self.tell(&if problems == 0 && !job.dry_run { complete(tally) } else { tally }, &told(&what, &requests));
        self.unless_stopped()?;
        match problems {
            0 => Ok(()),
            files => Err(Failure::new(
                1,
                format!("{files} files could not be read; the mirror keeps its last state of them"),
            )
            .with_hint("let the mover read them: by moverSecurityContext (runAsUser, fsGroup) or a privileged mover")),
        }
    }

    fn author(&self, places: &Places) -> Result<Author> {
        let before = places.data.requests();
        let author = Author::of(places);
        self.looked.set(places.data.requests().since(&before));
        author
    }

    /// Whether what is stored may be other than what the manifest says.
    fn relists(&self, author: Author) -> bool {
        match author {
            Author::Ours => false,
            Author::Another => true,
            // A directory has no such file because none of ours ever was there, and is no store where pieces of that are left.
            Author::Unknown => !matches!(self.job.location, Location::Local(_)),
        }
    }

    fn push_options(&self) -> PushOptions {
        let job = self.job;
        let defaults = PushOptions::new(job.means.clone());
        PushOptions {
            filter: job.filter.clone(),
            checksum: job.checksum,
            size_only: job.size_only,
            update: job.update,
            ignore_existing: job.ignore_existing,
            max_delete: job.max_delete,
            transfers: job.transfers,
            checkers: job.checkers.unwrap_or(defaults.checkers),
            dry_run: job.dry_run,
            one_file_system: true,
            allow_empty: job.allow_empty,
            delete_excluded: job.delete_excluded,
            facl: true,
            read_rate: job.read_rate,
            ..defaults
        }
    }

    /// What lies beside the prefix lies in the bucket, if the prefix is all of it.
    fn warn_of_whole_buckets(&self) {
        let prefix = match &self.job.location {
            Location::S3 { prefix, .. } | Location::Gcs { prefix, .. } | Location::Azure { prefix, .. } => prefix,
            Location::Local(_) | Location::Memory => return,
        };
        if prefix.is_empty() {
            self.log.say(
                "note: the mirror is a whole bucket: movers with rclone that pull it get the directory .volvault, too; rcloneDestPath BUCKET/PREFIX avoids that",
            );
        }
    }

    fn pull(&self) -> Result<(), Failure> {
        let job = self.job;
        let failed = |error| Failure::by(Codes::Rclone, "the pull", error);
        let data = escape(job.data.as_os_str().as_encoded_bytes());
        self.log.say(&format!("pulling {} to {data}", job.name));
        if std::fs::canonicalize(&job.data).is_ok_and(|path| path.parent().is_none()) {
            return Err(Failure::new(1, "MOUNT_PATH is /: a pull would delete this system"));
        }
        let mirror = self.mirror().map_err(failed)?;
        let (pulled, is_plain) = self.pull_from(&mirror);
        let report = match pulled {
            Err(error) if error.kind() == ErrorKind::Refused && !job.strict && self.is_empty(&error) => {
                self.log.say(&format!("== Mirror is empty skipping sync: {} ===", error.chain()));
                self.tell(
                    &Tally::default(),
                    &format!("the mirror is empty, the volume stays as it is ({ALLOW_EMPTY})"),
                );
                return Ok(());
            }
            report => report.map_err(|error| failed(self.in_the_words_of_a_pod(error)))?,
        };
        if !job.dry_run {
            content::sync(&job.data).map_err(failed)?;
        }
        if report.finished_first {
            self.log.say("finished a pull that was interrupted");
        }
        let tally = Tally { errors: report.tally.errors.max(report.problems), ..report.tally };
        let requests = report.requests.plus(&self.looked.get());
        self.note(&tally, requests);
        self.tell(&tally, &told(&described(&report, is_plain), &requests));
        self.unless_stopped()?;
        match report.problems {
            0 => Ok(()),
            entries => Err(Failure::new(1, format!("{entries} entries could not be pulled; nothing was deleted"))),
        }
    }

    /// By the manifest, if there is one that is still true; else by what is listed.
    fn pull_from(&self, mirror: &Destination) -> (Result<PullReport>, bool) {
        let options = self.pull_options();
        let data = &self.job.data;
        let plain = || (self.watched(|watch| pull_plain(mirror, data, &options, watch)), true);
        match self.author(&mirror.places) {
            Err(error) => return (Err(error), false),
            Ok(Author::Another) => {
                self.log.say("rclone has pushed there last: what is listed is pulled, no generation");
                return plain();
            }
            Ok(Author::Ours | Author::Unknown) => {}
        }
        let pulled = self.watched(|watch| pull(mirror, data, &options, watch));
        match pulled {
            Err(error) if error.kind() == ErrorKind::NotFound => match claim::look(&mirror.places) {
                Ok(None) => {
                    self.log.say("there is no manifest: what is listed is pulled");
                    plain()
                }
                // The first push is under way, or was cut off.
                Ok(Some(_)) => (Err(error.with_hint("the first push has not ended yet: try again later")), false),
                Err(error) => (Err(error), false),
            },
            pulled => (pulled, false),
        }
    }

    fn pull_options(&self) -> PullOptions {
        let job = self.job;
        let defaults = PullOptions::new(job.means.clone());
        PullOptions {
            filter: job.filter.clone(),
            checksum: job.checksum,
            size_only: job.size_only,
            update: job.update,
            ignore_existing: job.ignore_existing,
            delete_excluded: job.delete_excluded,
            max_delete: job.max_delete,
            transfers: job.transfers,
            checkers: job.checkers.unwrap_or(defaults.checkers),
            one_file_system: true,
            dry_run: job.dry_run,
            allow_empty: job.allow_empty,
            ..defaults
        }
    }

    fn in_the_words_of_a_pod(&self, error: crate::Error) -> crate::Error {
        if error.kind() == ErrorKind::Refused && self.is_empty(&error) {
            return error.with_hint(format!("{ALLOW_EMPTY} lets an empty mirror empty the volume"));
        }
        // An option of the command, which no variable stands for: what makes it necessary is what is remembered, beside the mirror and in this pod.
        if error.kind() == ErrorKind::Refused && error.hint().is_some_and(|hint| hint.contains("--relist")) {
            return error.with_hint(format!(
                "if its disk is not mounted, mount it; to make the mirror anew, remove the directory beside it that ends in .volvault, and empty the one that {STATE} names"
            ));
        }
        error
    }

    /// Whether a refusal came of an empty mirror, and not of too many deletions.
    fn is_empty(&self, error: &crate::Error) -> bool {
        !self.job.allow_empty && error.to_string().contains("the mirror is empty")
    }

    fn watched<R>(&self, work: impl FnOnce(&Watch<'_>) -> R) -> R {
        self.log.watched(self.clock.as_ref(), self.stop, work)
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed().saturating_sub(self.start)
    }

    /// Of files and bytes that neither side was asked for nothing is known.
    fn note(&self, tally: &Tally, requests: RequestCounts) {
        self.did.set(Numbers {
            files: tally.listed,
            changed: tally.transfers,
            moved: tally.bytes,
            deleted: tally.deleted_files,
            requests,
            ..Numbers::default()
        });
    }

    /// rclone's block. Only its lines, and the one after it, are kept by the operator: what else is to be known ends the last one.
    fn tell(&self, tally: &Tally, more: &str) {
        let block = words::stats(tally, self.elapsed(), ErrorNote::Retry);
        self.log.say(&format!("{}, {more}", block.trim_end()));
    }

    fn unless_stopped(&self) -> Result<(), Failure> {
        if self.stop.requested() { Err(Failure::stopped()) } else { Ok(()) }
    }
}

/// What turned out to be there already is no part of what was to be sent.
fn complete(tally: Tally) -> Tally {
    Tally { transfers_total: tally.transfers, bytes_total: tally.bytes, ..tally }
}

fn told(what: &str, requests: &RequestCounts) -> String {
    format!("{what}, {} requests", requests.total())
}

fn went(before: Option<u64>, now: u64) -> String {
    match before {
        Some(before) if before != now => format!("generation {before} -> {now}"),
        Some(_) | None => format!("generation {now}"),
    }
}

fn described(report: &PullReport, is_plain: bool) -> String {
    let what = match (&report.outcome, is_plain) {
        (Pulled::Unchanged, true) => "unchanged, no generation".to_owned(),
        (Pulled::Applied, true) => "no generation".to_owned(),
        (Pulled::Unchanged, false) => format!("unchanged, generation {}", report.generation),
        (Pulled::Applied, false) => went(report.before, report.generation),
        (Pulled::Planned, _) => "nothing was written".to_owned(),
    };
    match report.not_set.sum() {
        0 => what,
        count => format!("{what}, {count} attributes not restored (unprivileged)"),
    }
}
