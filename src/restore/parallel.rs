//! Work handed in batches to a few threads.

use std::sync::Mutex;

use crossbeam_channel::{Sender, bounded};

use crate::error::{Error, Result};

use super::context::Restore;

/// Items handed over at once, and content bytes that end a batch early, so that big files are shared out.
const BATCH_ITEMS: usize = 256;
const BATCH_BYTES: u64 = 4 << 20;

/// Collects items for the threads of [`in_batches`].
pub(super) struct Batches<T> {
    sender: Sender<Vec<T>>,
    open: Mutex<(Vec<T>, u64)>,
}

impl<T> Batches<T> {
    /// Adds an item that costs about `bytes`; waits when all threads are busy and two batches wait for each.
    pub(super) fn push(&self, item: T, bytes: u64) -> Result<()> {
        let full = {
            let mut open = self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            open.0.push(item);
            open.1 = open.1.saturating_add(bytes);
            if open.0.len() < BATCH_ITEMS && open.1 < BATCH_BYTES {
                return Ok(());
            }
            open.1 = 0;
            std::mem::take(&mut open.0)
        };
        self.send(full)
    }

    fn send(&self, batch: Vec<T>) -> Result<()> {
        self.sender.send(batch).map_err(|_| Error::bug("all workers of the restore have ended"))
    }

    fn flush(&self) -> Result<()> {
        let rest = std::mem::take(&mut self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0);
        if rest.is_empty() { Ok(()) } else { self.send(rest) }
    }
}

/// Runs `feed` on this thread and `work` for each item that it pushes on others. Returns when all is done, or was given
/// up: an error of either ends the restore, and is found in [`Restore::outcome`].
pub(super) fn in_batches<T: Send>(
    restore: &Restore<'_>,
    feed: impl FnOnce(&Batches<T>) -> Result<()>,
    work: impl Fn(T) -> Result<()> + Sync,
) {
    let threads = restore.session.repo().limits().workers.max(1);
    let (sender, receiver) = bounded::<Vec<T>>(2 * threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (receiver, work) = (receiver.clone(), &work);
            scope.spawn(move || {
                for item in receiver.into_iter().flatten() {
                    // Once the run has ended, what is queued is taken and dropped, so that nobody waits.
                    if let Err(error) = restore.check().and_then(|()| work(item)) {
                        restore.halt(error);
                    }
                }
            });
        }
        drop(receiver);
        let batches = Batches { sender, open: Mutex::new((Vec::new(), 0)) };
        if let Err(error) = feed(&batches).and_then(|()| batches.flush()) {
            restore.halt(error);
        }
    });
}
