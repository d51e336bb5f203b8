//! A bound on the bytes that the threads of one destination hold at once.

use std::sync::{Condvar, Mutex, PoisonError};

use super::shared::lock;

/// Bytes of small files on their way to one destination: what 32 transfers of 1 MiB have, however large the files are.
const HELD_MAX: u64 = 32 << 20;

/// See the module.
#[derive(Default)]
pub(super) struct Budget {
    held: Mutex<u64>,
    freed: Condvar,
}

/// Bytes that are held; given back when it is dropped.
pub(super) struct Held<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    /// Waits until so many bytes may be held. What is more than all is held alone.
    pub(super) fn hold(&self, bytes: u64) -> Held<'_> {
        let mut held = lock(&self.held);
        while *held > 0 && held.saturating_add(bytes) > HELD_MAX {
            held = self.freed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        *held = held.saturating_add(bytes);
        Held { budget: self, bytes }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut held = lock(&self.budget.held);
        *held = held.saturating_sub(self.bytes);
        self.budget.freed.notify_all();
    }
}
