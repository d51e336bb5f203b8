//! Fetches windows and writes what comes. A blob that cannot be had costs the files that need it, and no others.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use crate::error::Result;

use super::context::Restore;
use super::window::Window;
use super::write::Use;

/// Windows being fetched at once. Two, so that one is on its way while the last blobs of the other are written.
pub(super) const FETCHED_AT_ONCE: u8 = 2;

/// Fetches one window and writes it. Returns an error only when the restore cannot go on.
pub(super) fn fetch_window<'r>(restore: &'r Restore<'r>, window: Window<'r>) -> Result<()> {
    // The uses of each blob, until the blob comes.
    let waiting: Vec<Mutex<Vec<Use<'r>>>> = window.uses.into_iter().map(Mutex::new).collect();
    let deliver = |number: usize, plain: Result<Cow<'_, [u8]>>| {
        restore.check()?;
        let uses =
            waiting.get(number).map(|uses| std::mem::take(&mut *uses.lock().unwrap_or_else(PoisonError::into_inner)));
        let mut uses = uses.unwrap_or_default().into_iter();
        match plain {
            Ok(plain) => uses.try_for_each(|place| place.write(restore, &plain)),
            Err(error) => uses.try_for_each(|place| place.lose(restore, error.repeat())),
        }
    };
    restore.check()?;
    restore.session.reader().one_of(FETCHED_AT_ONCE).fetch(&window.wanted, &deliver)
}
