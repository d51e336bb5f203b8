//! The threads that hash, compress and seal. Whoever brings a blob when all are busy waits: at most two a thread are queued.

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::error::{Error, Result};
use crate::repo::{BlobKind, BlobWriter, Stored};

/// What a data blob holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// A piece of one file.
    Chunk,
    /// Many small files.
    Bundle,
}

/// A blob to store, and where to say what became of it.
pub(super) struct Task {
    holds: Holds,
    bytes: Vec<u8>,
    reply: Sender<Result<Stored>>,
}

/// Hands data blobs to the sealing threads.
#[derive(Clone, Debug)]
pub(super) struct Sealer(Sender<Task>);

/// The answer to come for one blob.
#[derive(Debug)]
pub(super) struct Promise(Receiver<Result<Stored>>);

impl Sealer {
    /// The two ends of the queue of `threads` sealing threads.
    pub(super) fn queue(threads: usize) -> (Self, Receiver<Task>) {
        let (sender, receiver) = bounded(2 * threads);
        (Self(sender), receiver)
    }

    /// Queues a blob; waits while the queue is full.
    pub(super) fn put(&self, holds: Holds, bytes: Vec<u8>) -> Result<Promise> {
        let (reply, answer) = bounded(1);
        self.0.send(Task { holds, bytes, reply }).map_err(|_| gone())?;
        Ok(Promise(answer))
    }
}

impl Promise {
    /// The answer, if it is there.
    pub(super) fn poll(&self) -> Option<Result<Stored>> {
        match self.0.try_recv() {
            Ok(answer) => Some(answer),
            Err(crossbeam_channel::TryRecvError::Empty) => None,
            Err(crossbeam_channel::TryRecvError::Disconnected) => Some(Err(gone())),
        }
    }

    /// Waits for the answer.
    pub(super) fn wait(&self) -> Result<Stored> {
        self.0.recv().map_err(|_| gone())?
    }
}

/// What one sealing thread does until the queue is closed.
pub(super) fn work(writer: &BlobWriter<'_>, tasks: &Receiver<Task>) {
    for task in tasks {
        // Whoever asked may have given up. A failure is not lost with the answer: the writer keeps it, and `finish` returns it.
        let _ = task.reply.send(match task.holds {
            Holds::Chunk => writer.put(BlobKind::Data, &task.bytes),
            Holds::Bundle => writer.put_bundle(&task.bytes),
        });
    }
}

fn gone() -> Error {
    Error::bug("the sealing threads are gone")
}
