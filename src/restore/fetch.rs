//! Fetches windows and writes what comes. A blob that cannot be had costs the files that need it, and no others.

use std::sync::{Mutex, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::repo::Wanted;

use super::context::Restore;
use super::window::Window;
use super::write::Use;

/// The uses of each blob, until the blob comes.
type Waiting<'r> = [Mutex<Vec<Use<'r>>>];

/// Fetches one window and writes it. Returns an error only when the restore cannot go on.
pub(super) fn fetch_window<'r>(restore: &'r Restore<'r>, window: Window<'r>) -> Result<()> {
    let waiting: Vec<Mutex<Vec<Use<'r>>>> = window.uses.into_iter().map(Mutex::new).collect();
    let all: Vec<usize> = (0..waiting.len()).collect();
    fetch_some(restore, &window.wanted, &waiting, &all)
}

/// Fetches the blobs with these numbers. After damage those that did not come are tried again in halves, until each that
/// can be had was had, and each that cannot has its own error.
fn fetch_some<'r>(restore: &'r Restore<'r>, wanted: &[Wanted], waiting: &Waiting<'r>, numbers: &[usize]) -> Result<()> {
    restore.check()?;
    let some: Vec<Wanted> = numbers.iter().filter_map(|number| wanted.get(*number).copied()).collect();
    let deliver = |nth: usize, plain: Vec<u8>| {
        restore.check()?;
        let uses = numbers.get(nth).map(|number| take(waiting, *number)).unwrap_or_default();
        uses.into_iter().try_for_each(|place| place.write(restore, &plain)).inspect_err(|error| {
            // Whatever `fetch` makes of it: this ends the run.
            restore.halt(super::repeat(error));
        })
    };
    let Err(error) = restore.session.reader().fetch(&some, &deliver) else { return Ok(()) };
    restore.check()?;
    if !matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) {
        return Err(error);
    }
    let missing: Vec<usize> = numbers.iter().copied().filter(|number| is_waiting(waiting, *number)).collect();
    if let [only] = missing.as_slice()
        && numbers.len() == 1
    {
        return lose(restore, take(waiting, *only), &error);
    }
    let (left, right) = missing.split_at_checked(missing.len().div_ceil(2)).unwrap_or((&missing, &[]));
    for half in [left, right] {
        if !half.is_empty() {
            fetch_some(restore, wanted, waiting, half)?;
        }
    }
    Ok(())
}

fn lose<'r>(restore: &'r Restore<'r>, uses: Vec<Use<'r>>, error: &Error) -> Result<()> {
    uses.into_iter().try_for_each(|place| place.lose(restore, super::repeat(error)))
}

fn take<'r>(waiting: &Waiting<'r>, number: usize) -> Vec<Use<'r>> {
    waiting.get(number).map(|uses| std::mem::take(&mut *lock(uses))).unwrap_or_default()
}

fn is_waiting(waiting: &Waiting<'_>, number: usize) -> bool {
    waiting.get(number).is_some_and(|uses| !lock(uses).is_empty())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
