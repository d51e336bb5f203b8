//! Reads packs as a whole: name, directory, every blob, and what the index says of them.
//!
//! Bounds: `reads_in_flight` packs under way, and no more than `read_window` bytes of them (or one pack); each is opened on one of
//! `workers` threads.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::events::Progress;
use crate::id::ObjectHash;
use crate::limits::PACK_MAX;
use crate::repo::{PREFIX_LEN, PackInfo, Repository, intact_blobs, pack_key, verify_pack};

use super::blobs::Blobs;
use super::{Context, is_damage};

/// The packs that are left, and those under way.
struct Queue {
    packs: VecDeque<PackInfo>,
    under_way: VecDeque<(PackInfo, JoinHandle<Result<Bytes>>)>,
    bytes: u64,
}

/// A pack that is damaged, and what is whole in it nevertheless.
type Broken = (ObjectHash, HashSet<[u8; PREFIX_LEN]>);

/// Reads these packs; those that are damaged are marked in `blobs`.
pub(super) fn run(context: &Context<'_>, blobs: &mut Blobs, packs: Vec<PackInfo>) -> Result<()> {
    for info in &packs {
        if let Some(number) = blobs.number(&info.pack.name) {
            blobs.checksums.is_read(number);
        }
    }
    let repo = context.session.repo();
    let progress = context.watch.progress;
    Progress::add(&progress.files_total, packs.len() as u64);
    Progress::add(&progress.bytes_total, packs.iter().map(|pack| pack.size).sum());
    let threads = repo.limits().workers.min(packs.len()).max(1);
    let queue = Mutex::new(Queue { packs: packs.into(), under_way: VecDeque::new(), bytes: 0 });
    let broken: Mutex<Vec<Broken>> = Mutex::default();
    let index: &Blobs = blobs;
    let work = || -> Result<()> {
        while let Some((info, handle)) = next_pack(repo, &queue) {
            let outcome = context.go_on().and_then(|()| {
                let fetched = repo.options().runtime.block_on(handle);
                one(
                    context,
                    index,
                    &info,
                    fetched.map_err(|cause| Error::bug("a read was abandoned").with_source(cause))?,
                )
            });
            lock(&queue).bytes -= info.size;
            Progress::add(&progress.files_done, 1);
            Progress::add(&progress.bytes_done, info.size);
            match outcome {
                Ok(None) => {}
                Ok(Some(damage)) => lock(&broken).push(damage),
                Err(error) => {
                    lock(&queue).packs.clear();
                    return Err(error);
                }
            }
        }
        Ok(())
    };
    let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mine = work();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<()>>| {
            thread.join().unwrap_or_else(|_| Err(Error::bug("a thread of the check panicked")))
        };
        std::iter::once(mine).chain(threads.into_iter().map(join)).collect()
    });
    for (name, whole) in broken.into_inner().unwrap_or_else(PoisonError::into_inner) {
        blobs.set_broken(name, whole);
    }
    outcomes.into_iter().collect()
}

/// Starts as many reads as the bounds allow and takes the oldest.
fn next_pack(repo: &Repository, queue: &Mutex<Queue>) -> Option<(PackInfo, JoinHandle<Result<Bytes>>)> {
    let limits = repo.limits();
    let mut queue = lock(queue);
    while queue.under_way.len() < limits.reads_in_flight.max(1) {
        let Some(info) = queue.packs.front().copied() else { break };
        if !queue.under_way.is_empty() && queue.bytes + info.size > limits.read_window.bytes() {
            break;
        }
        queue.packs.pop_front();
        queue.bytes += info.size;
        let (store, key) = (repo.store().clone(), pack_key(&info.pack.name));
        let handle = repo.options().runtime.spawn(async move { store.get(&key, PACK_MAX).await });
        queue.under_way.push_back((info, handle));
    }
    queue.under_way.pop_front()
}

/// Checks one pack. One that seems damaged is read once more: it may have been damaged on its way only.
fn one(context: &Context<'_>, blobs: &Blobs, info: &PackInfo, fetched: Result<Bytes>) -> Result<Option<Broken>> {
    let repo = context.session.repo();
    let again = || repo.options().runtime.block_on(repo.store().get(&pack_key(&info.pack.name), PACK_MAX));
    let first = fetched.and_then(|bytes| verify(repo, blobs, info, bytes));
    let outcome = match first {
        Err(error) if is_damage(&error) => {
            let second = again().and_then(|bytes| verify(repo, blobs, info, bytes));
            if second.is_ok() {
                let name = info.pack.name;
                context.findings.note(format!(
                    "pack {name} was damaged when it came first ({}), and whole the second time",
                    error.chain()
                ));
            }
            second
        }
        outcome => outcome,
    };
    context.findings.update(|report| {
        report.packs_read += 1;
        report.bytes_read += info.size;
    });
    match outcome {
        Ok(None) => Ok(None),
        Ok(Some(misplaced)) => {
            context.findings.error(&info.pack.name.to_hex(), &misplaced);
            context.findings.update(|report| report.suggest_repair_index = true);
            Ok(None)
        }
        Err(error) if is_damage(&error) => {
            let error = error.within(format!("read pack {}", info.pack.name));
            context.findings.broken_pack(&info.pack.name, &error);
            let whole = again().map_or_else(|_| HashSet::new(), |bytes| intact_blobs(repo, info, &bytes));
            Ok(Some((info.pack.name, whole)))
        }
        Err(error) => Err(error),
    }
}

/// Checks the bytes of a pack; a difference to the index is returned as an error in `Ok`: the pack is sound.
fn verify(repo: &Repository, blobs: &Blobs, info: &PackInfo, bytes: Bytes) -> Result<Option<Error>> {
    let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
    let mut found = 0u32;
    verify_pack(repo, info, &mut bytes, &mut |entry| found += u32::from(blobs.has(&info.pack.name, entry)))?;
    let misplaced = blobs.rows_of(&info.pack.name).and_then(|rows| rows.checked_sub(found)).unwrap_or(0);
    let name = info.pack.name;
    Ok((misplaced > 0)
        .then(|| Error::corrupt(format!("the index places {misplaced} blobs in pack {name} that are not there"))))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
