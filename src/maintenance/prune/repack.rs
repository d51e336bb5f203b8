//! Copies what is needed out of packs that are to go.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::events::{Progress, Watch};
use crate::id::ObjectHash;
use crate::repo::{BlobWriter, PackEntry, PackInfo, Session};

use super::survey::Survey;

/// Packs that are read at once, if so many reads may be on their way; 2 MiB each are in memory.
const PACKS_AT_ONCE: usize = 4;

/// What repacking relies on.
#[derive(Debug, Default)]
pub(super) struct Relied {
    /// A pack that stays, and the pack that may go because of what it holds.
    pub(super) on: Vec<(ObjectHash, ObjectHash)>,
    /// Packs out of which something was copied.
    pub(super) copied_from: HashSet<ObjectHash>,
    /// The new packs.
    pub(super) new: HashSet<ObjectHash>,
    /// Packs that there was no time for.
    pub(super) left: HashSet<ObjectHash>,
    /// Blobs that were copied, and their bytes.
    pub(super) copied: (u64, u64),
}

/// Copies all blobs that are needed from the packs to be rewritten and that have no place in a pack that stays. When it returns, the copies and their index are
/// durable. `max_time` ends it early.
pub(super) fn repack(
    session: &Session<'_>,
    survey: &Survey,
    max_time: Option<Duration>,
    watch: &Watch<'_>,
) -> Result<Relied> {
    let clock = session.repo().clock();
    let started = clock.elapsed();
    let writer = BlobWriter::new(session, false);
    let victims: Vec<&PackInfo> =
        survey.repack.iter().filter_map(|number| survey.usage.packs().get(*number as usize)).collect();
    Progress::add(&watch.progress.files_total, victims.len() as u64);
    let (next, relied, failed) = (AtomicUsize::new(0), Mutex::new(Relied::default()), Mutex::new(None));
    let copying = Copying { session, survey, writer: &writer, relied: &relied, watch };
    let work = || {
        while let Some(info) = victims.get(next.fetch_add(1, Ordering::Relaxed)) {
            if lock(&failed).is_some() {
                return;
            }
            if max_time.is_some_and(|max| clock.elapsed().saturating_sub(started) >= max) {
                lock(&relied).left.insert(info.pack.name);
                continue;
            }
            if let Err(error) = copying.pack(info) {
                lock(&failed).get_or_insert(error);
                return;
            }
            Progress::add(&watch.progress.files_done, 1);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..PACKS_AT_ONCE.min(session.repo().limits().reads_in_flight).min(victims.len()) {
            scope.spawn(work);
        }
        work();
    });
    if let Some(error) = lock(&failed).take() {
        return Err(error.within("rewrite packs"));
    }
    let report = writer.finish()?;
    let mut relied = relied.into_inner().unwrap_or_else(PoisonError::into_inner);
    relied.new = writer.packs().into_iter().map(|(name, _)| name).collect();
    relied.copied = (report.data_blobs + report.tree_blobs, report.stored_bytes);
    Ok(relied)
}

/// What copying out of one pack is done with.
struct Copying<'c> {
    session: &'c Session<'c>,
    survey: &'c Survey,
    writer: &'c BlobWriter<'c>,
    relied: &'c Mutex<Relied>,
    watch: &'c Watch<'c>,
}

impl Copying<'_> {
    fn pack(&self, info: &PackInfo) -> Result<()> {
        if self.watch.stop.requested() {
            return Err(Error::new(ErrorKind::Interrupted, "the prune was interrupted; nothing was removed"));
        }
        let mut needed: Vec<PackEntry> = Vec::new();
        for entry in self.session.directory(info)? {
            if !self.survey.usage.is_used(&entry.id) {
                continue;
            }
            match self.elsewhere(info, &entry)? {
                Some(other) => lock(self.relied).on.push((other, info.pack.name)),
                None => needed.push(entry),
            }
        }
        if !needed.is_empty() {
            self.session.copy_blobs(info, &needed, self.writer)?;
            lock(self.relied).copied_from.insert(info.pack.name);
        }
        Ok(())
    }

    /// A pack that stays and that has the blob. The table knows the first bytes of ids; where it sees another place, the index is asked, which
    /// knows 20.
    fn elsewhere(&self, info: &PackInfo, entry: &PackEntry) -> Result<Option<ObjectHash>> {
        let survey = self.survey;
        let packs = survey.usage.packs();
        let stays = |name: &ObjectHash| {
            *name != info.pack.name && !survey.victims.contains_key(name) && !survey.unreliable.contains(name)
        };
        let name = |number: u32| packs.get(number as usize).map(|other| other.pack.name);
        if !survey.usage.places(&entry.id).filter_map(name).any(|name| stays(&name)) {
            return Ok(None);
        }
        let places = self.session.places(info.kind, &entry.id)?;
        Ok(places.into_iter().map(|place| place.place.pack.name).find(stays))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
